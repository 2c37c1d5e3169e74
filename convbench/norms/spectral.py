"""Spectral normalization: the kernel, reshaped to a matrix, divided by its largest singular value.

Miyato, Kataoka, Koyama & Yoshida, "Spectral Normalization for Generative Adversarial Networks", ICLR 2018,
https://arxiv.org/abs/1802.05957, equation 8 and algorithm 1. This is torch's own parametrization.

    w = v / sigma(v),    sigma(v) = max ||V x|| / ||x||,    V = v reshaped to (Cout, Cin / groups * kh * kw)

V is not the operator that the convolution applies. The layer's true norm depends on stride, padding and image size:
without groups, and where a kernel fits into the image, it lies between 1 and the square root of the number of windows
that a pixel is in, ceil(kh / sh) ceil(kw / sw); 1.5 to 2.4 is usual for 3x3 kernels as initialized. The metric
`spectral_norm` reports the true one.
"""

import math
from functools import partial

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from convbench.errors import ConfigError
from convbench.norms.contract import NORMS, Norm


def spectral_normalized(conv: nn.Conv2d, n_power_iterations: int = 1, eps: float = 1e-12) -> nn.Module:
    """`conv` itself, its weight divided by the largest singular value of the reshaped kernel.

    That value is followed by power iteration: 15 steps at the start, `n_power_iterations` at every forward pass in
    training, none at evaluation, which is a fixed function of the state. Its two vectors are buffers.

    Raises:
        ValueError: the kernel is all zero.
    """
    if not conv.weight.is_meta and not conv.weight.detach().any():
        raise ValueError("spectral normalization divides by the kernel's largest singular value: the kernel is zero")
    return spectral_norm(conv, n_power_iterations=n_power_iterations, eps=eps, dim=0)


@NORMS.register("spectral", aliases=("sn",), reference="Miyato et al. 2018, arXiv 1802.05957")
def spectral(*, bn: bool = True, n_power_iterations: int = 1, eps: float = 1e-12) -> Norm:
    """Spectral normalization of the reshaped kernel, then batch normalization (the ConvNorm paper's baseline)."""
    if n_power_iterations < 1:
        raise ConfigError(f"norm 'spectral': n_power_iterations must be at least 1, got {n_power_iterations}.")
    if not 0 < eps < math.inf:
        raise ConfigError(f"norm 'spectral': eps must be positive and finite, got {eps}.")
    on_conv = partial(spectral_normalized, n_power_iterations=n_power_iterations, eps=eps)
    return Norm(on_conv, nn.BatchNorm2d) if bn else Norm(on_conv, has_shift=False)
