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
from convbench.norms.preconditioner import gain, kernel_symbol, unit_kernels
from convbench.norms.torus_filter import TorusFilter, filter_by_fft, full_grid, whole

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
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if padding_mode not in ("zeros", "circular"):
            raise ValueError(
                f"padding_mode must be 'zeros' or 'circular', got {padding_mode!r}: the preconditioner is diagonal "
                "in the Fourier domain only for a convolution on a torus"
            )
        if r_init not in ("kaiming", "delta"):
            raise ValueError(f"r_init must be 'kaiming' or 'delta', got {r_init!r}")
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
        self._span = (
            self.dilation[0] * (self.kernel_size[0] - 1),
            self.dilation[1] * (self.kernel_size[1] - 1),
        )
        self._sides = (self._padding_sides(0), self._padding_sides(1))
        self.grad_through_v, self.eps_rel = grad_through_v, eps_rel
        self.weight, self.bias = conv.weight, conv.bias
        self.r = _depthwise(out_channels, self.kernel_size, r_init, factory) if affine else None
        self.bn = nn.BatchNorm2d(out_channels, **factory) if bn else None

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, **options: Any) -> "ConvNorm2d":
        """The layer in place of `conv`, whose arguments and parameters it takes over."""
        if not isinstance(conv, nn.Conv2d):
            raise TypeError(f"ConvNorm is defined for nn.Conv2d, got {type(conv).__name__}")
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
        y = self._precondition(x)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)[:, None, None]
        if self.r is not None:
            y = self._convolve_depthwise(y, self.r)
        return y if self.bn is None else self.bn(y)

    def torus(self, height: int, width: int) -> Pair:
        """The size of the torus on which an image of this size is convolved."""
        return self._plan(0, height)[1], self._plan(1, width)[1]

    def effective_symbol(self, height: int, width: int) -> Tensor:
        """V_j F(w_ji) at each frequency of the torus, shape `(Cout, Cin / groups, N1, N2)`, complex128.

        Its singular values, frequency by frequency, are those of the layer before crop, stride, r and bn.
        """
        with torch.no_grad():
            unit, torus = unit_kernels(self.weight), self.torus(height, width)
            v = full_grid(gain(unit, torus, self.dilation, self.eps_rel), torus)
            return v[:, None] * kernel_symbol(unit, torus, self.dilation)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, groups={self.groups}, "
            f"bias={self.bias is not None}, padding_mode={self.padding_mode!r}, "
            f"grad_through_v={self.grad_through_v}"
        )

    def _padding_sides(self, axis: int) -> Pair:
        """Rows (or columns) of padding before and after the image."""
        span, padding = self._span[axis], self.padding
        if padding == "same":
            return span // 2, span - span // 2
        side = 0 if isinstance(padding, str) else padding[axis]
        if side < 0:
            raise ValueError(f"padding must be at least 0, got {padding}")
        if self.padding_mode == "circular" and 2 * side > span:
            raise ValueError(f"circular padding {padding} is wider than 'same': the output would repeat pixels")
        return side, side

    def _plan(self, axis: int, size: int) -> tuple[Pair, int, range]:
        """Along one axis: padding of the stride-1 convolution, size of the torus, positions of the output."""
        span, (before, after) = self._span[axis], self._sides[axis]
        length = size + before + after - span
        if length < 1:
            raise ValueError(f"an image of {size} pixels with padding {before} and {after} is smaller than the kernel")
        if self.padding_mode == "circular":
            return (before, span - before), size, range(0, length, self.stride[axis])
        full = max(span, before, after)
        start = full - before
        return (full, full), size + 2 * full - span, range(start, start + length, self.stride[axis])

    def _precondition(self, x: Tensor) -> Tensor:
        unit = unit_kernels(self.weight)
        with torch.set_grad_enabled(self.grad_through_v and torch.is_grad_enabled()):
            if self.kernel_size == (1, 1):
                v, torus = gain(unit, (1, 1), (1, 1), self.eps_rel)[..., None], (1, 1)
            else:
                torus = self.torus(x.shape[2], x.shape[3])
                v = gain(unit, torus, self.dilation, self.eps_rel)
        if self.kernel_size == (1, 1):
            weight, padding = (unit * v).to(self.weight.dtype), (self._sides[0][0], self._sides[1][0])
            return F.conv2d(x, weight, None, self.stride, padding, 1, self.groups)
        (rows, _, target_rows), (cols, _, target_cols) = self._plan(0, x.shape[2]), self._plan(1, x.shape[3])
        padding = (rows[0], cols[0])
        if self.padding_mode == "circular":
            x, padding = F.pad(x, (*cols, *rows), mode="circular"), (0, 0)
        c = F.conv2d(x, unit.to(self.weight.dtype), None, 1, padding, self.dilation, self.groups)
        apply = filter_by_fft if self.grad_through_v else TorusFilter.apply
        # No 16-bit type is precise enough for the filter, and few Fourier transforms take one.
        wide = torch.promote_types(c.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            y = apply(c.to(wide), v.to(wide), torus, whole(torus), (target_rows, target_cols))
        return y.to(c.dtype)

    def _convolve_depthwise(self, y: Tensor, r: nn.Conv2d) -> Tensor:
        """r * y at the size of y; padded by hand where the sides differ."""
        rows, cols = (((k - 1) // 2, k // 2) for k in self.kernel_size)
        padding = (rows[0], cols[0])
        if self.padding_mode == "circular" or rows[0] != rows[1] or cols[0] != cols[1]:
            mode = "circular" if self.padding_mode == "circular" else "constant"
            y, padding = F.pad(y, (*cols, *rows), mode=mode), (0, 0)
        return F.conv2d(y, r.weight, r.bias, 1, padding, 1, self.out_channels)


def _pair(value: tuple[int, ...]) -> Pair:
    return value[0], value[1]


def _depthwise(channels: int, kernel_size: Pair, init: str, factory: dict[str, Any]) -> nn.Conv2d:
    r = nn.Conv2d(channels, channels, kernel_size, groups=channels, **factory)
    if init == "delta":
        for parameter in r.parameters():
            nn.init.zeros_(parameter)
        with torch.no_grad():
            r.weight[:, :, (kernel_size[0] - 1) // 2, (kernel_size[1] - 1) // 2] = 1
    return r


@NORMS.register("convnorm", reference="Liu et al. 2021, arXiv 2103.00673")
def convnorm(
    *,
    affine: bool = True,
    bn: bool = True,
    r_init: str = "kaiming",
    eps_rel: float = 1e-12,
    grad_through_v: bool = False,
) -> Norm:
    """ConvNorm: isometric output channels by a Fourier preconditioner, depthwise r, batch normalization."""
    options = {
        "affine": affine,
        "bn": bn,
        "r_init": r_init,
        "eps_rel": eps_rel,
        "grad_through_v": grad_through_v,
    }
    try:
        ConvNorm2d(1, 1, 1, device="meta", **options)
    except ValueError as error:
        raise ConfigError(f"norm 'convnorm': {error}.") from None
    return Norm(on_conv=partial(ConvNorm2d.from_conv, **options), has_shift=affine or bn)
