"""The gate table of a report for a paper or a thesis (booktabs); verdicts that fail the gate are bold."""

import math

from convbench.comparison.latex import escape, number, one_line, table
from convbench.gate.outputs.sentences import called, counts, detectable, gate, headline, measured, rules, setting
from convbench.gate.outputs.typography import typeset
from convbench.gate.outputs.wording import UNITS, amount, change, interval, value
from convbench.gate.report import Check, Judgement, Kind, Report, Scale

_HEADINGS = ("number", "baseline", "candidate", "change", "95 % interval", "margin", "verdict")
_NONE = "--"


def text(report: Report) -> str:
    r"""The gated numbers of every candidate as a `table` environment, its caption with verdict and conditions.

    Units stand with the numbers. Notes, and how many conditions have which verdict, are comments below the table. The
    document needs the packages booktabs and graphicx.
    """
    blocks = [[_row(report, check) for check in gate(judgement)] for judgement in report.judgements]
    several = len(report.judgements) > 1
    titles = [escape(judgement.candidate.label) for judgement in report.judgements] if several else ()
    lines = [f"{headline(report)}.", *(_compared(report, judgement) for judgement in report.judgements)]
    lines += [f"Measured on {measured(report.fingerprint)}."] if report.fingerprint else []
    lines += [f"Judged by: {rules(report)}", "Bold: fails the gate."]
    about = escape(typeset(" ".join(lines)))
    headings = [escape(heading) for heading in _HEADINGS]
    made = table(about, "tab:convbench-gate", headings, blocks, 1, titles)
    return made + "".join(f"% {one_line(line)}\n" for judgement in report.judgements for line in _comments(judgement))


def _row(report: Report, check: Check) -> list[str]:
    verdict = check.verdict.value + ("" if check.gated else " (not gated)")
    share = r" \%" if check.scale is Scale.POINTS else ""
    sides = (check.baseline, check.candidate)
    return [
        escape(called(check)),
        *(_NONE if side is None else number(value(check, side)) + share for side in sides),
        _NONE if check.change is None else number(change(check)) + _unit(check),
        number(interval(check)) if interval(check) else _NONE,
        _NONE if check.margin is None else escape(amount(check, check.margin)),
        rf"\textbf{{{verdict}}}" if report.fails(check) else verdict,
    ]


def _unit(check: Check) -> str:
    finite = check.change is not None and math.isfinite(check.change)
    return f" {escape(UNITS[check.scale])}".rstrip() if finite else ""


def _compared(report: Report, judgement: Judgement) -> str:
    return f"{judgement.candidate.label} against {report.baseline.label}: {setting(report, judgement)}."


def _comments(judgement: Judgement) -> list[str]:
    """What of the report is not in the table."""
    lines = [f"{judgement.candidate.label}: {note}" for note in judgement.notes]
    for kind, one, many in ((Kind.CONDITION, "condition", "conditions"), (Kind.LAYER, "layer", "layers")):
        checks = judgement.of_kind(kind)
        lines += [f"{judgement.candidate.label}: {counts(checks, one, many)}"] if checks else []
    return lines + list(filter(None, [detectable(judgement)]))
