"""A report as Markdown that reads well in a pull request and fits into one comment."""

import re
from collections.abc import Sequence

from convbench.gate.outputs import sentences
from convbench.gate.outputs.trimming import Rows, fitted
from convbench.gate.outputs.wording import (
    NOTHING,
    UNITS,
    change,
    interval,
    margin,
    one_line,
    p_value,
    shared_unit,
    value,
)
from convbench.gate.report import Check, Judgement, Kind, Report, Verdict

LIMIT = 65_000  # bytes; a comment on GitHub may have 65,536 characters
_LABEL = 60
_NOTES = 8
_FACTS = 40
_FALLEN = 5  # conditions in the line of the worst ones
_GATE, _LAYERS, _CONDITIONS = range(3)  # what is left out last, and first

_SYNTAX = re.compile(r"([\\`*_\[\]<>|~&$])")
_MENTION = re.compile(r"(?<!\w)@(?=\w)")


def text(report: Report, *, limit: int = LIMIT) -> str:
    """The verdict as heading, for each candidate its gate table and, folded, conditions and layers; the rules, folded.

    At most `limit` bytes of UTF-8: conditions are left out first, then layers, then rows of gate tables, then the best
    candidates; a line says how many. "" where `limit` is too small for the verdict.
    """
    blocks = [_candidate(one, several=len(report.each) > 1) for one in sorted(report.each, key=_verdict_rank)]
    heading = [f"### convbench: {escape(sentences.headline(report))}", "", f"**{sentences.outcome(report)}**"]
    ending = _background(report)
    # Most reports fit with all of their candidates; halving finds the number that does in a few steps.
    count = len(blocks)
    while True:
        left_out = (
            []
            if count == len(blocks)
            else ["", f"... left out: {len(blocks) - count:,} of {len(blocks):,} candidates."]
        )
        parts = [part for block in blocks[:count] for part in block]
        content = fitted([*heading, *parts, *left_out, *ending * bool(count)], limit)
        if content is not None or not count:
            return content or ""
        count //= 2


def escape(words: str) -> str:
    """`words` as Markdown shows them: no syntax, no mention of a user."""
    return _MENTION.sub("@<!-- -->", _SYNTAX.sub(r"\\\1", words))


def code(words: str) -> str:
    """`words` as a code span."""
    if not words.strip():
        return escape(words)
    fence = "`" * (max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    padding = " " if words[0] in "` " or words[-1] in "` " else ""
    return f"{fence}{padding}{words}{padding}{fence}"


def _verdict_rank(report: Report) -> int:
    return report.verdict.rank


def _candidate(report: Report, *, several: bool) -> list[str | Rows]:
    (judgement,) = report.judgements
    baseline, candidate = (code(one_line(side.label, _LABEL)) for side in (report.baseline, judgement.candidate))
    title = [f"#### {candidate}: {report.verdict.value}", ""] if several else []
    parts: list[str | Rows] = [
        "", *title, f"{baseline} → {candidate}; {sentences.setting(report, judgement)}", *_gate(report, judgement)
    ]  # fmt: skip
    conditions, layers = judgement.of_kind(Kind.CONDITION), judgement.of_kind(Kind.LAYER)
    worst = [
        f"{code(one_line(_place(check)))} {_moved(check)}"
        for check in judgement.worst_first(Kind.CONDITION)[:_FALLEN]
        if check.verdict.rank < Verdict.NEW.rank
    ]
    parts += ["", f"Worst conditions: {', '.join(worst)}."] if worst else []
    parts += [""] * any((conditions, layers))
    parts += [f"{sentences.counts(conditions, 'condition', 'conditions')}.  "] if conditions else []
    parts += [f"{sentences.counts(layers, 'number of a layer', 'numbers of layers')}.  "] if layers else []
    seen = sentences.detectable(judgement)
    parts += ["", escape(seen)] if seen else []
    for note in judgement.notes[:_NOTES]:
        parts += ["", f"> **Note:** {escape(one_line(note))}"]
    if len(judgement.notes) > _NOTES:
        parts += ["", f"> ... and {len(judgement.notes) - _NOTES:,} more notes."]
    if conditions:
        parts += _folded("All conditions, the worst first", _table(report, judgement, Kind.CONDITION, "conditions"))
    if layers:
        parts += _folded("Layers, the worst first", _table(report, judgement, Kind.LAYER, "numbers of layers"))
    return parts


def _gate(report: Report, judgement: Judgement) -> list[str | Rows]:
    checks = sentences.gate(judgement)
    if not checks:
        return []
    headings = ["gate", "baseline", "candidate", "change", f"{sentences.level(report)} interval", "margin", "verdict"]
    rows = [
        _row([
            escape(sentences.called(check)),
            value(check, check.baseline),
            value(check, check.candidate),
            _unbroken(_with_unit(check, change(check))),
            _unbroken(interval(check) or NOTHING),
            _unbroken(margin(check)),
            _verdict(report, check),
        ])
        for check in checks
    ]  # fmt: skip
    return ["", Rows(head=_head(headings), lines=rows, what="numbers", rank=_GATE)]


def _table(report: Report, judgement: Judgement, kind: Kind, what: str) -> Rows:
    checks = judgement.worst_first(kind)
    unit = shared_unit(checks)
    tested = any(check.p is not None or check.p_adjusted is not None for check in checks)
    paired = any(check.lost is not None for check in checks)
    changed = f"change, {unit}" if unit else "change"
    headings = [
        kind.value, "baseline", "candidate", changed, f"{sentences.level(report)} interval",
        *[sentences.p_heading(report)] * tested, *["lost", "gained"] * paired, "verdict",
    ]  # fmt: skip
    rows = [
        _row([
            code(one_line(_place(check))).replace("|", "\\|"),  # a bar ends a cell even within a code span
            value(check, check.baseline), value(check, check.candidate),
            _unbroken(change(check) if unit is not None else _with_unit(check, change(check))),
            _unbroken(interval(check) or NOTHING),
            *[p_value(check)] * tested, *[_count(check.lost), _count(check.gained)] * paired, _verdict(report, check),
        ])
        for check in checks
    ]  # fmt: skip
    return Rows(head=_head(headings), lines=rows, what=what, rank=_CONDITIONS if kind is Kind.CONDITION else _LAYERS)


def _background(report: Report) -> list[str | Rows]:
    """Rules, conditions of measurement and what each side is, folded."""
    lines = [f"- Rules: {escape(sentences.rules(report))}"]
    facts = [f"{one_line(key, _LABEL)}: {sentences.fact(fact)}" for key, fact in report.fingerprint.items()]
    lines += [f"- {escape(fact)}" for fact in facts[:_FACTS]]
    lines += [f"- ... {len(facts) - _FACTS:,} more"] if len(facts) > _FACTS else []
    lines += [
        "- lost, gained: images that only the baseline, only the candidate classified rightly; "
        "change and interval: candidate minus baseline, of bounds and norms their ratio minus 1"
    ]
    return _folded("Rules and conditions of measurement", *lines)


def _folded(title: str, *content: str | Rows) -> list[str | Rows]:
    return ["", f"<details><summary>{title}</summary>", "", *content, "", "</details>"]


def _place(check: Check) -> str:
    return check.place if check.metric == "accuracy" else f"{check.metric} {check.place}"


def _moved(check: Check) -> str:
    p = f" (p = {p_value(check)})" if check.p is not None else ""
    return (_with_unit(check, f"{change(check)} {interval(check)}".rstrip()) + p) if check.change is not None else (
        check.verdict.value
    )  # fmt: skip


def _with_unit(check: Check, words: str) -> str:
    return words if words in (NOTHING, "NaN") else f"{words} {UNITS[check.scale]}".rstrip()


def _unbroken(words: str) -> str:
    """A cell that stays in one line."""
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def _verdict(report: Report, check: Check) -> str:
    words = f"**{check.verdict.value}**" if report.fails(check) else check.verdict.value
    if not check.gated and check.kind not in (Kind.CONDITION, Kind.LAYER):
        words += ", not gated"
    return f"{words}: {escape(one_line(check.reason))}" if check.reason else words


def _count(images: int | None) -> str:
    return NOTHING if images is None else f"{images:,}"


def _head(headings: Sequence[str]) -> list[str]:
    rule = [":--" if place in (0, len(headings) - 1) else "--:" for place in range(len(headings))]
    return [_row(headings), _row(rule)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
