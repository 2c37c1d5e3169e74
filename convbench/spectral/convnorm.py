"""The parts of a ConvNorm layer, as the operators that its bound is made of."""

import torch
from torch import nn

from convbench.norms.convnorm import ConvNorm2d
from convbench.norms.preconditioner import gain, unit_kernels
from convbench.spectral.circulant import chunk_length
from convbench.spectral.symbol import convolution_symbol


@torch.no_grad()
def preconditioned_norm(layer: ConvNorm2d, input_size: tuple[int, int]) -> float:
    """max over the torus of ||diag(V) K(w)||_2: the norm of the full convolution with its preconditioner.

    Args:
        layer: in float64, on the CPU.
        input_size: (H, W).
    """
    constant = layer.kernel_size == (1, 1)
    torus = (1, 1) if constant else layer.torus(*input_size)
    unit = unit_kernels(layer.weight)
    v = gain(unit, torus, layer.dilation, layer.eps_rel).view(layer.out_channels, -1).T  # (F, C_out)
    symbol = convolution_symbol(unit, dilation=layer.dilation, groups=layer.groups)
    rows = torch.arange(torus[0], dtype=torch.float64) * (2 * torch.pi / torus[0])
    columns = torch.arange(torus[1] // 2 + 1, dtype=torch.float64) * (2 * torch.pi / torus[1])
    parts = zip(
        torch.cartesian_prod(rows, columns).split(chunk_length(symbol)), v.split(chunk_length(symbol)), strict=True
    )
    return max(float(symbol.norms(frequencies, row_gain).max()) for frequencies, row_gain in parts)


def smoothing_convolution(layer: ConvNorm2d) -> nn.Conv2d | None:
    """The depthwise r as a convolution with the padding that the layer gives it; None where it has no r."""
    if layer.r is None:
        return None
    channels = layer.out_channels
    r = nn.Conv2d(channels, channels, layer.kernel_size, padding="same", groups=channels, bias=False, device="meta")
    r.padding_mode = layer.padding_mode  # type: ignore[assignment]
    r.weight = layer.r.weight
    return r
