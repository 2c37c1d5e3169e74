"""A report for the terminal: the verdict first, tables of at most 80 columns, styled where a terminal reads them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from convbench.gate.outputs import sentences
from convbench.gate.outputs.wording import (
    NOTHING,
    change,
    evidence,
    interval,
    margin,
    movement,
    one_line,
    p_value,
    shared_unit,
)
from convbench.gate.report import Check, Judgement, Kind, Report, Verdict

if TYPE_CHECKING:  # rich costs a fifth of a second: only rendering pays for it
    from rich.box import Box
    from rich.console import Console

WIDTH = 80
_CONDITIONS = 12  # of one candidate
_FEWER = 4  # of each of several
_LEAST = 3  # conditions to show even where all held
_LAYERS = 5
_GATE = 30
_NAME = 60
_NARROWEST = 9  # columns for a name that folds
_GAP = 2  # between columns
_REASONS = 6
_STYLES = {
    Verdict.BROKEN: "bold red",
    Verdict.REGRESSED: "bold red",
    Verdict.MISSING: "bold red",
    Verdict.SUSPECT: "yellow",
    Verdict.UNDERPOWERED: "yellow",
    Verdict.NEW: "cyan",
    Verdict.HELD: "dim",
    Verdict.IMPROVED: "green",
}


def text(report: Report, *, width: int = WIDTH, styled: bool = False, encoding: str = "ascii") -> str:
    """The verdict, and for each candidate its gate table, its worst conditions, counts and notes.

    Args:
        width: of the terminal in columns; above 80 counts as 80.
        styled: with terminal codes (colours, bold), for a terminal only.
        encoding: of the terminal. What it cannot show in names is written with backslashes; our own words are ASCII.
    """
    from rich.console import Console

    sink = io.StringIO()
    console = Console(
        file=sink, width=min(width, WIDTH), force_terminal=styled, highlight=False, markup=False, emoji=False
    )
    page = _Page(console, styled, encoding)
    page.line(f"{sentences.headline(report)}. {sentences.outcome(report)}", _STYLES[report.verdict])
    for one in report.each:
        page.line()
        _candidate(page, one, several=len(report.each) > 1)
    page.line()
    for name, facts in (("Measured", sentences.measured(report.fingerprint)), ("Rules", sentences.rules(report))):
        if facts:
            page.line(f"{name}: {facts}", "dim")
    return "\n".join(line.rstrip() for line in sink.getvalue().split("\n"))


class _Page:
    """What is printed on: lines and tables in which every character can be shown."""

    def __init__(self, console: Console, styled: bool, encoding: str) -> None:
        self._console = console
        self._encoding = encoding
        self._lines = styled and self.shown("─") == "─"

    def shown(self, words: str) -> str:
        return words.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def line(self, words: str = "", style: str = "") -> None:
        # Text, not a string: square brackets in a name are no markup. Long words fold, so that no line is wider.
        from rich.text import Text

        self._console.print(Text(self.shown(words), style=style, overflow="fold"))

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]) -> None:
        """A table whose first and last columns are text; the first folds alone as long as the others leave it room."""
        from rich.cells import cell_len
        from rich.table import Table
        from rich.text import Text

        headings, *rows = ([self.shown(cell) for cell in row] for row in (headings, *rows))
        table = Table(
            box=_box(self._lines), show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True,
            header_style="bold",
        )  # fmt: skip
        first, *others = [max(cell_len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
        room = self._console.width - sum(others) - _GAP * len(others)
        fits = room >= min(first, _NARROWEST)
        for place, (heading, width) in enumerate(zip(headings, [min(first, room), *others], strict=True)):
            text = place in (0, len(others))
            justify = "left" if text else "right"
            table.add_column(Text(heading), justify=justify, overflow="fold", width=width if fits else None)
        for cells, style in zip(rows, styles, strict=True):
            *texts, last = map(Text, cells)
            last.stylize(style)
            table.add_row(*texts, last)
        self._console.print(table)


def _box(lines: bool) -> Box:
    from rich import box

    rule = " ── \n" if lines else " -- \n"
    return box.Box("    \n    \n" + rule + "    \n" * 5, ascii=not lines)


def _candidate(page: _Page, report: Report, *, several: bool) -> None:
    (judgement,) = report.judgements
    baseline, candidate = (one_line(side.label, _NAME) for side in (report.baseline, judgement.candidate))
    who = f"{candidate}: {report.verdict.value} against {baseline}" if several else f"{baseline} -> {candidate}"
    page.line(f"{who}; {sentences.setting(report, judgement)}", "bold")
    _gate(page, report, judgement)
    conditions, layers = judgement.of_kind(Kind.CONDITION), judgement.of_kind(Kind.LAYER)
    if conditions:
        least, most = (0, _FEWER) if several else (_LEAST, _CONDITIONS)
        page.line()
        page.line(sentences.counts(conditions, "condition", "conditions"))
        _explanation(page, report, "worst conditions", _worth_showing(judgement, Kind.CONDITION, least, most))
    if layers:
        page.line()
        page.line(sentences.counts(layers, "number of a layer", "numbers of layers"))
        _explanation(page, report, "worst layers", _worth_showing(judgement, Kind.LAYER, 0, _LAYERS))
    page.line()
    seen = sentences.detectable(judgement)
    if seen:
        page.line(seen)
    for note in judgement.notes:
        page.line(f"note: {one_line(note)}", "yellow")


def _worth_showing(judgement: Judgement, kind: Kind, least: int, most: int) -> tuple[Check, ...]:
    """The worst checks of `kind`: those that did not hold, at most `most`, or else the `least` worst of all."""
    worst = judgement.worst_first(kind)
    fallen = sum(check.verdict.rank < Verdict.NEW.rank for check in worst)
    return worst[: max(least, min(fallen, most))]


def _gate(page: _Page, report: Report, judgement: Judgement) -> None:
    checks = sentences.gate(judgement)
    shown = checks[:_GATE]
    if shown:
        page.table(
            ["gate", "base -> cand", f"change, {sentences.level(report)}", "margin", "verdict"],
            [
                [sentences.called(c), movement(c), evidence(c).removesuffix(" pp"), margin(c), _verdict(c)]
                for c in shown
            ],
            [_STYLES[check.verdict] for check in shown],
        )
    if len(checks) > len(shown):
        page.line(f"... left out here: {len(checks) - len(shown):,} of {len(checks):,}, none of them worse")
    if any(not check.gated and check.verdict is not Verdict.HELD for check in shown):
        page.line("( ): not gated")
    _reasons(page, shown)


def _explanation(page: _Page, report: Report, title: str, checks: Sequence[Check]) -> None:
    """The numbers of single conditions or layers: the unit stands in the heading where all share it."""
    if not checks:
        return
    unit = shared_unit(checks)
    tested = any(check.p is not None or check.p_adjusted is not None for check in checks)
    metrics = {check.metric for check in checks}
    rows = []
    for check in checks:
        name = one_line(check.place if len(metrics) == 1 else f"{check.metric} {check.place}", _NAME)
        moved = " ".join(filter(None, (change(check), interval(check)))) if unit is not None else evidence(check)
        rows.append([name, movement(check), moved, *[p_value(check)] * tested, _verdict(check, gated=True)])
    heading = f"change{f' {unit}' if unit else ''}, {sentences.level(report)}"
    if len(metrics) == 1 and metrics != {"accuracy"}:
        title += f", {one_line(metrics.pop(), _NAME)}"
    headings = [title, "base -> cand", heading, *[sentences.p_heading(report)] * tested, "verdict"]
    page.table(headings, rows, [_STYLES[check.verdict] for check in checks])
    _reasons(page, checks)


def _reasons(page: _Page, checks: Sequence[Check]) -> None:
    worse = [check for check in checks if check.reason and check.verdict.rank < Verdict.HELD.rank]
    for check in worse[:_REASONS]:
        page.line(f"{check.verdict.value} {sentences.called(check)}: {one_line(check.reason)}")


def _verdict(check: Check, *, gated: bool = False) -> str:
    """`~` for HELD, as benchstat writes it; in brackets where it does not count, unless that is said elsewhere.

    What has neither gate nor margin was not judged: `~` would say that it did not change.
    """
    if check.verdict is Verdict.HELD:
        return "~" if check.gated or check.margin is not None else NOTHING
    return check.verdict.value if gated or check.gated else f"({check.verdict.value})"
