"""Mode normalization: a batch is normalized per mode, and a small learned gate says which image is of which mode.

Deecke, Murray & Bilen, "Mode Normalization", ICLR 2019, https://arxiv.org/abs/1810.05466, algorithm 1. It differs from
mixture normalization (`convbench.norms.mixture`): images, not positions, belong to modes; a gate learned by
backpropagation assigns them, not the likelihood under a mixture; and nothing is scaled by the modes' shares.

Ours, because the authors' public code loses or miscomputes them: the running estimates are in the state dict and
follow the modes' shares, variances come from deviations instead of E[x^2] - E[x]^2, a mode without images does no
harm, and one mode is batch normalization.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn

from convbench.errors import ConfigError
from convbench.norms.contract import NORMS, Norm


class ModeNorm2d(nn.Module):
    """Normalize each image by the moments of the modes that it belongs to.

        g_nk = softmax_k( a_k . mean_hw(x_n) + b_k )
        mean_k = sum_n g_nk mean_hw(x_n) / sum_n g_nk
        var_k  = sum_n g_nk mean_hw((x_n - mean_k)^2) / sum_n g_nk
        y_n = weight * sum_k g_nk (x_n - mean_k) / sqrt(var_k + eps) + bias

    - Everything carries gradient, the gate too. Statistics are computed in float32 or wider.
    - In eval mean_k and var_k are the running ones, so that images do not influence each other. The running ones move
      by `momentum * share_k / running_share_k`: a mode that a batch hardly holds hardly moves. As in `nn.BatchNorm2d`
      the running variance has the factor M / (M - 1), M = N * H * W, and momentum None is 1/n at the n-th batch.
    - With one mode there is no gate, and this is batch normalization.

    Args:
        num_features: C.
        modes: K.
        momentum, eps: as in `nn.BatchNorm2d`.

    Shape:
        `(N, C, H, W)` -> `(N, C, H, W)`.
    """

    running_mean: Tensor
    running_var: Tensor
    running_share: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        modes: int = 2,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if modes < 1:
            raise ValueError(f"modes must be at least 1, got {modes}")
        if not 0 < eps < math.inf:
            raise ValueError(f"eps must be positive and finite, got {eps}")
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be in [0, 1], got {momentum}")
        self.num_features, self.modes, self.eps, self.momentum = num_features, modes, eps, momentum
        factory = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.ones(num_features, **factory))
        self.bias = nn.Parameter(torch.zeros(num_features, **factory))
        self.gate = nn.Linear(num_features, modes, device=device, dtype=dtype) if modes > 1 else None
        self.register_buffer("running_mean", torch.zeros(modes, num_features, **factory))
        self.register_buffer("running_var", torch.ones(modes, num_features, **factory))
        self.register_buffer("running_share", torch.full((modes,), 1 / modes, **factory))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long, device=device))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4:
            raise ValueError(f"expected 4D input (got {x.dim()}D input)")
        if x.shape[1] != self.num_features:
            raise ValueError(f"expected {self.num_features} channels, got {x.shape[1]}")
        if self.training and x.numel() <= self.num_features:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
        # Statistics in bfloat16 would be off by their own size.
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            mean_nc = wide.mean(dim=(2, 3))
            centered = wide - mean_nc[:, :, None, None]
            log_gate_nk = self._log_gate(mean_nc)
            if self.training:
                mean_kc, var_kc = _moments(log_gate_nk, mean_nc, centered.square().mean(dim=(2, 3)))
                self._update(log_gate_nk.detach(), mean_kc.detach(), var_kc.detach(), x.numel() / self.num_features)
            else:
                mean_kc, var_kc = self.running_mean.to(wide.dtype), self.running_var.to(wide.dtype)
            # Summed over the modes first, the transform is one slope and one shift for each image and channel.
            slope_kc = (var_kc + self.eps).rsqrt() * self.weight.to(wide.dtype)
            gate_nk = log_gate_nk.exp()
            slope_nc = gate_nk @ slope_kc
            # From the mean of the image to the mean of the mode; both may be far from zero.
            shift_nc = torch.einsum("nk,nkc->nc", gate_nk, (mean_nc[:, None] - mean_kc) * slope_kc)
            shift_nc = shift_nc + self.bias.to(wide.dtype)
            return torch.addcmul(shift_nc[:, :, None, None], centered, slope_nc[:, :, None, None]).to(x.dtype)

    def _log_gate(self, mean_nc: Tensor) -> Tensor:
        if self.gate is None:
            return mean_nc.new_zeros(len(mean_nc), 1)
        weight, bias = self.gate.weight.to(mean_nc.dtype), self.gate.bias.to(mean_nc.dtype)
        return nn.functional.linear(mean_nc, weight, bias).log_softmax(dim=1)

    @torch.no_grad()
    def _update(self, log_gate_nk: Tensor, mean_kc: Tensor, var_kc: Tensor, positions: float) -> None:
        self.num_batches_tracked.add_(1)
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        share_k = log_gate_nk.exp().mean(dim=0)
        running_k = self.running_share.to(share_k.dtype).lerp(share_k, factor)
        # A mode that was never seen has the share 0 in both; it stays where it is.
        step_k1 = (factor * share_k / running_k.clamp_min(torch.finfo(share_k.dtype).tiny)).view(-1, 1)
        mean = self.running_mean.to(share_k.dtype).lerp(mean_kc, step_k1)
        var = self.running_var.to(share_k.dtype).lerp(var_kc * (positions / (positions - 1)), step_k1)
        for buffer, value in zip(
            (self.running_share, self.running_mean, self.running_var), (running_k, mean, var), strict=True
        ):
            buffer.copy_(value)

    def extra_repr(self) -> str:
        return f"{self.num_features}, modes={self.modes}, eps={self.eps}, momentum={self.momentum}"


def _moments(log_gate_nk: Tensor, mean_nc: Tensor, var_nc: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each mode `(K, C)`, from those of each image.

    The weights of the images in a mode, g_nk / sum_n g_nk, are a softmax over the images of log g_nk: defined also for
    a mode whose shares are all below the smallest number.
    """
    weight_kn = log_gate_nk.softmax(dim=0).t()
    mean_kc = weight_kn @ mean_nc
    # Deviations, not mean_nc^2 - mean_kc^2, which would lose the digits of a large mean.
    between_kc = torch.einsum("kn,knc->kc", weight_kn, (mean_nc - mean_kc[:, None]).square())
    return mean_kc, weight_kn @ var_nc + between_kc


@NORMS.register("mode", reference="Deecke et al. 2019, arXiv 1810.05466")
def mode(*, modes: int = 2, momentum: float = 0.1, eps: float = 1e-5) -> Norm:
    """Mode normalization: a learned gate assigns images to modes, each with its own mean and variance."""
    build = partial(ModeNorm2d, modes=modes, momentum=momentum, eps=eps)
    try:
        build(1, device="meta")
    except ValueError as error:
        raise ConfigError(f"norm 'mode': {error}.") from None
    return Norm(on_output=build)
