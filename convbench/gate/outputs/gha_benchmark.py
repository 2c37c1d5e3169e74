"""A report for the history pages of benchmark-action/github-action-benchmark.

That action takes numbers of one direction a file: `text` (tool `customBiggerIsBetter`) has those of which more is
better, and `gha_benchmark_smaller` (tool `customSmallerIsBetter`) the others.
"""

import json
import math
from typing import Any

from convbench.gate.outputs.wording import details, one_line
from convbench.gate.report import Check, Kind, Report, Scale


def text(report: Report) -> str:
    """JSON list of the aggregates and numbers of the network of which more is better: name, unit, value, extra.

    Shares are in percent. Numbers that are not finite are left out: a history page cannot draw them.
    """
    return listed(report, higher_is_better=True)


def listed(report: Report, *, higher_is_better: bool) -> str:
    """The JSON list of the numbers of one direction."""
    several = len(report.judgements) > 1
    entries: dict[str, dict[str, Any]] = {}
    for judgement in report.judgements:
        for check in judgement.of_kind(Kind.AGGREGATE, Kind.NETWORK):
            value = check.candidate
            if check.higher_is_better is not higher_is_better or value is None or not math.isfinite(value):
                continue
            name = one_line(check.name)
            name = f"{one_line(judgement.candidate.label)}: {name}" if several else name
            entries.setdefault(name, _entry(name, check, value))
    return json.dumps(list(entries.values()), indent=1, allow_nan=False) + "\n"


def _entry(name: str, check: Check, value: float) -> dict[str, Any]:
    share = check.scale is Scale.POINTS
    return {
        "name": name,
        "unit": "%" if share else "1",
        "value": round(100 * float(value), 10) if share else float(value),  # 91.71, not 91.71000000000001
        "extra": f"{check.verdict.value}: {details(check)}",
    }
