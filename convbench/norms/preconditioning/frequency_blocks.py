"""The frequencies of a torus in the order in which a spectral convolution works through them.

A stride that divides the torus folds the spectrum: the output lies on a torus of N / stride pixels, and each of its
frequencies is the sum of the stride's aliases, which lie N / stride apart. Of a real signal half of the frequencies
determine the rest. They come in blocks that fit a cache, so that what stands between the transforms is never whole
in memory: on a small torus a few frequencies each, on a larger one those that share their frequency along an axis.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from convbench.norms.constant_tables import constant_table

Pair = tuple[int, int]
Window = tuple[range, range]

_DENSE_PIXELS = 100  # up to here one matrix for both axes is faster than one for each
_DENSE_BLOCK = 8  # frequencies of the image


class Fold(NamedTuple):
    """Which frequencies, in which order.

    Args:
        torus: N1, N2.
        step: a stride that divides it along each axis.
        rows_first: whether the axis of rows is transformed first, which suits channels that come last.
    """

    torus: Pair
    step: Pair
    rows_first: bool

    @property
    def dense(self) -> bool:
        """Whether one matrix transforms both axes."""
        return self.torus[0] * self.torus[1] <= _DENSE_PIXELS

    @property
    def size(self) -> Pair:
        """The torus of the output."""
        return self.torus[0] // self.step[0], self.torus[1] // self.step[1]


class Piece(NamedTuple):
    """Its place among all pieces, and its frequencies' among all frequencies: alias by alias those of its block."""

    number: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many frequencies it has."""
        return self.stop - self.start


class Block(NamedTuple):
    """Frequencies of the output, as a piece among those of the output, and the pieces of their aliases.

    With an axis after the other the frequency along the first is one in a piece; else a block has one piece.
    """

    output: Piece
    pieces: list[Piece]


@lru_cache(64)
def blocks(fold: Fold) -> list[Block]:
    """The blocks in their order."""
    found, pieces, start, outputs = [], 0, 0, 0
    for number, (frequencies, by_piece, _) in enumerate(_frequencies(fold)):
        count, aliases = len(frequencies), []
        for shifts in by_piece:
            aliases.append(Piece(pieces, start, start + len(shifts) * count))
            pieces, start = pieces + 1, start + len(shifts) * count
        found.append(Block(Piece(number, outputs, outputs + count), aliases))
        outputs += count
    return found


@constant_table
def transform(fold: Fold, window: Window, folded: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Real matrices that take values on `window` to their spectrum; transposed they take it back.

    `folded` is for the output, on its own torus and without aliases.

    Returns:
        The first, along an axis: the real and the imaginary part for each piece, `(2 pieces, positions)`. The second,
        along the other: from these two parts the real and then the imaginary ones of each piece's frequencies,
        `(2 frequencies, 2 positions)`. If dense the first does it all, `(2 frequencies, positions)`.
    """
    first, second = [], []
    axis, size = 0 if fold.rows_first else 1, fold.size if folded else fold.torus
    for frequencies, by_piece, _ in _frequencies(fold):
        for shifts in [[(0, 0)]] if folded else by_piece:
            pairs = _shifted(frequencies, shifts)
            angle = [_angles(pairs[:, i], size[i], window[i]) for i in (0, 1)]
            if fold.dense:
                both = (angle[0][:, :, None] + angle[1][:, None, :]).flatten(1)
                first += [both.cos(), -both.sin()]
            else:
                along, across = angle[axis][:1], angle[1 - axis]
                first += [along.cos(), -along.sin()]
                second += [torch.cat([across.cos(), across.sin()], 1), torch.cat([-across.sin(), across.cos()], 1)]
    return torch.cat(first).to(dtype), torch.cat(second).to(dtype) if second else torch.empty(0, 0, dtype=dtype)


@constant_table
def taps(fold: Fold, kernel: Pair, dilation: Pair, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """cos, -cos - sin and sin - cos of <f, d u> for the frequencies f of all pieces and kernel entries u.

    Each of shape `(frequencies, kh * kw)`: what a complex product in three real ones (Gauss) takes.
    """
    pairs = _of_all_pieces(fold)
    rows, cols = (_angles(pairs[:, i], fold.torus[i], range(0, kernel[i] * dilation[i], dilation[i])) for i in (0, 1))
    angle = (rows[:, :, None] + cols[:, None, :]).flatten(1)
    cos, sin = angle.cos(), angle.sin()
    return cos.to(dtype), (-cos - sin).to(dtype), (sin - cos).to(dtype)


@constant_table
def places(fold: Fold) -> tuple[Tensor, Tensor]:
    """For all pieces, where the half grid of `torch.fft.rfft2` keeps a frequency, and its weight in the inverse."""
    (rows, cols), pairs = fold.torus, _of_all_pieces(fold)
    row, col = pairs[:, 0] % rows, pairs[:, 1] % cols
    stored = col <= cols // 2  # or else its negative is
    row, col = torch.where(stored, row, -row % rows), torch.where(stored, col, cols - col)
    counts = [c for _, by_piece, counts in _frequencies(fold) for shifts in by_piece for _ in shifts for c in counts]
    return row * (cols // 2 + 1) + col, torch.tensor(counts).double() / (rows * cols)


@lru_cache(64)
def _frequencies(fold: Fold) -> list[tuple[list[Pair], list[list[Pair]], list[int]]]:
    """For each block its frequencies, the shifts to their aliases by piece, how many frequencies each stands for."""

    def ordered(first: int, second: int) -> Pair:
        return (first, second) if fold.rows_first else (second, first)

    first, second = ordered(*fold.size)
    columns = []
    for p in range(first // 2 + 1):
        own_negative = 2 * p % first == 0
        others = range(second // 2 + 1 if own_negative else second)
        counts = [1 if own_negative and 2 * q % second == 0 else 2 for q in others]
        columns.append(([ordered(p, q) for q in others], counts))
    steps = ordered(*fold.step)
    by_piece = [[ordered(a * first, b * second) for b in range(steps[1])] for a in range(steps[0])]
    if not fold.dense:
        return [(frequencies, by_piece, counts) for frequencies, counts in columns]
    frequencies, counts = ([f for column in columns for f in column[part]] for part in (0, 1))
    piece = [[shift for shifts in by_piece for shift in shifts]]
    step = max(1, _DENSE_BLOCK // len(piece[0]))
    cuts = [slice(i, i + step) for i in range(0, len(frequencies), step)]
    return [(frequencies[cut], piece, counts[cut]) for cut in cuts]


def _shifted(frequencies: list[Pair], shifts: list[Pair]) -> Tensor:
    return torch.tensor([(f[0] + s[0], f[1] + s[1]) for s in shifts for f in frequencies])


def _of_all_pieces(fold: Fold) -> Tensor:
    return torch.cat([_shifted(of, shifts) for of, by_piece, _ in _frequencies(fold) for shifts in by_piece])


def _angles(frequency: Tensor, size: int, positions: range) -> Tensor:
    """2 pi f x / size, reduced in whole numbers."""
    return (frequency[:, None] * torch.tensor(positions) % size).double() * (2 * math.pi / size)
