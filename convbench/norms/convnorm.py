"""ConvNorm: a convolution whose every output channel is made an isometry in the Fourier domain.

Liu, Li, Zhai, You, Zhu, Fernandez-Granda & Qu, "Convolutional Normalization: Improving Deep Convolutional Network
Robustness and Training", NeurIPS 2021, https://arxiv.org/abs/2103.00673. The operator is the authors' code's: the
full-size convolution, no gradient through the preconditioner, a depthwise r and batch normalization after it. Ours
are what that code lacks or computes wrongly: evaluation with the exact preconditioner instead of an average over past
steps, a relative epsilon, a bias added after the preconditioner, and padding, stride, dilation, even and rectangular
kernels as in `nn.Conv2d`.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.common_types import _size_2_t

from convbench.errors import ConfigError
from convbench.norms.contract import NORMS, Norm
from convbench.norms.preconditioning.autocorrelation_average import AutocorrelationAverage
from convbench.norms.preconditioning.depthwise_batch_norm import depthwise, smooth
from convbench.norms.preconditioning.forward import preconditioned_convolution
from convbench.norms.preconditioning.preconditioner import gain_of_autocorrelation, gain_of_weight, kernel_symbol
from convbench.norms.preconditioning.torus_filter import full_grid
from convbench.norms.preconditioning.torus_geometry import AxisPlan, TorusAxis

Pair = tuple[int, int]


class ConvNorm2d(nn.Module):
    """A convolution, each output channel preconditioned, followed by a depthwise convolution and batch normalization.

        c_j = sum_i w_ji * x_i                        full-size convolution, a circular one on the torus H + k - 1
        y_j = F^-1( V_j . F(c_j) ),                   V_j = (sum_i |F(w_ji)|^2 + eps_j)^(-1/2)
        z_j = r_j * crop(y_j)[::stride] + b_j         r depthwise, with `affine`
        out = BatchNorm(z)                            with `bn`

    V depends on the weights and the torus only, and is computed exactly from the weights at every call: training and
    evaluation differ in the batch normalization alone, nothing in the state depends on the image size, and nothing
    can go stale. The layer is invariant to a positive scale of each output channel's kernels. Before r and the batch
    normalization its largest singular value lies in [sqrt(max(1, Cout/Cin)), sqrt(Cout)]: it is not 1-Lipschitz.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in `nn.Conv2d`; the bias is
            added after the preconditioner, which would scale it without bound.
        padding_mode: "zeros" or "circular", the latter up to "same" size. "reflect" and "replicate" make no
            convolution on a torus and are refused.
        affine: whether r, of the kernel's size, follows.
        bn: whether batch normalization follows.
        r_init: "kaiming" (torch's default, as published) or "delta" (r starts as the identity).
        eps_rel: eps_j as a fraction of `||w_j||^2`, which is the mean of the power spectrum.
        grad_through_v: whether V takes part in the gradient; as published it does not.
        v_mode: "exact", or "ema": evaluate with an average over the past training steps, as the authors' code does.
        grid: "full" (as published) or "output", a cheaper operator that is not the paper's: the filter acts on the
            torus of the usual output. It makes isometries of circular convolutions whose stride divides the image.

    Shape:
        as `nn.Conv2d` for `(N, Cin, H, W)`. A 1x1 kernel has a constant V, which goes into the weight.
    """

    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_2_t,
        stride: _size_2_t = 1,
        padding: _size_2_t | str = 0,
        dilation: _size_2_t = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        affine: bool = True,
        bn: bool = True,
        r_init: str = "kaiming",
        eps_rel: float = 1e-12,
        grad_through_v: bool = False,
        v_mode: str = "exact",
        grid: str = "full",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if padding_mode not in ("zeros", "circular"):
            raise ValueError(
                f"padding_mode must be 'zeros' or 'circular', got {padding_mode!r}: the preconditioner is diagonal "
                "in the Fourier domain only for a convolution on a torus"
            )
        for name, value, known in (
            ("r_init", r_init, ("kaiming", "delta")),
            ("v_mode", v_mode, ("exact", "ema")),
            ("grid", grid, ("full", "output")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be {known[0]!r} or {known[1]!r}, got {value!r}")
        if not 0 < eps_rel < 1:
            raise ValueError(f"eps_rel must be in (0, 1), got {eps_rel}")
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, **factory
        )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = _pair(conv.kernel_size), _pair(conv.stride)
        self.dilation, self.padding, self.padding_mode = _pair(conv.dilation), conv.padding, padding_mode
        for name in ("kernel_size", "stride", "dilation"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        sides = (conv.padding,) * 2 if isinstance(conv.padding, str) else _pair(conv.padding)
        self._axes = tuple(
            TorusAxis.of(d * (k - 1), s, p, padding_mode == "circular")
            for d, k, s, p in zip(self.dilation, self.kernel_size, self.stride, sides, strict=True)
        )
        self.grad_through_v, self.eps_rel, self.grid = grad_through_v, eps_rel, grid
        self.weight, self.bias = conv.weight, conv.bias
        self.average = AutocorrelationAverage(conv.weight) if v_mode == "ema" else None
        self.r = depthwise(out_channels, self.kernel_size, r_init, factory) if affine else None
        self.bn = nn.BatchNorm2d(out_channels, **factory) if bn else None

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, **options: Any) -> "ConvNorm2d":
        """The layer in place of `conv`, whose arguments and parameters it takes over."""
        if not isinstance(conv, nn.Conv2d):
            raise TypeError(f"ConvNorm is defined for nn.Conv2d, got {type(conv).__name__}{_why_not(conv)}")
        layer = cls(
            conv.in_channels,
            conv.out_channels,
            _pair(conv.kernel_size),
            _pair(conv.stride),
            conv.padding if isinstance(conv.padding, str) else _pair(conv.padding),
            _pair(conv.dilation),
            conv.groups,
            conv.bias is not None,
            conv.padding_mode,
            device=conv.weight.device,
            dtype=conv.weight.dtype,
            **options,
        )
        layer.weight, layer.bias = conv.weight, conv.bias
        return layer.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4:
            raise ValueError(f"expected 4D input (got {x.dim()}D input)")
        if x.shape[1] != self.in_channels:
            raise ValueError(f"expected {self.in_channels} channels, got {x.shape[1]}")
        y = self._precondition(x)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)[:, None, None]
        if self.r is None:
            return y if self.bn is None else self.bn(y)
        return smooth(y, self.r, self.bn, circular=self.padding_mode == "circular")

    def torus(self, height: int, width: int) -> Pair:
        """The size of the torus on which the output for an image of this size is filtered."""
        rows, cols = self._plans(height, width)
        return rows.torus, cols.torus

    def preconditioner(self, torus: Pair) -> Tensor:
        """V_j on the half grid of `torch.fft.rfft2`, shape `(Cout, N1, N2 // 2 + 1)`, float64."""
        stride = self.stride if self.grid == "output" else (1, 1)
        if self.average is not None and not self.training:
            average = self.average.current(self.weight)
            return gain_of_autocorrelation(average, self.kernel_size, torus, self.dilation, self.eps_rel, stride)
        return gain_of_weight(self.weight, torus, self.dilation, self.eps_rel, stride)

    def effective_symbol(self, height: int, width: int) -> Tensor:
        """V_j F(w_ji) at each frequency of the torus, shape `(Cout, Cin / groups, N1, N2)`, complex128.

        Its singular values, frequency by frequency, are those of the layer before crop, stride, r and bn. With
        `grid="output"` and a stride there is no such symbol: `ValueError`.
        """
        if self.grid == "output" and self.stride != (1, 1):
            raise ValueError("with grid='output' and a stride a frequency of the output mixes several of the input")
        with torch.no_grad():
            torus = self.torus(height, width)
            v = full_grid(self.preconditioner(torus), torus)
            return v[:, None] * kernel_symbol(self.weight.double(), torus, self.dilation)

    def extra_repr(self) -> str:
        names = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode", "grad_through_v", "grid")
        options = "".join(f", {name}={getattr(self, name)!r}" for name in names)
        v_mode = "exact" if self.average is None else "ema"
        return f"{self.in_channels}, {self.out_channels}{options}, bias={self.bias is not None}, v_mode={v_mode!r}"

    def _plans(self, height: int, width: int) -> tuple[AxisPlan, AxisPlan]:
        rows, cols = self._axes
        if self.grid == "output":
            return rows.native(height), cols.native(width)
        return rows.full(height), cols.full(width)

    def _precondition(self, x: Tensor) -> Tensor:
        pointwise = self.kernel_size == (1, 1)
        rows, cols = self._plans(x.shape[2], x.shape[3])
        torus = (1, 1) if pointwise else (rows.torus, cols.torus)
        if self.average is not None and self.training:
            self.average.update(self.weight)
        with torch.set_grad_enabled(self.grad_through_v and torch.is_grad_enabled()):
            v = self.preconditioner(torus)
        if pointwise:
            weight, padding = (
                (self.weight.double() * v[..., None]).to(self.weight.dtype),
                [a.sides[0] for a in self._axes],
            )
            return F.conv2d(x, weight, None, self.stride, padding, 1, self.groups)
        return preconditioned_convolution(
            x,
            self.weight,
            v,
            (rows, cols),
            stride=self.stride if self.grid == "output" else (1, 1),
            dilation=self.dilation,
            groups=self.groups,
            circular=self.padding_mode == "circular",
            through_gain=self.grad_through_v,
        )


def _why_not(layer: nn.Module) -> str:
    if isinstance(layer, nn.Linear):
        return ": see convbench.norms.convnorm_linear, which makes a 1x1 convolution of it"
    transposed = isinstance(layer, nn.ConvTranspose2d)
    return ": isometric would be its input channels, of which the paper says nothing" if transposed else ""


def _pair(value: tuple[int, ...]) -> Pair:
    return value[0], value[1]


@NORMS.register("convnorm", reference="Liu et al. 2021, arXiv 2103.00673")
def convnorm(
    *,
    affine: bool = True,
    bn: bool = True,
    r_init: str = "kaiming",
    eps_rel: float = 1e-12,
    grad_through_v: bool = False,
    v_mode: str = "exact",
    grid: str = "full",
) -> Norm:
    """ConvNorm: isometric output channels by a Fourier preconditioner, depthwise r, batch normalization."""
    options: dict[str, Any] = {"affine": affine, "bn": bn, "r_init": r_init, "eps_rel": eps_rel}
    options |= {"grad_through_v": grad_through_v, "v_mode": v_mode, "grid": grid}
    try:
        ConvNorm2d(1, 1, 1, device="meta", **options)
    except ValueError as error:
        raise ConfigError(f"norm 'convnorm': {error}.") from None
    return Norm(on_conv=partial(ConvNorm2d.from_conv, **options), has_shift=affine or bn)
