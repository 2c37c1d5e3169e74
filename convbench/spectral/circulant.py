"""Norms of convolutions from their symbol: exact for circular padding, certified from above for zero padding.

A zero-padded convolution is a block Toeplitz matrix: a crop of every circulant that is large enough, and of every
circulant twisted by a modulation of the grid. So the norm is at most the maximum of the symbol's norm over a shifted
grid, and the smallest over the shifts may be taken. (Szego; Yi 2020 for the limit of large inputs, where it is tight.)
"""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from convbench.spectral.symbol import Symbol

ROUNDING = 1e-12  # relative; an eigenvalue of an m x m Gram matrix is off by about m * 2e-16, m <= 2048
_CHUNK_BYTES = 8 * 2**20


def circular_norm(symbol: Symbol, grid: tuple[int, int]) -> float:
    """The exact norm of a circular convolution with `grid` output pixels: max of ||K|| over (2 pi / grid) Z^2."""
    return _grid_norm(symbol, _frequencies(grid, (0.0, 0.0)))[0]


def toeplitz_upper(
    symbol: Symbol, input_size: Sequence[int], output_size: Sequence[int], stride: Sequence[int]
) -> float:
    """A certified upper bound of the norm of the zero-padded convolution, the smallest over four twisted circulants.

    ||T||_2 <= min over delta of max over w in delta + (2 pi / M) Z^2 of ||K(w)||_2, delta in {0, pi / M} per axis (the
    two that keep the symmetry K(-w) = conj K(w)), M = max(out + max t, ceil(in / s) - min t) the smallest size without
    wrap-around.

    Args:
        symbol: of the convolution, with its padding.
        input_size: (H, W) before padding.
        output_size: (H, W) of the output.
        stride: s per axis.
    """
    low, high = symbol.offsets.amin(0).tolist(), symbol.offsets.amax(0).tolist()
    grid = [
        max(out, out + hi, -(-n // s) - lo, -(-n // s))
        for n, out, s, lo, hi in zip(input_size, output_size, stride, low, high, strict=True)
    ]
    best, peak = math.inf, None
    for twist in product((0.0, 1.0), (0.0, 1.0)):
        frequencies = _frequencies((grid[0], grid[1]), twist)
        if peak is not None:  # the peaks of all twists are near each other: a bad twist is given up at once
            away = (frequencies - peak + math.pi).remainder(2 * math.pi) - math.pi
            frequencies = frequencies[away.square().sum(1).argsort()]
        value, where = _grid_norm(symbol, frequencies, give_up_above=best)
        if value < best:
            best, peak = value, where
    return best * (1 + ROUNDING)


def chunk_length(symbol: Symbol) -> int:
    """How many frequencies to treat at once: fresh pages of large temporaries cost more than the arithmetic."""
    return max(1, _CHUNK_BYTES // (16 * symbol.taps[0].numel()))


def _frequencies(grid: tuple[int, int], twist: tuple[float, float]) -> Tensor:
    """The half of `(twist * pi + 2 pi j) / grid` that determines the rest by K(-w) = conj K(w): `(F, 2)` radians."""
    rows = grid[0] // 2 + 1 if twist[0] == 0 else (grid[0] + 1) // 2
    axes = [
        (torch.arange(count, dtype=torch.float64) * 2 + shift) * (math.pi / size)
        for count, size, shift in zip((rows, grid[1]), grid, twist, strict=True)
    ]
    return torch.cartesian_prod(*axes)


def _grid_norm(symbol: Symbol, frequencies: Tensor, give_up_above: float = math.inf) -> tuple[float, Tensor]:
    """The largest ||K|| and where; ends early, once it is above `give_up_above`."""
    best, where = 0.0, frequencies[0]
    for part in frequencies.split(chunk_length(symbol)):
        value, index = symbol.norms(part).max(0)
        if float(value) > best:
            best, where = float(value), part[index]
        if best > give_up_above:
            break
    return best, where
