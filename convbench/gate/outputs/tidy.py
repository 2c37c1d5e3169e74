"""A report as a tidy table: one row per candidate and number, for pandas, R or a spreadsheet."""

import csv
import io

from convbench.gate.outputs.wording import one_line
from convbench.gate.report import Check, Report

_FIELDS = (
    "kind",
    "metric",
    "corruption",
    "severity",
    "layer",
    "n",
    "baseline",
    "candidate",
    "scale",
    "change",
    "low",
    "high",
    "p",
    "p_adjusted",
    "lost",
    "gained",
    "margin",
    "detectable",
    "higher_is_better",
    "gated",
    "verdict",
    "method",
    "reason",
)
COLUMNS = ("against", "arm", *_FIELDS)


def text(report: Report) -> str:
    """CSV with a header and one row per candidate × check, in their order.

    `against` and `arm` are the labels of baseline and candidate, the other columns the fields of a `Check` under their
    names, with numbers as they are (shares in [0, 1], changes on `scale`): floats in full precision, nan and inf as
    Python writes them, empty where there is none, true and false in lower case.
    """
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(COLUMNS)
    baseline = one_line(report.baseline.label)
    for judgement in report.judgements:
        arm = one_line(judgement.candidate.label)
        writer.writerows((baseline, arm, *map(_cell, _values(check))) for check in judgement.checks)
    return sink.getvalue()


def _values(check: Check) -> tuple[object, ...]:
    return tuple(getattr(check, field) for field in _FIELDS)


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(float(value))  # of NumPy's float too
    return one_line(value) if isinstance(value, str) else value
