"""Batch normalization: the baseline that every other normalization is compared with.

Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
ICML 2015, https://arxiv.org/abs/1502.03167. This is torch's own layer; with `sync`, one with the same state whose
statistics are those of all processes.
"""

import math
from functools import partial

from torch import nn

from convbench.errors import ConfigError
from convbench.norms.contract import NORMS, Norm
from convbench.norms.synchronized import SynchronizedBatchNorm2d


@NORMS.register("bn", aliases=("batch",), reference="Ioffe & Szegedy 2015, arXiv 1502.03167")
def batch(*, momentum: float = 0.1, eps: float = 1e-5, sync: bool = False) -> Norm:
    """Batch normalization of the convolution's output."""
    if not 0 <= momentum <= 1:
        raise ConfigError(f"norm 'bn': momentum must be in [0, 1], got {momentum}.")
    if not 0 < eps < math.inf:
        raise ConfigError(f"norm 'bn': eps must be positive and finite, got {eps}.")
    return Norm(on_output=partial(SynchronizedBatchNorm2d if sync else nn.BatchNorm2d, momentum=momentum, eps=eps))
