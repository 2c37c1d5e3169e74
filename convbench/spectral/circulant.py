"""Norms of convolutions from their symbol: exact for circular padding, certified from above for zero padding.

A zero-padded convolution is a block Toeplitz matrix: a crop of every circulant that is large enough, and of every
circulant twisted by a modulation of the grid. So the norm is at most the maximum of the symbol's norm over a shifted
grid, and the smallest over the shifts may be taken. (Szego; Yi 2020 for the limit of large inputs, where it is tight.)
"""

from collections.abc import Sequence
from itertools import product

from convbench.spectral.sieve import TOLERANCE, Grid, GridMaximum, Sieve
from convbench.spectral.sup_norm import covering_grid
from convbench.spectral.symbol import Symbol

ROUNDING = 1e-12  # relative; an eigenvalue of an m x m Gram matrix is off by about m * 2e-16, m <= 2048
_TOEPLITZ_TOLERANCE = 1e-6  # relative; the bound itself is at best 1e-4 above the norm
_QUICK_TOLERANCE, _QUICK_MISSED = 2e-3, 8e-3  # together 1 %
_CHUNK_BYTES = 8 * 2**20


def circular_norm(symbol: Symbol, grid: tuple[int, int]) -> float:
    """The exact norm of a circular convolution with `grid` output pixels; see `circular_enclosure`."""
    return circular_enclosure(symbol, grid).lower


def circular_enclosure(symbol: Symbol, grid: tuple[int, int], tol: float = TOLERANCE) -> GridMaximum:
    """The norm of a circular convolution with `grid` output pixels: max of ||K|| over (2 pi / grid) Z^2, enclosed."""
    return Sieve(symbol, tol).maximum(Grid(grid))


def toeplitz_upper(
    symbol: Symbol,
    input_size: Sequence[int],
    output_size: Sequence[int],
    stride: Sequence[int],
    *,
    quick: bool = False,
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
        quick: take one circulant, or, where they are large, a grid of fewer frequencies that misses at most 1 %.
    """
    low, high = symbol.offsets.amin(0).tolist(), symbol.offsets.amax(0).tolist()
    rows, columns = (
        max(out, out + hi, -(-n // s) - lo, -(-n // s))
        for n, out, s, lo, hi in zip(input_size, output_size, stride, low, high, strict=True)
    )
    if quick:
        (few_rows, few_columns), missed = covering_grid(symbol, _QUICK_MISSED)
        if few_rows * few_columns < rows * columns:
            return Sieve(symbol, _QUICK_TOLERANCE).maximum(Grid((few_rows, few_columns))).upper * missed
    sieve = Sieve(symbol, _QUICK_TOLERANCE if quick else _TOEPLITZ_TOLERANCE)
    grids = [Grid((rows, columns), twist) for twist in product((0.0, 1.0), (0.0, 1.0))]
    likely = sieve.look_at(grids)
    first, *others = sorted(range(len(grids)), key=likely.__getitem__)
    best = sieve.maximum(grids[first]).upper
    for i in [] if quick else others:
        if sieve.is_below(grids[i], best):  # a worse twist is given up at its first large value
            best = min(best, sieve.maximum(grids[i]).upper)
    return best


def chunk_length(symbol: Symbol) -> int:
    """How many frequencies to treat at once: fresh pages of large temporaries cost more than the arithmetic."""
    return max(1, _CHUNK_BYTES // (16 * symbol.taps[0].numel()))
