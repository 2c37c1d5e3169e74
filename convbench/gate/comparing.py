"""From arguments to the report: load, check that sides may be compared, judge."""

from collections.abc import Sequence
from dataclasses import replace

from convbench.gate.arms import Arm
from convbench.gate.comparability import check_comparable
from convbench.gate.filter import choose, parse_filter
from convbench.gate.judging import judge
from convbench.gate.limits import policy_of, require_used
from convbench.gate.loading import load_arm, load_baseline, with_own_labels
from convbench.gate.report import Report
from convbench.gate.rules import Rules


def compare_with_baseline(baseline: str, candidates: Sequence[str], rules: Rules | None = None) -> Report:
    """Judge `candidates` against `baseline`.

    Args:
        baseline, candidates: arguments of `load_arm`; at least one candidate.
        rules: margins, levels and what fails the gate; None are the defaults.

    Raises:
        ConfigError: a limit or a filter that matches nothing.
        NotComparableError: there is no baseline, a run is incomplete, or sides were measured differently.
        ResultsError: a file that cannot be read.
    """
    return compare_arms(load_baseline(baseline), [load_arm(argument) for argument in candidates], rules)


def compare_arms(baseline: Arm, candidates: Sequence[Arm], rules: Rules | None = None) -> Report:
    """Judge arms that are loaded; errors as of `compare_with_baseline`."""
    rules = rules or Rules()
    expression = parse_filter(rules.filter or "")
    arms = with_own_labels([baseline, *candidates])
    checked = [check_comparable(arms[0], candidate) for candidate in arms[1:]]
    arms = choose(arms, expression)
    report = judge(arms[0], arms[1:], policy_of(rules, arms), fingerprint=checked[0].fingerprint)
    judgements = tuple(
        replace(judgement, notes=(*judgement.notes, *found.notes))
        for judgement, found in zip(report.judgements, checked, strict=True)
    )
    require_used(rules, report)
    return replace(report, judgements=judgements)
