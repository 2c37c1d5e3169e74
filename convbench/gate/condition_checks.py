"""Accuracies, clean and under each condition: how many images were lost and gained, and whether that is chance."""

import math
from collections.abc import Sequence

import numpy as np

from convbench.comparison.quantities import CLEAN, Quantity
from convbench.errors import NotComparableError
from convbench.gate.arm_numbers import ENOUGH_RUNS
from convbench.gate.margins import fits, pattern_of
from convbench.gate.pair import NOTHING_KNOWN, Finding, Pair, check_of
from convbench.gate.report import Check, Kind
from convbench.metrics.corruption_error import CLEAN as CLEAN_CONDITION
from convbench.metrics.corruption_error import Condition
from convbench.statistics.intervals import newcombe_paired, newcombe_unpaired, normal_quantile
from convbench.statistics.multiplicity import adjust
from convbench.statistics.paired import EXACT_BELOW, agreement, mcnemar
from convbench.statistics.power import detectable_normal, detectable_paired
from convbench.statistics.welch import welch_interval

_CORRECTIONS = {"holm": ", Holm", "bh": ", Benjamini-Hochberg"}


def accuracy_of(condition: Condition) -> Quantity:
    """The accuracy under `condition`, in the measured numbers of a run."""
    return Quantity("accuracy", *condition)


def clean_check(pair: Pair) -> Check | None:
    """The check of the clean accuracy, which is a family of its own."""
    (finding,) = _findings(pair, [CLEAN_CONDITION], "none")
    return check_of(pair, Kind.AGGREGATE, CLEAN, finding)


def condition_checks(pair: Pair, conditions: Sequence[Condition]) -> list[Check]:
    """The checks of the numbers under `conditions`, the p-values of the accuracies adjusted for all of them."""
    findings = _findings(pair, conditions, pair.policy.correction)
    checks = [check_of(pair, Kind.CONDITION, accuracy_of(c), f) for c, f in zip(conditions, findings, strict=True)]
    # Of other metrics (the calibration under a condition) only those that somebody set a margin for.
    asked = [found for key in pair.policy.margins if (found := pattern_of(key)) and found[0] != "accuracy"]
    for metric in dict.fromkeys(metric for metric, _ in asked):
        fitting = [c for c in conditions if any(fits(key, metric, c) for key in pair.policy.margins)]
        checks += [check_of(pair, Kind.CONDITION, Quantity(metric, *c)) for c in fitting]
    return [check for check in checks if check is not None]


def is_paired(pair: Pair, condition: Condition) -> bool:
    """Whether every run of both sides says which images it classified rightly under `condition`.

    Raises:
        NotComparableError: they are not as many images on both sides.
    """
    sizes = [
        len(evidence.correct[condition]) if condition in evidence.correct else None
        for arm in (pair.baseline, pair.candidate)
        for evidence in arm.evidence
    ]
    known = {size for size in sizes if size is not None}
    if len(known) > 1:
        raise NotComparableError(
            f"not comparable: {condition[0]} severity {condition[1]} was measured on {min(known):,} and on "
            f"{max(known):,} images."
        )
    return None not in sizes


def _findings(pair: Pair, conditions: Sequence[Condition], correction: str) -> list[Finding]:
    paired = [condition for condition in conditions if is_paired(pair, condition)]
    known = (_counted if pair.single else _resampled)(pair, paired, correction)
    return [known[condition] if condition in known else _unpaired(pair, condition) for condition in conditions]


def _counted(pair: Pair, conditions: Sequence[Condition], correction: str) -> dict[Condition, Finding]:
    """One run against one: McNemar's test and Newcombe's paired interval."""
    (baseline,), (candidate,) = pair.baseline.evidence, pair.candidate.evidence
    found: dict[Condition, Finding] = {}
    counts = [agreement(baseline.correct[c], candidate.correct[c]) for c in conditions]
    if not counts:
        return found
    both, lost, gained, neither = (np.array(column) for column in zip(*counts, strict=True))
    alpha = pair.policy.alpha
    low, high = newcombe_paired(both, lost, gained, neither, alpha)
    p = mcnemar(lost, gained)
    adjusted = adjust(p, correction)
    n = both + lost + gained + neither
    detectable = detectable_paired(lost + gained, n, alpha=alpha, tests=_tests(conditions, correction))
    for i, condition in enumerate(conditions):
        exact = lost[i] + gained[i] < EXACT_BELOW
        found[condition] = Finding(
            interval=(float(low[i]), float(high[i])),
            p=float(p[i]),
            p_adjusted=None if correction == "none" else float(adjusted[i]),
            lost=int(lost[i]),
            gained=int(gained[i]),
            detectable=float(detectable[i]),
            method=f"Newcombe's paired interval, McNemar {'exact' if exact else 'mid-p'}"
            + _CORRECTIONS.get(correction, ""),
        )
    return found


def _resampled(pair: Pair, conditions: Sequence[Condition], correction: str) -> dict[Condition, Finding]:
    """Several runs: the bootstrap's interval, and p by its standard error."""
    changes = {c: pair.changes[accuracy_of(c)] for c in conditions if accuracy_of(c) in pair.changes}
    means = {c: (pair.baseline.mean(accuracy_of(c)), pair.candidate.mean(accuracy_of(c))) for c in changes}
    known = {
        c: (base, candidate) for c, (base, candidate) in means.items() if base is not None and candidate is not None
    }
    p = np.array([changes[c].p(candidate - base) for c, (base, candidate) in known.items()])
    adjusted = adjust(p, correction)
    return {
        condition: Finding(
            interval=changes[condition].interval(pair.policy.alpha),
            p=float(p[i]),
            p_adjusted=None if correction == "none" else float(adjusted[i]),
            detectable=detectable_normal(
                changes[condition].standard_error, alpha=pair.policy.alpha, tests=_tests(conditions, correction)
            ),
            method=how_resampled(pair) + _CORRECTIONS.get(correction, ""),
        )
        for i, condition in enumerate(known)
    }


def _tests(conditions: Sequence[Condition], correction: str) -> int:
    return 1 if correction == "none" else len(conditions)


def how_resampled(pair: Pair) -> str:
    """The bootstrap in words."""
    over = "runs and images" if min(pair.runs) >= ENOUGH_RUNS else "images"
    return f"bootstrap over {over}, {pair.policy.resamples} resamples"


def _unpaired(pair: Pair, condition: Condition) -> Finding:
    interval = unpaired_interval(pair, condition)
    if interval is None:
        return NOTHING_KNOWN
    z = normal_quantile(1 - pair.policy.alpha / 2)
    return Finding(
        interval=interval,
        detectable=detectable_normal((interval[1] - interval[0]) / (2 * z), alpha=pair.policy.alpha),
        method="Newcombe's unpaired interval",
    )


def unpaired_interval(pair: Pair, condition: Condition) -> tuple[float, float] | None:
    """Newcombe's interval of two independent shares, widened by the spread between runs where it can be told.

    The runs of an arm saw the same images, so that they count as one sample of them. With at least three runs an arm
    Welch's half-width over the runs is added in quadrature. None where a side has no such accuracy.
    """
    quantity = accuracy_of(condition)
    base, candidate = pair.baseline.mean(quantity), pair.candidate.mean(quantity)
    if base is None or candidate is None or not (math.isfinite(base) and math.isfinite(candidate)):
        return None
    n_0, n_1 = pair.baseline.n(quantity), pair.candidate.n(quantity)
    alpha = pair.policy.alpha
    low, high = (float(end) for end in newcombe_unpaired(base * n_0, n_0, candidate * n_1, n_1, alpha))
    if min(pair.runs) < ENOUGH_RUNS:
        return low, high
    change = candidate - base
    ends = welch_interval(pair.baseline.values(quantity), pair.candidate.values(quantity), alpha)
    half = (ends[1] - ends[0]) / 2
    return change - math.hypot(change - low, half), change + math.hypot(high - change, half)
