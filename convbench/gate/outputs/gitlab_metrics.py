"""A report as OpenMetrics text, for `artifacts:reports:metrics` of GitLab and for anything that reads Prometheus.

https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

import math
from collections.abc import Iterable

from convbench.gate.outputs.wording import one_line
from convbench.gate.report import Check, Judgement, Kind, Report, Verdict


def text(report: Report) -> str:
    """Gauges: the numbers of the candidates as they are (shares in [0, 1]), how many of each verdict, and the gate's.

    GitLab compares a metric with the one of the same name and labels on the target branch. The label of the candidate
    is therefore there only where several are compared: it may differ from branch to branch.
    """
    several = len(report.judgements) > 1
    numbers: dict[str, str] = {}
    verdicts: dict[str, str] = {}
    for judgement in report.judgements:
        arm = {"arm": one_line(judgement.candidate.label)} if several else {}
        for check in judgement.checks:
            # A floor is about a number that stands there already.
            if check.candidate is not None and check.kind is not Kind.FLOOR:
                numbers.setdefault(_labels(arm | _where(check)), _number(check.candidate))
        for verdict, count in _counts(judgement).items():
            verdicts.setdefault(_labels(arm | {"verdict": verdict.value}), str(count))
    return "\n".join([
        *_family("convbench_value", "a number of the candidate, shares in [0, 1]", numbers.items()),
        *_family("convbench_verdicts", "numbers with this verdict", verdicts.items()),
        *_family("convbench_gate_passed", "1: the gate is passed", [("", str(int(report.passed)))]),
        "# EOF\n",
    ])  # fmt: skip


def _family(name: str, words: str, samples: Iterable[tuple[str, str]]) -> list[str]:
    return [f"# TYPE {name} gauge", f"# HELP {name} {words}", *(f"{name}{labels} {value}" for labels, value in samples)]


def _counts(judgement: Judgement) -> dict[Verdict, int]:
    found = judgement.counts()
    return {verdict: found[verdict] for verdict in Verdict}


def _where(check: Check) -> dict[str, str]:
    labels = {"metric": one_line(check.metric)}
    if check.layer:
        return labels | {"layer": one_line(check.layer)}
    if check.kind is not Kind.NETWORK:
        labels |= {"corruption": one_line(check.corruption), "severity": one_line(check.severity)}
    return labels


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    escaped = {name: words.replace("\\", "\\\\").replace('"', '\\"') for name, words in labels.items()}
    return "{" + ",".join(f'{name}="{words}"' for name, words in escaped.items()) + "}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return repr(float(value)) if math.isfinite(value) else "+Inf" if value > 0 else "-Inf"
