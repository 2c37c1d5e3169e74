"""Frozen batch normalization: a batch normalization whose statistics, gamma and beta are constants.

For a network that was trained with batch normalization and is trained further in small batches, as detectors are (He
et al., "Mask R-CNN", ICCV 2017, https://arxiv.org/abs/1703.06870, section 3.1 on ResNet backbones; the class of that
name in torchvision.ops). Unlike that class this one keeps `num_batches_tracked`, so that the state dicts of both kinds
fit each other.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convbench.errors import ConfigError
from convbench.norms.contract import NORMS, Norm


class FrozenBatchNorm2d(nn.Module):
    """`nn.BatchNorm2d` at evaluation, in training too; nothing in it is learned or updated.

        y = weight * (x - running_mean) / sqrt(running_var + eps) + bias

    All four are buffers, with the names and shapes of `nn.BatchNorm2d`: either loads the other's state dict. As built
    it is x / sqrt(1 + eps), so that training from scratch with it is training without normalization.

    Shape:
        `(N, C, H, W)` -> `(N, C, H, W)`.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        for name, start in {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}.items():
            self.register_buffer(name, torch.full((num_features,), start, device=device, dtype=dtype))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long, device=device))

    @classmethod
    def from_batch_norm(cls, norm: nn.BatchNorm2d) -> "FrozenBatchNorm2d":
        """The layer that does what `norm` does at evaluation, with copies of its state.

        Raises:
            ValueError: `norm` keeps no running statistics.
        """
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError("a batch normalization without running statistics cannot be frozen")
        frozen = cls(norm.num_features, norm.eps, norm.running_mean.device, norm.running_mean.dtype)
        # One without gamma and beta keeps those of the start, which are 1 and 0.
        frozen.load_state_dict(frozen.state_dict() | norm.state_dict())
        return frozen.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4:
            raise ValueError(f"expected 4D input (got {x.dim()}D input)")
        if x.shape[1] != self.num_features:
            raise ValueError(f"expected {self.num_features} channels, got {x.shape[1]}")
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


@NORMS.register("frozen_bn", reference="He et al. 2017, arXiv 1703.06870; torchvision.ops.FrozenBatchNorm2d")
def frozen_bn(*, eps: float = 1e-5) -> Norm:
    """Batch normalization with fixed statistics, gamma and beta; for converted networks, from scratch the identity."""
    if not 0 < eps < math.inf:
        raise ConfigError(f"norm 'frozen_bn': eps must be positive and finite, got {eps}.")
    return Norm(on_output=partial(FrozenBatchNorm2d, eps=eps))
