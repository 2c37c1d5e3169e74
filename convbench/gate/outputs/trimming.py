"""A text that keeps a limit of bytes: rows of tables are left out, the least important first, and counted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Lines of which the last may be left out.

    Args:
        lines: the most important first.
        head: the lines before them, which go when none of them is left.
        what: "conditions": of what "12 of 95 conditions" are left out.
        rank: rows of a higher rank are left out before any of a lower one.
    """

    lines: Sequence[str]
    what: str
    rank: int
    head: Sequence[str] = ()


def fitted(document: Sequence[str | Rows], limit: int) -> str | None:
    """The document in at most `limit` bytes of UTF-8; None where even without any row it is longer.

    Rows of one rank share what is left of the space: of each as many are shown, where it has so many.
    """
    caps: dict[int, int] = {}
    sizes = [_size([part]) if isinstance(part, str) else _Sizes(part) for part in document]
    text = sum(size for size in sizes if isinstance(size, int))
    rows = [size for size in sizes if isinstance(size, _Sizes)]

    def total(rank: int, cap: int) -> int:
        return text + sum(size.of(cap if size.rank == rank else caps.get(size.rank)) for size in rows)

    for rank in sorted({size.rank for size in rows}, reverse=True):
        longest = max(size.count for size in rows if size.rank == rank)
        if total(rank, longest) > limit:
            caps[rank] = _largest(longest - 1, lambda cap, rank=rank: total(rank, cap) <= limit)
    shown = (
        line
        for part in document
        for line in ([part] if isinstance(part, str) else _capped(part, caps.get(part.rank)))
    )  # fmt: skip
    content = "".join(f"{line}\n" for line in shown)
    return content if len(content.encode()) <= limit else None


class _Sizes:
    """The bytes of `Rows` for every number of shown lines."""

    def __init__(self, rows: Rows) -> None:
        self.rank, self.count = rows.rank, len(rows.lines)
        self._head = _size(rows.head)
        self._ends = [0, *accumulate(_size([line]) for line in rows.lines)]
        self._left_out = _size(_left_out(self.count, rows))  # of all of them: never shorter than of fewer

    def of(self, cap: int | None) -> int:
        shown = self.count if cap is None else min(cap, self.count)
        return self._ends[shown] + self._head * bool(shown) + self._left_out * (shown < self.count)


def _capped(rows: Rows, cap: int | None) -> Iterable[str]:
    shown = rows.lines if cap is None else rows.lines[:cap]
    yield from rows.head if shown else ()
    yield from shown
    if len(shown) < len(rows.lines):
        yield from _left_out(len(rows.lines) - len(shown), rows)


def _left_out(count: int, rows: Rows) -> tuple[str, ...]:
    return "", f"... left out to keep a limit of size: {count:,} of {len(rows.lines):,} {rows.what}."


def _largest(most: int, fits) -> int:
    """The largest number from 0 to `most` that fits (0 where none does), where all smaller ones fit too."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if fits(middle) else (least, middle - 1)
    return least


def _size(lines: Iterable[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
