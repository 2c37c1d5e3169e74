"""The preconditioned convolution of ConvNorm, by whichever of its equal computations is fastest."""

import torch
import torch.nn.functional as F
from torch import Tensor

from convbench.norms.preconditioning.spectral_convolution import SpectralConvolution
from convbench.norms.preconditioning.torus_filter import Pair, TorusFilter, filter_by_fft, whole
from convbench.norms.preconditioning.torus_geometry import AxisPlan

# Where products per frequency pay, by one thread of an AMD EPYC, in training and evaluation, float32 and bfloat16.
_SPECTRAL_BATCH = 48  # fewer images don't pay for the Fourier transform of the kernels; a third does with a stride
_SPECTRAL_CHANNELS = 32
_SPECTRAL_WORK = 1100  # output channels times pixels along the torus, without a stride
_SPECTRAL_SIZE = 72  # pixels along the torus; beyond, matrices transform more slowly than a direct convolution takes


def preconditioned_convolution(
    x: Tensor,
    weight: Tensor,
    gain: Tensor,
    plans: tuple[AxisPlan, AxisPlan],
    *,
    stride: Pair,
    dilation: Pair,
    groups: int,
    circular: bool,
    through_gain: bool,
) -> Tensor:
    """The convolution that covers the torus, filtered there by the gain, at the positions of the plans.

    Args:
        x: shape `(N, Cin, H, W)`.
        gain: V on the half grid, shape `(Cout, N1, N2 // 2 + 1)`.
        plans: of rows and columns.
        stride: of the convolution; the positions of the output hold their own.
        circular: whether the padding repeats the image.
        through_gain: whether the gain takes part in the gradient.
    """
    rows, cols = plans
    torus, target = (rows.torus, cols.torus), (rows.positions, cols.positions)
    tracing = torch.compiler.is_compiling()
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    plain = x.device.type == "cpu" and not (tracing or through_gain) and (stride, groups) == ((1, 1), 1)
    if plain and _is_circular(x, weight, plans, dilation, circular) and _spectral_pays(x, weight, plans):
        source = tuple(range(p.padding[0], p.padding[0] + n) for p, n in zip(plans, x.shape[2:], strict=True))
        wide = torch.promote_types(dtype, torch.float32)
        with torch.autocast("cpu", enabled=False):
            geometry = (torus, source, target, dilation)
            return SpectralConvolution.apply(x.to(dtype), weight.to(wide), gain.to(wide), geometry)
    padding = (rows.padding[0], cols.padding[0])
    if circular or rows.padding[0] != rows.padding[1] or cols.padding[0] != cols.padding[1]:
        x = F.pad(x, (*cols.padding, *rows.padding), mode="circular" if circular else "constant")
        padding = (0, 0)
    c = F.conv2d(x, weight, None, stride, padding, dilation, groups)
    apply = filter_by_fft if through_gain or tracing else TorusFilter.apply
    # No 16-bit type is precise enough for the filter, and few Fourier transforms take one.
    wide = torch.promote_types(c.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        return apply(c.to(wide), gain.to(wide), torus, whole(torus), target).to(c.dtype)


def _is_circular(x: Tensor, weight: Tensor, plans: tuple[AxisPlan, AxisPlan], dilation: Pair, circular: bool) -> bool:
    """Whether the convolution is the circular one on the torus: no kernel wraps round into the image."""
    spans = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    sizes = [n if circular else n + span for n, span in zip(x.shape[2:], spans, strict=True)]
    return all(p.torus >= max(n, span) for p, n, span in zip(plans, sizes, spans, strict=True))


def _spectral_pays(x: Tensor, weight: Tensor, plans: tuple[AxisPlan, AxisPlan]) -> bool:
    """Whether the product of matrices per frequency is faster than a direct convolution and a filter."""
    if max(p.torus for p in plans) > _SPECTRAL_SIZE or len(weight) < _SPECTRAL_CHANNELS:
        return False
    if max(p.positions.step for p in plans) > 1:
        return len(x) >= _SPECTRAL_BATCH // 3
    return len(x) >= _SPECTRAL_BATCH and len(weight) * min(p.torus for p in plans) >= _SPECTRAL_WORK
