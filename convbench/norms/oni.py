"""ONI: the kernel, reshaped to a matrix, made nearly orthogonal by a few Newton iterations.

Huang, Liu, Zhu, Wan, Yuan, Li & Shao, "Controllable Orthogonalization in Training DNNs", CVPR 2020,
https://arxiv.org/abs/2004.00887, algorithms 1 and 2. Iterations and scale begin as in the ConvNorm authors' baseline
(T = 3, a learned scale of 1.414); the ONI authors' class has T = 5 and a fixed scale.

Where there are more output channels than inputs to one (1x1 convolutions that widen), the authors' code iterates with
the other Gram matrix, but leaves out its division by the norm: the iteration then diverges for large kernels and
converges to the wrong scale for the others. Here both are divided, which makes both forms the same function. Ours too:
convolutions in groups are orthogonalized group by group, and kernels of a single entry are not centered to zero.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convbench.errors import ConfigError
from convbench.norms.contract import NORMS, Norm


class NewtonOrthogonalization(nn.Module):
    """A kernel as a function of a free one, for `torch.nn.utils.parametrize`.

        Z_c = Z - rowmean(Z),  Z the kernel as (Cout, Cin * kh * kw), or one such matrix for each group
        S = (Z_c Z_c^T + eps I) / ||Z_c Z_c^T + eps I||_F
        B_0 = I,  B_(t+1) = 3/2 B_t - 1/2 B_t^3 S     (computed as B_t (S B_t) B_t, which does not gather rounding)
        W = scale * B_T Z_c / sqrt(||Z_c Z_c^T + eps I||_F)

    Each iteration maps a singular value s of W / scale to 3/2 s - 1/2 s^3: they rise towards 1 and never pass it. The
    layer's own norm may be larger, as it is no product with this matrix (see `convbench.norms.spectral`).

    Args:
        conv: whose kernel it will be.
        iterations: T.
        scale: what W is multiplied by at the start.
        adjust_scale: whether the scale is learned, one for each output channel.
        center: whether Z is centered, which no kernel of one entry is.
        eps: absolute, in the units of Z Z^T.
    """

    scale: Tensor

    def __init__(
        self, conv: nn.Conv2d, iterations: int, scale: float, adjust_scale: bool, center: bool, eps: float
    ) -> None:
        super().__init__()
        self.groups, self.iterations, self.eps = conv.groups, iterations, eps
        self.center = center and conv.weight[0].numel() > 1
        start = torch.full_like(conv.weight[:, 0, 0, 0], scale, requires_grad=False)
        if adjust_scale:
            self.scale = nn.Parameter(start)
        else:
            self.register_buffer("scale", start)

    def forward(self, weight: Tensor) -> Tensor:
        # Under autocast the iteration would lose the digits that it is there to gain.
        with torch.autocast("cpu" if weight.is_meta else weight.device.type, enabled=False):
            z = weight.to(torch.promote_types(weight.dtype, torch.float32)).flatten(1)
            z = z.unflatten(0, (self.groups, -1))
            if self.center:
                z = z - z.mean(dim=-1, keepdim=True)
            wide = z.shape[1] <= z.shape[2]
            gram = z @ z.mT if wide else z.mT @ z  # B Z_c is the same with either
            eye = torch.eye(gram.shape[-1], dtype=z.dtype, device=z.device)
            gram = gram + self.eps * eye
            norm = torch.linalg.matrix_norm(gram, keepdim=True)
            # `sb` is S B, iterated beside B: with B^3 S rounding errors would triple from step to step.
            b, sb = eye.expand_as(gram), gram / norm
            for _ in range(self.iterations):
                factor = 1.5 * eye - 0.5 * (b @ sb)
                b, sb = factor @ b, sb @ factor
            orthogonal = (b @ z if wide else z @ b) * norm.rsqrt()
            scaled = orthogonal.flatten(0, 1) * self.scale.to(z.dtype)[:, None]
            return scaled.view(weight.shape).to(weight.dtype)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The free kernel begins as the convolution's own."""
        return weight

    def extra_repr(self) -> str:
        return f"iterations={self.iterations}, center={self.center}, groups={self.groups}, eps={self.eps}"


def orthogonalized(conv: nn.Conv2d, **options: Any) -> nn.Module:
    """`conv` itself, its weight that of a `NewtonOrthogonalization` with these options."""
    return parametrize.register_parametrization(conv, "weight", NewtonOrthogonalization(conv, **options))


@NORMS.register("oni", reference="Huang et al. 2020, arXiv 2004.00887")
def oni(
    *,
    bn: bool = True,
    iterations: int = 3,
    scale: float = 1.414,
    adjust_scale: bool = True,
    center: bool = True,
    eps: float = 1e-5,
) -> Norm:
    """Orthogonalization of the reshaped kernel by Newton's iteration, then batch normalization."""
    if not 1 <= iterations <= 100:  # they converge in less, and each is kept for the backward pass
        raise ConfigError(f"norm 'oni': iterations must be in 1..100, got {iterations}.")
    for name, value in {"scale": scale, "eps": eps}.items():
        if not 0 < value < math.inf:
            raise ConfigError(f"norm 'oni': {name} must be positive and finite, got {value}.")
    on_conv = partial(
        orthogonalized, iterations=iterations, scale=scale, adjust_scale=adjust_scale, center=center, eps=eps
    )
    return Norm(on_conv, nn.BatchNorm2d) if bn else Norm(on_conv, has_shift=False)
