"""A comparison for the terminal: tables of at most 80 columns, styled only where a terminal reads them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from convbench.comparison import caption
from convbench.comparison.columns import (
    MISSING,
    Column,
    accuracy_columns,
    aggregate_columns,
    best,
    detail_columns,
    detail_title,
    mean_percent,
    network_columns,
    term_tables,
)
from convbench.comparison.comparison import Comparison, Group
from convbench.comparison.leaderboard import Leaderboard, leaderboard
from convbench.comparison.quantities import ALL, CORRUPTED, Quantity, corruption_mean, severity_mean

if TYPE_CHECKING:  # rich costs a fifth of a second: only rendering pays for it
    from rich.console import Console

WIDTH = 80
_GAP = 2
_FOLDED = 14  # where the names of groups fold when they do not fit as they are


def terminal_text(comparison: Comparison, *, width: int = WIDTH, styled: bool = False) -> str:
    """The tables, conditions and notes of `comparison` as text; `styled` adds terminal codes (bold, dim).

    The best value of a column is marked `*`, among the groups that differ only in what is compared.
    """
    from rich.console import Console

    text = io.StringIO()
    console = Console(
        file=text, width=min(width, WIDTH), force_terminal=styled, highlight=False, markup=False, emoji=False
    )
    single = len(comparison.runs) == 1
    if single:
        console.print(f"run {comparison.runs[0].run_id}", style="bold")
        console.print()
    ranking = leaderboard(comparison)
    if ranking:
        _leaderboard(console, comparison, ranking)
    _summary(console, comparison, "accuracy, %", accuracy_columns(comparison))
    network = network_columns(comparison)
    if network:
        _summary(console, comparison, "the network itself", network)
    if comparison.conditions and single:
        _by_severity(console, comparison)
    elif comparison.conditions:
        first_heading = "corruption" if len(comparison.corruptions) > 1 else ""
        _by_group(console, comparison, detail_title(comparison), first_heading, detail_columns(comparison))
    if comparison.aggregates:
        _by_group(console, comparison, "over conditions, %", "metric", aggregate_columns(comparison))
    for title, columns in term_tables(comparison).items():
        _by_group(console, comparison, title, "corruption", columns)
    for note in comparison.notes:
        console.print(f"note: {note}", style="yellow")
    if comparison.notes:
        console.print()
    definitions = [*(ranking.explanations if ranking else ()), *caption.definitions(comparison)]
    lines = [caption.conditions(comparison), "; ".join(definitions) + "."]
    if len(comparison.groups) > 1:
        lines.append(f"Baseline: {comparison.baseline}. *: best of its column; no statement about significance.")
    for line in lines:
        console.print(line, style="dim")
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _table(
    console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, longest: int = WIDTH
) -> None:
    """Print a table whose first column is text that may fold, the others numbers that may not.

    A heading of a number folds beyond `longest` characters, where its numbers are not longer.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0), collapse_padding=True,
        header_style="",
    )  # fmt: skip
    table.add_column(headings[0], overflow="fold", min_width=len(headings[0]))
    for place, heading in enumerate(headings[1:], start=1):
        width = max(len(row[place]) for row in rows)
        table.add_column(
            heading, justify="right", overflow="fold", min_width=width, max_width=_column_width(heading, width, longest)
        )
    for cells in rows:
        table.add_row(*(Text(cell, style="bold" if cell.endswith("*") else "") for cell in cells))
    console.print(title, style="bold")
    console.print(table)
    console.print()


def _column_width(heading: str, width: int, longest: int) -> int:
    return max(width, min(len(heading), longest))


def _leaderboard(console: Console, comparison: Comparison, ranking: Leaderboard) -> None:
    for settings, rows in ranking.blocks.items():
        where = comparison.describe(settings)
        _table(console, f"{ranking.title} ({where})" if where else ranking.title, ranking.headings, rows)
    if ranking.caveat:
        console.print(ranking.caveat, style="yellow")
        console.print()


def _summary(console: Console, comparison: Comparison, title: str, columns: list[Column]) -> None:
    several = any(len(group.runs) > 1 for group in comparison.groups)
    headings = [comparison.by, *(["runs"] if several else []), *(f"{column.heading} " for column in columns)]
    for settings, groups in comparison.blocks().items():
        where = comparison.describe(settings)
        rows = [
            [group.name, *([str(len(group.runs))] if several else []), *cells]
            for group, cells in zip(groups, _cells(groups, columns), strict=True)
        ]
        _table(console, f"{title} ({where})" if where else title, headings, rows)


def _cells(groups: Sequence[Group], columns: Sequence[Column]) -> list[list[str]]:
    """The cells of each group; a mark or a blank at the end keeps the digits under each other."""
    marked = [best(groups, column) for column in columns]
    return [
        [
            column.text(group) + ("*" if place in marked_places else " ")
            for column, marked_places in zip(columns, marked, strict=True)
        ]
        for place, group in enumerate(groups)
    ]


def _by_group(
    console: Console, comparison: Comparison, title: str, first_heading: str, columns: Sequence[Column]
) -> None:
    """Rows are numbers (`columns` of the other tables), columns groups, in as many tables as fit."""
    space = console.width - max(len(first_heading), *(len(column.heading) for column in columns))
    for settings, groups in comparison.blocks().items():
        where = comparison.describe(settings)
        title_of_block = title + (f" ({where})" if where else "")
        cells = _cells(groups, columns)
        numbers = [max(map(len, of_group)) for of_group in cells]
        headings = [f"{group.name} " for group in groups]
        for longest in (WIDTH, _FOLDED):
            widths = [_GAP + _column_width(h, width, longest) for h, width in zip(headings, numbers, strict=True)]
            pages = _pages(widths, space)
            if len(pages) == 1:
                break
        for first, last in pages:
            rows = [[c.heading, *(cells[g][row] for g in range(first, last))] for row, c in enumerate(columns)]
            _table(console, title_of_block, [first_heading, *headings[first:last]], rows, longest=longest)


def _pages(widths: Sequence[int], space: int) -> list[tuple[int, int]]:
    """Cut columns of `widths` into pages (first, one past the last) that fit `space`; at least one a page."""
    pages, first, used = [], 0, 0
    for place, width in enumerate(widths):
        if used + width > space and place > first:
            pages.append((first, place))
            first, used = place, 0
        used += width
    return [*pages, (first, len(widths))]


def _by_severity(console: Console, comparison: Comparison) -> None:
    """One run: rows are corruptions, columns severities."""
    (group,) = comparison.groups
    rows = []
    for name in comparison.corruptions:
        quantities = [Quantity("accuracy", name, severity) for severity in comparison.severities]
        rows.append([name, *_means(group, [*quantities, corruption_mean(name)])])
    if len(rows) > 1:
        overall = [severity_mean(severity) for severity in comparison.severities]
        rows.append([ALL, *_means(group, [*overall, CORRUPTED])])
    headings = [
        "corruption",
        *(f"severity {s}" if s == comparison.severities[0] else str(s) for s in comparison.severities),
    ]
    _table(console, "accuracy per severity, %", [*headings, "mean"], rows)


def _means(group: Group, quantities: Sequence[Quantity]) -> list[str]:
    # Without the interval of each cell: five intervals a line would hide the course over severities.
    estimates = [group.get(quantity) for quantity in quantities]
    return [mean_percent(estimate) if estimate else MISSING for estimate in estimates]
