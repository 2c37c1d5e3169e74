"""A comparison as Markdown that reads well in a pull request: summary, conditions, details folded away."""

from collections.abc import Sequence

from convbench.comparison import caption
from convbench.comparison.columns import (
    Column,
    accuracy_columns,
    aggregate_columns,
    best,
    detail_columns,
    detail_title,
    network_columns,
    points,
    term_tables,
)
from convbench.comparison.comparison import Comparison, Group
from convbench.comparison.leaderboard import Leaderboard, leaderboard
from convbench.comparison.quantities import CLEAN, CORRUPTED, Quantity, corruption_mean, severity_mean

_DIFFERENCES = (CLEAN, CORRUPTED)  # the columns followed by one with their difference from the baseline


def markdown_text(comparison: Comparison) -> str:
    """The whole comparison as GitHub-flavoured Markdown; the best value of a column is bold."""
    groups = comparison.groups
    single = len(comparison.runs) == 1
    title = f"of {groups[0].runs[0].run_id}" if single else f"by {comparison.by.replace('_', ' ')}"
    lines = [f"### convbench: robustness {_escape(title)}", ""]
    ranking = leaderboard(comparison)
    if ranking:
        lines += [*_leaderboard(comparison, ranking), ""]
    lines += _summary(comparison)
    if comparison.aggregates:
        lines += ["", *_by_group(comparison, "over conditions, %", aggregate_columns(comparison))]
    lines += ["", *(f"> **Note:** {_escape(note)}  " for note in comparison.notes)]
    lines += [""] if comparison.notes else []
    lines += [f"{_escape(caption.conditions(comparison))}", ""]
    if len(groups) > 1:
        lines += [
            f"Baseline: `{comparison.baseline}`; Δ in percentage points. Bold: best of its column, "
            "no statement about significance.",
            "",
        ]
    lines += ["<details><summary>What the columns mean</summary>", ""]
    explained = [*(ranking.explanations if ranking else ()), *caption.definitions(comparison)]
    lines += [f"- {_escape(line)}" for line in explained]
    lines += ["", "</details>"]
    if comparison.conditions:
        title = detail_title(comparison).capitalize()
        lines += _folded(title, _by_severity(comparison) if single else _details(comparison))
    for title, columns in term_tables(comparison).items():
        lines += _folded(_escape(title), _by_group(comparison, "corruption", columns))
    return "\n".join(lines) + "\n"


def _leaderboard(comparison: Comparison, ranking: Leaderboard) -> list[str]:
    name, rank, *numbers = ranking.headings
    rows = [[row[1], f"`{row[0]}`", *settings, *row[2:]] for settings, rows in ranking.blocks.items() for row in rows]
    headings = [rank, name, *comparison.settings, *numbers]
    title = ranking.title[0].upper() + ranking.title[1:]
    table = _table(headings, rows, texts=2 + len(comparison.settings))
    return [f"**{_escape(title)}**", "", *table, *(["", _escape(ranking.caveat)] if ranking.caveat else [])]


def _summary(comparison: Comparison) -> list[str]:
    columns = [*accuracy_columns(comparison), *network_columns(comparison)]
    several = len(comparison.groups) > 1
    headings = [comparison.by, *comparison.settings, "runs"]
    for column in columns:
        headings.append(column.heading + (" %" if column.percent else ""))
        if several and column.quantity in _DIFFERENCES:
            headings.append("Δ")
    rows = []
    for block in comparison.blocks().values():
        cells = [_cells(block, column) for column in columns]
        for place, group in enumerate(block):
            row = [f"`{group.name}`", *group.settings, str(len(group.runs))]
            for column, of_column in zip(columns, cells, strict=True):
                row.append(of_column[place])
                if several and column.quantity in _DIFFERENCES:
                    row.append(points(comparison.difference(group, column.quantity)))
            rows.append(row)
    return _table(headings, rows, texts=1 + len(comparison.settings))


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def _details(comparison: Comparison) -> list[str]:
    heading = "corruption" if len(comparison.corruptions) > 1 else " "
    return _by_group(comparison, heading, detail_columns(comparison))


def _by_group(comparison: Comparison, heading: str, columns: Sequence[Column]) -> list[str]:
    rows = []
    for column in columns:
        row = [column.heading]
        for block in comparison.blocks().values():
            for group, cell in zip(block, _cells(block, column), strict=True):
                difference = points(comparison.difference(group, column.quantity))
                row.append(f"{cell} ({difference})" if difference else cell)
        rows.append(row)
    return _table([heading, *(f"`{comparison.label(group)}`" for group in comparison.groups)], rows)


def _by_severity(comparison: Comparison) -> list[str]:
    (group,) = comparison.groups
    severities = comparison.severities
    rows = [
        [name, *(Quantity("accuracy", name, severity) for severity in severities), corruption_mean(name)]
        for name in comparison.corruptions
    ]
    if len(rows) > 1:
        rows.append(["all", *map(severity_mean, severities), CORRUPTED])
    texts = [[Column("", cell).text(group) if isinstance(cell, Quantity) else cell for cell in row] for row in rows]
    return _table(["corruption", *(f"severity {severity}" for severity in severities), "mean"], texts)


def _cells(groups: Sequence[Group], column: Column) -> list[str]:
    marked = best(groups, column)
    texts = [column.text(group) for group in groups]
    return [f"**{text}**" if place in marked else text for place, text in enumerate(texts)]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> list[str]:
    """A Markdown table; the first `texts` columns left-aligned, the numbers right-aligned."""
    rule = [":--" if place < texts else "--:" for place in range(len(headings))]
    return [f"| {' | '.join(map(_escape, cells))} |" for cells in (headings, rule, *rows)]


def _escape(text: str) -> str:
    # A name may hold what Markdown or a table cell gives a meaning.
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
