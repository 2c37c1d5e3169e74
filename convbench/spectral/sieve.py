"""The largest norm of a symbol on a frequency grid, proven without an eigenproblem at every frequency.

For unit u, v the function u^H K(w) v is, up to a phase, of exponential type deg_i = (max t_i - min t_i) / 2 along axis
i. With S = sup ||K|| and ||K(a)|| = S cos(b) the inequality of Bernstein and Szego (Duffin & Schaeffer 1938) says
    ||K(a + h)|| >= S cos(b + sum deg_i |h_i|)   while the argument is at most pi,
and a grid of N_1 x N_2 frequencies, however shifted, misses little (Ehlich & Zeller 1964, axis by axis):
    S <= max over the grid of ||K|| / prod cos(pi deg_i / N_i).
So the cell of grid points that holds the maximum has a large norm at its centre: a cell whose centre is provably
smaller is dropped (one Cholesky factorization), another one split. What is left is proven to be at most the largest
value found, up to the tolerance, again by Cholesky; where that fails the largest value rises.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convbench.spectral.ascent import likely_sizes
from convbench.spectral.gram import GramSymbol, rounding_margin
from convbench.spectral.symbol import Symbol

TOLERANCE = 1e-9  # relative width of the enclosure
_SMALL = 16  # up to this side the eigenvalues at every frequency cost less than pruning
_WORTHWHILE = 0.35  # share of a level's cells that must fall for the level to pay
_LEAST_SHARE = 0.9  # larger cells ask for centres that are far below the maximum, and hardly any is
_EIGENVALUES_SIDE = 64  # above, a few steps of an iteration are cheaper
_BATCH, _FIRST_BATCH = 64, 4
_CANDIDATES = 2  # of the likely maxima, before anything is proven
_LARGE = 320  # from this side on a norm costs as much as several proofs
_COARSE_ENOUGH = 1e-3  # from this tolerance on, one candidate does
_COARSE = 1e-2  # relative tolerance that tells which of several norms is largest
_FAILURES = 8  # for each so many, the norm of one is looked at
_CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class GridMaximum:
    """max over a grid of ||K(w)||_2 is in [lower, upper]; `lower` is attained at `frequency`, `(2,)` radians."""

    lower: float
    upper: float
    frequency: Tensor


@dataclass(frozen=True)
class Grid:
    """The frequencies (2 pi j + twist pi) / size, j integer, per axis.

    Args:
        size: (N_1, N_2).
        twist: 0 or 1 per axis; with these the grid is its own mirror image, and K(-w) = conj K(w): half is enough.
    """

    size: tuple[int, int]
    twist: tuple[float, float] = (0.0, 0.0)

    @property
    def rows(self) -> int:
        """How many values of the first frequency determine the rest by symmetry."""
        return self.size[0] // 2 + 1 if self.twist[0] == 0 else (self.size[0] + 1) // 2

    def at(self, index: Tensor) -> Tensor:
        """Frequencies of (possibly fractional) indices `(F, 2)`."""
        steps = torch.tensor([2 * math.pi / n for n in self.size], dtype=torch.float64)
        return (index.double() + torch.tensor(self.twist, dtype=torch.float64) / 2) * steps

    def half(self) -> Tensor:
        """Indices `(F, 2)` that determine the rest by symmetry."""
        index = torch.cartesian_prod(torch.arange(self.rows), torch.arange(self.size[1]))
        mirror = (-index - torch.tensor(self.twist).long()).remainder(torch.tensor(self.size))
        own_row = mirror[:, 0] == index[:, 0]
        return index[~own_row | (index[:, 1] <= mirror[:, 1])]


class Sieve:
    """The search for the maxima of one symbol, over any grids.

    Args:
        symbol: of any size.
        tol: relative width of the enclosures, apart from rounding.
    """

    def __init__(self, symbol: Symbol, tol: float = TOLERANCE) -> None:
        self._scale = _power_of_two(float(symbol.taps.abs().max()))
        self._symbol = Symbol(symbol.taps / (self._scale or 1.0), symbol.offsets)
        self._tol = tol
        self._groups: list[_Group] = []
        self._sizes: dict[Grid, list[Tensor]] = {}
        if self._scale > 0 and symbol.rank > _SMALL and len(symbol.offsets) > 1:
            loudness = self._symbol.taps.square().sum((0, 2, 3))
            for group in loudness.argsort(descending=True).tolist():  # loud groups first: they silence the others
                self._groups.append(_Group(self._symbol.taps[:, group], symbol.offsets, tol))

    def look_at(self, grids: list[Grid]) -> list[float]:
        """About the maximum over each grid, without proof; zeros where the symbol is so small that none is needed.

        One search serves all grids; `maximum` then starts from what it found.
        """
        frequencies = [grid.at(grid.half()) for grid in grids]
        found = [likely_sizes(group.taps, self._symbol.offsets, frequencies) for group in self._groups]
        for i, grid in enumerate(grids):
            self._sizes[grid] = [sizes[i] for sizes in found]
        return [self._scale * max((float(sizes.max()) for sizes in self._sizes[grid]), default=0.0) for grid in grids]

    def maximum(self, grid: Grid) -> GridMaximum:
        """The maximum over `grid` of ||K(w)||_2, the largest over the groups: upper <= lower (1 + tol)."""
        if self._scale == 0.0:
            return GridMaximum(0.0, 0.0, torch.zeros(2, dtype=torch.float64))
        found = self._sieved(grid) if self._groups else every_frequency(self._symbol, grid)
        return GridMaximum(found.lower * self._scale, found.upper * self._scale, found.frequency)

    def is_below(self, grid: Grid, bound: float) -> bool:
        """Whether ||K(w)||_2 < `bound` is proven on all of `grid`; ends at the first frequency where it isn't."""
        if not self._groups:
            return self.maximum(grid).upper < bound
        return all(
            group.is_below(grid, sizes, bound / self._scale)
            for group, sizes in zip(self._groups, self._sizes_on(grid), strict=True)
        )

    def _sizes_on(self, grid: Grid) -> list[Tensor]:
        if grid not in self._sizes:
            self.look_at([grid])
        return self._sizes[grid]

    def _sieved(self, grid: Grid) -> GridMaximum:
        best, where = 0.0, torch.zeros(2, dtype=torch.float64)
        for group, sizes in zip(self._groups, self._sizes_on(grid), strict=True):
            value, frequency = group.search(grid, sizes, best)
            if value > best:
                best, where = value, frequency
        return GridMaximum(best, best * (1 + self._tol) * (1 + rounding_margin(self._symbol.rank)), where)


class _Group:
    """One group's search."""

    def __init__(self, taps: Tensor, offsets: Tensor, tol: float) -> None:
        self.taps, self._tol = taps, tol
        self._gram = GramSymbol(taps, offsets)
        self._degrees = degrees(offsets)

    def is_below(self, grid: Grid, sizes: Tensor, bound: float) -> bool:
        """Whether the norm is below `bound` on all of `grid`; frequencies of large `sizes` are tried first."""
        frequencies = grid.at(grid.half()[sizes.argsort(descending=True)])
        first = frequencies[:_FIRST_BATCH]
        parts = (first, *frequencies[_FIRST_BATCH:].split(_BATCH))
        return all(bool(self._gram.is_below(bound, part).all()) for part in parts if len(part) > 0)

    def search(self, grid: Grid, sizes: Tensor, floor: float) -> tuple[float, Tensor]:
        """The largest norm on `grid` and where, if it is above `floor`; if not, any.

        Args:
            grid: the frequencies.
            sizes: about the norms at its half, `(F,)`: where to look first.
            floor: a value that another group is known to reach.
        """
        index = grid.half()
        few = self._tol >= _COARSE_ENOUGH or self._gram.side > _LARGE
        candidates = 1 if few else min(_CANDIDATES, len(sizes))
        best, where = self._largest(grid.at(index[sizes.topk(candidates).indices]))
        kept = self._pruned(grid, max(best, floor))
        kept = kept[index[:, 0], index[:, 1]]
        left = grid.at(index[kept][sizes[kept].argsort(descending=True)])
        doubtful: Tensor | None = None
        batch = _FIRST_BATCH
        while len(left) > 0:
            bound = max(best, floor) * (1 + self._tol)
            failures = left[:batch][~self._gram.is_below(bound, left[:batch])]
            left, batch = left[batch:], min(2 * batch, _BATCH)
            if len(failures) > 0:
                again = doubtful is not None and torch.equal(failures[0], doubtful)
                if again:
                    value, frequency = self._gram.norm_at(failures[0]), failures[0]
                else:
                    value, frequency = self._largest(failures[::_FAILURES])
                if value > best:
                    best, where = value, frequency
                doubtful = failures[0]
                left = torch.cat([failures[1:] if again else failures, left])
        return best, where

    def _largest(self, frequencies: Tensor) -> tuple[float, Tensor]:
        """The largest norm among a few frequencies, and its place."""
        if len(frequencies) > 1:
            coarse = [self._norm(frequency, _COARSE) for frequency in frequencies]
            frequencies = frequencies[int(np.argmax(coarse))][None]
        return self._norm(frequencies[0], self._tol), frequencies[0]

    def _norm(self, frequency: Tensor, tol: float) -> float:
        if self._gram.side <= _EIGENVALUES_SIDE:
            return self._gram.norm_at(frequency)
        return self._gram.norm_below(frequency, tol)

    def _pruned(self, grid: Grid, attained: float) -> Tensor:
        """Which points of `grid` may be the maximum if some point reaches `attained`: bool `(rows, columns)`."""
        sizes = (grid.rows, grid.size[1])
        side = self._first_cell(grid)
        cells = torch.cartesian_prod(*(torch.arange(0, n, side) for n in sizes))
        while side > 1 and len(cells) > 0:
            bound = attained * self._share(grid, side) * (1 - 1e-12)
            centres = grid.at(cells + (side - 1) / 2)
            sample = torch.zeros(len(cells), dtype=torch.bool)
            sample[:: max(1, len(cells) // 12)] = True
            keep = torch.ones(len(cells), dtype=torch.bool)
            keep[sample] = ~self._gram.is_below(bound, centres[sample], roughly=True)
            if keep[sample].double().mean() <= 1 - _WORTHWHILE:
                keep[~sample] = ~self._gram.is_below(bound, centres[~sample], roughly=True)
            side //= 2
            quarters = torch.cartesian_prod(torch.tensor([0, side]), torch.tensor([0, side]))
            cells = (cells[keep].unsqueeze(1) + quarters).flatten(0, 1)
            cells = cells[(cells < torch.tensor(sizes)).all(1)]
        wanted = torch.zeros(sizes, dtype=torch.bool)
        wanted[cells[:, 0], cells[:, 1]] = True
        return wanted

    def _first_cell(self, grid: Grid) -> int:
        side = 1
        while 2 * side <= max(grid.size) and self._share(grid, 2 * side) >= _LEAST_SHARE:
            side *= 2
        return side

    def _share(self, grid: Grid, side: int) -> float:
        """The least ||K(centre)|| / max over the grid of ||K|| for the cell of side x side points with the maximum.

        With S cos(b) the maximum over the grid it is cos(b + reach) / cos(b) = cos(reach) - tan(b) sin(reach), at the
        largest b that the grid allows.
        """
        axes = list(zip(self._degrees, grid.size, strict=True))
        covered = math.prod(math.cos(math.pi * d / n) if 2 * d < n else 0.0 for d, n in axes)
        reach = sum(d * (side - 1) * math.pi / n for d, n in axes)
        if covered <= 0.0 or math.acos(covered) + reach >= math.pi:
            return 0.0
        return math.cos(reach) - math.tan(math.acos(covered)) * math.sin(reach)


def every_frequency(symbol: Symbol, grid: Grid) -> GridMaximum:
    """The maximum over `grid` of ||K(w)||_2 from the eigenvalues at every frequency."""
    frequencies = grid.at(grid.half())
    frequencies = frequencies if len(symbol.offsets) > 1 else frequencies[:1]  # one tap: the same matrix everywhere
    length = max(1, _CHUNK_BYTES // (16 * symbol.taps[0].numel()))
    values = torch.cat([symbol.norms(part) for part in frequencies.split(length)])
    best = int(values.argmax())
    value = float(values[best])
    return GridMaximum(value, value * (1 + rounding_margin(symbol.rank)), frequencies[best])


def degrees(offsets: Tensor) -> tuple[float, float]:
    """deg_i = (max t_i - min t_i) / 2, the exponential type of the symbol along each axis."""
    span = (offsets.amax(0) - offsets.amin(0)).double() / 2
    return float(span[0]), float(span[1])


def _power_of_two(value: float) -> float:
    return float(np.ldexp(1.0, np.frexp(value)[1])) if value > 0 else 0.0
