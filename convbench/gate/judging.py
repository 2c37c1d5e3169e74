"""judge(baseline, candidates, policy) -> report: the statistics and the verdicts of a comparison.

Every number is compared with the baseline's on the same images: accuracies by counting images, means over conditions,
calibration and arms of several runs by resampling them, numbers of the network by their ratio.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from convbench.comparison.comparability import list_conditions
from convbench.comparison.quantities import CLEAN, CORRUPTED, Quantity, conditions_of
from convbench.gate.aggregate_checks import add_fixed_images, aggregate_checks, floor_checks
from convbench.gate.arm_numbers import ENOUGH_RUNS, ArmNumbers
from convbench.gate.arms import Arm
from convbench.gate.condition_checks import clean_check, condition_checks, is_paired
from convbench.gate.image_statistics import resampled, statistics_of, statistics_of_fixed_images
from convbench.gate.network_checks import layer_checks, network_checks
from convbench.gate.pair import Pair
from convbench.gate.policy import Policy
from convbench.gate.report import Check, Judgement, Kind, Report, Verdict
from convbench.metrics.corruption_error import CLEAN as CLEAN_CONDITION
from convbench.metrics.corruption_error import Condition
from convbench.statistics.bootstrap import (
    ImageResamples,
    ResampledChange,
    change_over_images,
    change_over_runs_and_images,
)

_OF_IMAGES = ("ece", "nll")  # numbers that need more than correctness bits


def judge(
    baseline: Arm, candidates: Sequence[Arm], policy: Policy, *, fingerprint: Mapping[str, Any] | None = None
) -> Report:
    """Compare each of `candidates` with `baseline` under the rules of `policy`.

    The means over conditions are over the baseline's; a candidate that lacks one of them has no mean. The arms hold the
    conditions that are compared (see `gate.filter`), measured alike (see `gate.comparability`).

    Args:
        candidates: at least one.
        fingerprint: what all sides share, for the report.

    Raises:
        NotComparableError: the two sides are not of the same number of images.
        ConfigError: a floor of a number that has no lower bound.
    """
    conditions = conditions_of(evidence.run for evidence in baseline.evidence)
    numbers = ArmNumbers(baseline, conditions)
    bootstrap = _Bootstrap(policy, conditions, several=any(len(arm.evidence) > 1 for arm in (baseline, *candidates)))
    of_baseline = bootstrap.resample(numbers)
    judgements = tuple(_judge_one(numbers, of_baseline, arm, policy, bootstrap) for arm in candidates)
    return Report(
        baseline=numbers.side(),
        judgements=judgements,
        policy=policy,
        fingerprint=dict(fingerprint or {}),
        version=_version(),
    )


# They are the same in every comparison of as many images, and are most of its time.
_resamples_of = lru_cache(maxsize=2)(ImageResamples)


class _Bootstrap:
    """The same resampled images for every arm."""

    def __init__(self, policy: Policy, conditions: Sequence[Condition], *, several: bool) -> None:
        self.policy, self.conditions = policy, conditions
        self.statistics = statistics_of(conditions, single=several)

    def draws(self, n: int) -> ImageResamples:
        """The resamples of n images."""
        return _resamples_of(n, self.policy.resamples, self.policy.seed)

    def resample(self, numbers: ArmNumbers) -> dict[Quantity, np.ndarray]:
        """The numbers of an arm under each resample, (B, R)."""
        defined = add_fixed_images(numbers, self.conditions)
        statistics = self.statistics | statistics_of_fixed_images(defined, self.conditions)
        return resampled(numbers.evidence, statistics, self.draws)

    def changes(
        self, first: Mapping[Quantity, np.ndarray], second: Mapping[Quantity, np.ndarray]
    ) -> dict[Quantity, ResampledChange]:
        """The changes of the numbers that both arms have."""
        found = {}
        for quantity in first:
            if quantity not in second:
                continue
            arms = first[quantity], second[quantity]
            if min(arm.shape[1] for arm in arms) >= ENOUGH_RUNS:
                found[quantity] = change_over_runs_and_images(*arms, seed=self.policy.seed, alpha=self.policy.alpha)
            else:
                found[quantity] = change_over_images(*arms)
        return found


def _judge_one(
    baseline: ArmNumbers, of_baseline: Mapping[Quantity, np.ndarray], arm: Arm, policy: Policy, bootstrap: _Bootstrap
) -> Judgement:
    candidate = ArmNumbers(arm, baseline.conditions)
    has = conditions_of(evidence.run for evidence in arm.evidence)
    conditions = tuple(dict.fromkeys((*baseline.conditions, *has)))
    pair = Pair(baseline, candidate, policy)
    paired = [is_paired(pair, condition) for condition in (CLEAN_CONDITION, *conditions) if _shared(pair, condition)]
    pair = replace(pair, changes=bootstrap.changes(of_baseline, bootstrap.resample(candidate)))
    clean = clean_check(pair)
    checks: list[Check] = [
        *([clean] if clean is not None else []),
        *aggregate_checks(pair),
        *network_checks(pair),
        *floor_checks(pair),
        *condition_checks(pair, conditions),
        *layer_checks(pair),
    ]
    all_paired = bool(paired) and all(paired)
    return Judgement(
        candidate=candidate.side(), paired=all_paired, checks=tuple(checks), notes=_notes(pair, checks, all_paired)
    )


def _shared(pair: Pair, condition: Condition) -> bool:
    quantity = Quantity("accuracy", *condition)
    return pair.baseline.mean(quantity) is not None and pair.candidate.mean(quantity) is not None


def _notes(pair: Pair, checks: Sequence[Check], paired: bool) -> tuple[str, ...]:
    notes = []
    arms = (pair.baseline, pair.candidate)
    if not paired:
        without = [arm.arm.label for arm in arms if any(not evidence.correct for evidence in arm.evidence)]
        who = (
            f"no correctness bits in {' and '.join(without)}" if without else "not all conditions have correctness bits"
        )
        notes.append(f"unpaired: weaker, a change must be several times as large to be seen; {who}.")
    if min(pair.runs) < ENOUGH_RUNS:
        runs = f"{pair.runs[0]} against {pair.runs[1]} runs" if max(pair.runs) > 1 else "one run an arm"
        notes.append(f"{runs}: images only; says nothing about retraining noise.")
    if missing := [c for c in checks if c.kind is Kind.CONDITION and c.verdict is Verdict.MISSING]:
        listed = list_conditions([(check.corruption, int(check.severity)) for check in missing])
        over = len(pair.baseline.conditions)
        notes.append(f"{len(missing)} of {over} conditions are missing ({listed}): no mean over fewer.")
    if pair.policy.filter and any(check.metric == CORRUPTED.metric for check in checks):
        notes.append(f"means are over the {len(pair.baseline.conditions)} conditions that the filter chose.")
    blind = [
        c.metric for c in checks if c.kind is Kind.AGGREGATE and c.metric in _OF_IMAGES and c.method == "no interval"
    ]
    if blind and paired and CLEAN in pair.changes:
        notes.append(
            f"{' and '.join(blind)}: no interval, because one side was evaluated before confidences were stored."
        )
    return tuple(notes)


def _version() -> str:
    try:
        return version("convbench")
    except PackageNotFoundError:
        return ""
