"""One candidate beside the baseline, and the check that states one of their numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from convbench.comparison.quantities import Quantity, higher_is_better
from convbench.gate.arm_numbers import ArmNumbers
from convbench.gate.margins import Margin, margin_of
from convbench.gate.policy import Policy
from convbench.gate.report import Check, Kind, Verdict
from convbench.gate.scales import scale_of
from convbench.gate.verdicts import verdict_of
from convbench.metrics.corruption_error import CLEAN
from convbench.statistics.bootstrap import ResampledChange
from convbench.statistics.intervals import wilson_lower

# Of numbers of which neither end is better by itself: what a rise means where a margin for them is given.
_A_RISE_IS_GOOD = {"relative_accuracy": True}


@dataclass(frozen=True)
class Finding:
    """What is known of a change beside its size; the fields are those of a `Check`."""

    interval: tuple[float, float] | None = None
    p: float | None = None
    p_adjusted: float | None = None
    lost: int | None = None
    gained: int | None = None
    detectable: float | None = None
    method: str = ""


NOTHING_KNOWN = Finding(method="no interval")


@dataclass(frozen=True)
class Pair:
    """A baseline and one candidate under the same rules.

    Args:
        changes: the numbers that are known image by image on both sides, under resampling.
    """

    baseline: ArmNumbers
    candidate: ArmNumbers
    policy: Policy
    changes: Mapping[Quantity, ResampledChange] = field(default_factory=dict)

    @property
    def runs(self) -> tuple[int, int]:
        return self.baseline.runs, self.candidate.runs

    @property
    def single(self) -> bool:
        """Whether each side is one run, so that images can be counted as lost and gained."""
        return self.runs == (1, 1)

    def n(self, quantity: Quantity) -> int:
        """The images behind `quantity`, the smaller number where the sides differ; 0 where none is known."""
        return min((n for n in (self.baseline.n(quantity), self.candidate.n(quantity)) if n), default=0)

    def margin(self, kind: Kind, quantity: Quantity) -> Margin:
        """The margin of `quantity`, and whether it is gated."""
        condition = (quantity.corruption, int(quantity.severity)) if kind is Kind.CONDITION else CLEAN
        return margin_of(self.policy, kind, quantity.metric, condition)


def check_of(pair: Pair, kind: Kind, quantity: Quantity, finding: Finding = NOTHING_KNOWN) -> Check | None:
    """The check of a difference (accuracies, calibration, aggregates); None where neither side has the number."""
    baseline, candidate = pair.baseline.mean(quantity), pair.candidate.mean(quantity)
    if baseline is None and candidate is None:
        return None
    margin = pair.margin(kind, quantity)
    direction = higher_is_better(quantity.metric)
    good = _A_RISE_IS_GOOD.get(quantity.metric, False) if direction is None else direction
    if baseline is None or candidate is None or not (math.isfinite(baseline) and math.isfinite(candidate)):
        return without_change(pair, kind, quantity, margin, good)
    change = candidate - baseline
    p = finding.p if finding.p_adjusted is None else finding.p_adjusted
    if direction is None and not margin.asked_for:
        margin = Margin(None, False)
        verdict, reason = Verdict.HELD, "neither end is better by itself"
    else:
        verdict, reason = verdict_of(
            change, finding.interval, p, margin=margin.size, higher_is_better=good, policy=pair.policy
        )
    gated = margin.gated
    if verdict is Verdict.REGRESSED and quantity.metric == "accuracy" and (classes := _at_chance(pair, quantity)):
        # A collapse counts wherever it is: it is significant, and more than any margin.
        verdict, reason, gated = Verdict.BROKEN, f"at chance, 1 in {classes}", True
    if finding.interval is None and not margin.asked_for:
        gated = False  # nothing can be said, and nobody asked for this number
    low, high = finding.interval or (None, None)
    return named_check(
        pair,
        kind,
        quantity,
        higher_is_better=good,
        change=change,
        low=low,
        high=high,
        p=finding.p,
        p_adjusted=finding.p_adjusted,
        lost=finding.lost,
        gained=finding.gained,
        margin=margin.size,
        detectable=finding.detectable,
        method=finding.method,
        verdict=verdict,
        gated=gated,
        reason=reason,
    )


def without_change(pair: Pair, kind: Kind, quantity: Quantity, margin: Margin, higher_is_better: bool) -> Check:
    """The check of a number that one side lacks, or that is no number on one side."""
    baseline, candidate = pair.baseline.mean(quantity), pair.candidate.mean(quantity)
    gated = margin.gated
    if candidate is None:
        verdict, reason = Verdict.MISSING, _who_has_it(pair.candidate, quantity)
        gated = gated or kind is Kind.CONDITION  # fewer conditions are no way to pass
    elif baseline is None:
        verdict, reason = Verdict.NEW, _who_has_it(pair.baseline, quantity)
    elif not math.isfinite(candidate):
        verdict, reason = Verdict.BROKEN, "not a number" if math.isnan(candidate) else "infinite"
    else:
        verdict, reason = Verdict.NEW, f"{'not a number' if math.isnan(baseline) else 'infinite'} in the baseline"
    return named_check(
        pair,
        kind,
        quantity,
        higher_is_better=higher_is_better,
        margin=margin.size,
        verdict=verdict,
        gated=gated,
        reason=reason,
    )


def named_check(pair: Pair, kind: Kind, quantity: Quantity, **found: Any) -> Check:
    """The check of `quantity`: what follows from it and the pair, and the fields of `found`, which come first."""
    stated: dict[str, Any] = {
        "kind": kind,
        "metric": quantity.metric,
        "corruption": quantity.corruption,
        "severity": quantity.severity,
        "layer": quantity.layer,
        "scale": scale_of(quantity.metric),
        "baseline": pair.baseline.mean(quantity),
        "candidate": pair.candidate.mean(quantity),
        "n": pair.n(quantity),
        "runs": pair.runs,
    }
    return Check(**stated | found)


def _who_has_it(arm: ArmNumbers, quantity: Quantity) -> str:
    """Why an arm has no mean although some of its runs have the number; "" where none has it."""
    have = sum(quantity in of_run for of_run in arm.measured)
    return f"{have} of its {arm.runs} runs have it" if have else ""


def _at_chance(pair: Pair, quantity: Quantity) -> int:
    """The number of classes where the candidate's accuracy may be that of guessing and the baseline's is above; else 0.

    By the Wilson interval of each: the candidate's reaches down to 1 / classes, the baseline's doesn't.
    """
    stated = [e.run.settings.get("classes") for arm in (pair.baseline, pair.candidate) for e in arm.evidence]
    classes = next((k for k in stated if isinstance(k, int) and k > 1), 0)
    if not classes:
        return 0
    bounds = []
    for arm in (pair.baseline, pair.candidate):
        n = arm.n(quantity)
        bounds.append(float(wilson_lower((arm.mean(quantity) or 0.0) * n, n, pair.policy.alpha / 2)))
    return classes if bounds[0] > 1 / classes >= bounds[1] else 0
