"""What the symbol says about one convolution layer: its exact norm where there is one, else a certified bound.

Exact: circular padding whose stride divides the input, and kernels of one tap (1x1 at any stride, patches). Other
paddings repeat pixels before a convolution without padding: ||layer|| <= ||padding|| * ||convolution||.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from convbench.spectral.circulant import toeplitz_upper
from convbench.spectral.sieve import Grid, GridMaximum, Sieve
from convbench.spectral.stages import Stage, folded_weight
from convbench.spectral.symbol import Symbol, convolution_symbol

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """A convolution's sizes per axis; a transposed one is described by the convolution that is its adjoint.

    Args:
        kernel, stride, dilation: as in `nn.Conv2d`.
        padding: (before, after) per axis.
        mode: padding mode.
        input_size, output_size: (H, W).
    """

    kernel: Pair
    stride: Pair
    dilation: Pair
    padding: tuple[Pair, Pair]
    mode: str
    input_size: Pair
    output_size: Pair

    @property
    def before(self) -> Pair:
        """Padding before the first row and before the first column."""
        return self.padding[0][0], self.padding[1][0]

    @property
    def is_circulant(self) -> bool:
        """Whether the layer is a circulant on its output grid, so that the symbol gives every singular value."""
        sizes = zip(self.input_size, self.output_size, self.stride, strict=True)
        return self.mode == "circular" and all(n == out * s for n, out, s in sizes)

    @property
    def has_full_window(self) -> bool:
        """Whether some output pixel sees no padding."""
        return all(
            any(s * i - p >= 0 and s * i - p + d * (k - 1) < n for i in range(out))
            for k, s, d, p, n, out in zip(
                self.kernel, self.stride, self.dilation, self.before, self.input_size, self.output_size, strict=True
            )
        )


def image_size(shape: tuple[int, ...]) -> Pair:
    """(H, W) of a shape that ends with them."""
    return shape[-2], shape[-1]


def geometry_of(conv: nn.Conv2d | nn.ConvTranspose2d, input_size: Pair, output_size: Pair) -> Geometry:
    """The sizes of `conv` between an input and an output of the given (H, W)."""
    kernel, dilation = cast(Pair, conv.kernel_size), cast(Pair, conv.dilation)
    if conv.padding == "same":  # PyTorch puts the odd pixel after
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        padding = [(total // 2, total - total // 2) for total in totals]
    elif conv.padding == "valid":
        padding = [(0, 0), (0, 0)]
    else:
        padding = [(p, p) for p in cast(Pair, conv.padding)]
    if isinstance(conv, nn.ConvTranspose2d):
        input_size, output_size = output_size, input_size
    return Geometry(
        kernel, cast(Pair, conv.stride), dilation, (padding[0], padding[1]), conv.padding_mode, input_size, output_size
    )


def output_size(conv: nn.Conv2d | nn.ConvTranspose2d, input_size: Pair) -> Pair:
    """(H, W) of the output for an input of (H, W).

    Raises:
        ValueError: the input is smaller than the kernel, or than a padding that repeats its pixels.
    """
    name, fits = type(conv).__name__, min(input_size) > 0
    geometry = geometry_of(conv, input_size, input_size)
    if isinstance(conv, nn.ConvTranspose2d):
        extra = cast(Pair, conv.output_padding)
        out = [
            (n - 1) * s - sum(p) + d * (k - 1) + more + 1
            for n, s, p, d, k, more in zip(
                input_size, geometry.stride, geometry.padding, geometry.dilation, geometry.kernel, extra, strict=True
            )
        ]
    else:
        out = [
            (n + sum(p) - d * (k - 1) - 1) // s + 1
            for n, s, p, d, k in zip(
                input_size, geometry.stride, geometry.padding, geometry.dilation, geometry.kernel, strict=True
            )
        ]
        limits = {"reflect": [n - 1 for n in input_size], "circular": list(input_size)}.get(geometry.mode)
        if limits is not None:
            fits = fits and all(max(p) <= limit for p, limit in zip(geometry.padding, limits, strict=True))
    if not fits or min(out) < 1:
        raise ValueError(
            f"{name} can't be applied to an input of shape {(conv.in_channels, *input_size)}: its kernel is "
            f"{geometry.kernel}, its padding {geometry.padding} ({geometry.mode}), its dilation {geometry.dilation}"
        )
    return out[0], out[1]


def circulant_symbol(stage: Stage, input_size: Pair, output_size: Pair) -> tuple[Symbol, Grid] | None:
    """The symbol and the frequencies that give every singular value of a convolution stage; None where none do."""
    geometry = geometry_of(_convolution(stage), input_size, output_size)
    if geometry.is_circulant:
        return _symbol(stage, geometry, geometry.before), Grid(geometry.output_size)
    if geometry.mode == "zeros" or not any(map(any, geometry.padding)):
        symbol = _symbol(stage, geometry, geometry.before)
        if len(symbol.offsets) == 1 and geometry.has_full_window:  # the same matrix at every pixel
            return symbol, Grid((1, 1))
    return None


def exact_norm(stage: Stage, input_size: Pair, output_size: Pair) -> GridMaximum | None:
    """The norm of a convolution stage, enclosed to 1e-9, where the symbol has it exactly; else None."""
    found = circulant_symbol(stage, input_size, output_size)
    return None if found is None else Sieve(found[0]).maximum(found[1])


def convolution_upper(stage: Stage, input_size: Pair, output_size: Pair, *, quick: bool = False) -> float:
    """A certified upper bound of the norm of a convolution stage, for any padding mode.

    Args:
        stage: the convolution.
        input_size, output_size: (H, W).
        quick: see `toeplitz_upper`.
    """
    geometry = geometry_of(_convolution(stage), input_size, output_size)
    if geometry.mode == "zeros":
        symbol = _symbol(stage, geometry, geometry.before)
        return toeplitz_upper(symbol, geometry.input_size, geometry.output_size, geometry.stride, quick=quick)
    padded = [n + sum(p) for n, p in zip(geometry.input_size, geometry.padding, strict=True)]
    symbol = _symbol(stage, geometry, (0, 0))
    bound = toeplitz_upper(symbol, padded, geometry.output_size, geometry.stride, quick=quick)
    return _padding_norm(geometry) * bound


def _convolution(stage: Stage) -> nn.Conv2d | nn.ConvTranspose2d:
    assert isinstance(stage.module, nn.Conv2d | nn.ConvTranspose2d)
    return stage.module


def _symbol(stage: Stage, geometry: Geometry, padding: Pair) -> Symbol:
    return convolution_symbol(
        folded_weight(stage),
        stride=geometry.stride,
        padding=padding,
        dilation=geometry.dilation,
        groups=_convolution(stage).groups,
    )


def _padding_norm(geometry: Geometry) -> float:
    """||padding||_2 for circular, reflecting or replicating padding: the root of how often a pixel is repeated."""
    repeats = 1
    for n, padding in zip(geometry.input_size, geometry.padding, strict=True):
        index = F.pad(torch.arange(n, dtype=torch.float64).view(1, 1, n), padding, mode=geometry.mode)
        repeats *= int(index.long().flatten().bincount().max())
    return math.sqrt(repeats)
