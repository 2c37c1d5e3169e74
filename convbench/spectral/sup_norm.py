"""A bound of a convolution's norm at every input size: the supremum of its symbol over all frequencies.

sup ||K|| bounds the norm of the zero-padded and of the circular convolution of any size; it is their limit for large
inputs (Szego; Yi 2020).
"""

import math

from convbench.spectral.sieve import Grid, Sieve, degrees
from convbench.spectral.symbol import Symbol


def sup_norm(symbol: Symbol, rtol: float = 1e-2) -> tuple[float, float]:
    """sup over all w of ||K(w)||_2, between the maximum over a grid and what such a grid can miss.

    max over the grid <= sup <= max / prod cos(pi deg_i / N_i), with a grid of N_1 x N_2 points that makes the last
    factor at most 1 + rtol (Ehlich & Zeller 1964).

    Args:
        symbol: of any stride, dilation and groups.
        rtol: relative width of the enclosure, in (0, 1]. The cost grows with 1 / rtol: flat symbols, as random
            initialization makes them, need all of the grid.

    Returns:
        A lower and a certified upper bound.
    """
    if not 0 < rtol <= 1:
        raise ValueError(f"rtol is {rtol}; it must be above 0 and at most 1")
    sizes, missed = covering_grid(symbol, rtol)
    found = Sieve(symbol, min(1e-9, rtol / 100)).maximum(Grid(sizes))
    return found.lower, found.upper * missed


def covering_grid(symbol: Symbol, rtol: float) -> tuple[tuple[int, int], float]:
    """The smallest grid on which the maximum of ||K|| is within 1 + `rtol` of the supremum, and that factor exactly."""
    spans = degrees(symbol.offsets)
    axes = sum(span > 0 for span in spans)
    angle = math.acos((1 + rtol) ** (-1 / max(1, axes)))
    rows, columns = (max(1, math.ceil(math.pi * span / angle)) for span in spans)
    missed = math.prod(math.cos(math.pi * span / n) for span, n in zip(spans, (rows, columns), strict=True))
    return (rows, columns), 1 / missed
