"""Numbers of all images at once: means over conditions, calibration, and the floors that they must clear."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from convbench.comparison.quantities import ALL, CLEAN, CORRUPTED, RELATIVE, Measurement, Quantity, accuracies
from convbench.errors import ConfigError, MetricNotDefinedError, NotComparableError
from convbench.gate.arm_numbers import ArmNumbers
from convbench.gate.condition_checks import accuracy_of, how_resampled, unpaired_interval
from convbench.gate.image_statistics import MEAN_CE
from convbench.gate.margins import pattern_of
from convbench.gate.pair import NOTHING_KNOWN, Finding, Pair, check_of, named_check, without_change
from convbench.gate.report import Check, Kind, Verdict
from convbench.metrics import CORRUPTION_METRICS, PREDICTION_METRICS
from convbench.metrics.corruption_error import Condition
from convbench.statistics.intervals import normal_quantile, wilson_lower
from convbench.statistics.power import detectable_normal


def names_of_fixed_images() -> list[str]:
    """The registered aggregates that divide by somebody's published errors, and so are defined on his images only."""
    return [entry.name for entry in CORRUPTION_METRICS if "images" in entry.facts]


def add_fixed_images(numbers: ArmNumbers, conditions: Sequence[Condition]) -> list[str]:
    """Put the aggregates of `names_of_fixed_images` among the numbers of each run, and name those that are defined."""
    defined = []
    for name in names_of_fixed_images():
        entry = CORRUPTION_METRICS.entry(name)
        for evidence, measured in zip(numbers.evidence, numbers.measured, strict=True):
            values = {condition: found.value for condition, found in accuracies(measured).items()}
            try:
                for row in evidence.run.rows:
                    if row.metric == "accuracy" and row.severity and not row.attack:
                        entry.facts["images"](row.dataset, row.source, row.profile)
                value = entry.function(values, conditions)
            except (MetricNotDefinedError, NotComparableError):
                continue
            n = min(found.n for found in accuracies(measured).values())
            measured[Quantity(name, ALL, ALL)] = Measurement(value, n)
            defined.append(name)
    return list(dict.fromkeys(defined))


def aggregate_checks(pair: Pair) -> list[Check]:
    """The checks of everything but the clean accuracy: what is gated first."""
    quantities = [CORRUPTED, *(Quantity(name, ALL, ALL) for name in names_of_fixed_images()), RELATIVE]
    if MEAN_CE.metric in pair.policy.margins:  # else it is the mean corrupted accuracy told twice
        quantities.insert(1, MEAN_CE)
    of_clean = dict.fromkeys([*pair.baseline.quantities, *pair.candidate.quantities])
    quantities += [q for q in of_clean if q.corruption == "none" and q.metric in PREDICTION_METRICS and q != CLEAN]
    checks = [check_of(pair, Kind.AGGREGATE, quantity, _finding(pair, quantity)) for quantity in quantities]
    return [check for check in checks if check is not None]


def _finding(pair: Pair, quantity: Quantity) -> Finding:
    alpha = pair.policy.alpha
    if quantity in pair.changes:
        change = pair.changes[quantity]
        interval = change.interval(alpha)
        if not all(map(math.isfinite, interval)):
            return NOTHING_KNOWN
        # Where no resample differs, the two sides agree on every image, and nothing says what would have been seen.
        detectable = detectable_normal(change.standard_error, alpha=alpha) if change.standard_error else None
        return Finding(interval=interval, detectable=detectable, method=how_resampled(pair))
    if quantity not in (CORRUPTED, MEAN_CE):
        return NOTHING_KNOWN
    ends = [unpaired_interval(pair, condition) for condition in pair.baseline.conditions]
    known = [end for end in ends if end is not None]
    if not known or len(known) < len(ends):
        return NOTHING_KNOWN
    low, high = (float(end) for end in np.mean(known, axis=0))
    if quantity == MEAN_CE:
        low, high = -high, -low
    half = (high - low) / 2
    return Finding(
        interval=(low, high),
        detectable=detectable_normal(half / normal_quantile(1 - alpha / 2), alpha=alpha),
        # The standard deviation of a mean is at most the mean of the standard deviations, whatever the correlation.
        method="mean of the conditions' unpaired intervals, an upper bound",
    )


def floor_checks(pair: Pair) -> list[Check]:
    """The absolute limits: the one-sided lower bound of the candidate's number must clear each.

    A floor that it does not clear is REGRESSED, also where the number itself is above: too few images to prove it is
    no reason to pass.

    Raises:
        ConfigError: a floor of a number that isn't a share of images.
    """
    checks = []
    for key, floor in pair.policy.floors.items():
        for quantity in _quantities_of(pair, key):
            checks.append(_floor_check(pair, quantity, floor))
    return checks


def _quantities_of(pair: Pair, key: str) -> list[Quantity]:
    found = pattern_of(key)
    if found is not None and found[0] == "accuracy":
        wanted = found[1]
        return [
            accuracy_of(condition)
            for condition in pair.baseline.conditions
            if {"corruption": condition[0], "severity": str(condition[1])}.items() >= wanted.items()
        ]
    if key not in (CLEAN.metric, CORRUPTED.metric):
        raise ConfigError(
            f"--min takes {CLEAN.metric}, {CORRUPTED.metric} or the accuracy of a condition, got {key!r}."
        )
    return [CLEAN if key == CLEAN.metric else CORRUPTED]


def _floor_check(pair: Pair, quantity: Quantity, floor: float) -> Check:
    margin = pair.margin(Kind.FLOOR, quantity)
    value = pair.candidate.mean(quantity)
    if value is None or not math.isfinite(value):
        missing = without_change(pair, Kind.FLOOR, quantity, margin, True)
        verdict = Verdict.BROKEN if missing.verdict is Verdict.BROKEN else Verdict.MISSING
        return replace(missing, baseline=floor, verdict=verdict, gated=True, margin=None)
    bound = _lower_bound(pair, quantity)
    held = bound >= floor
    return named_check(
        pair,
        Kind.FLOOR,
        quantity,
        higher_is_better=True,
        baseline=floor,
        candidate=value,
        change=value - floor,
        low=bound - floor,
        n=pair.candidate.n(quantity),
        method=f"one-sided {'Wilson bound' if quantity != CORRUPTED else 'mean of Wilson bounds'}",
        verdict=Verdict.HELD if held else Verdict.REGRESSED,
        reason="" if held or value < floor else "above the floor, but the lower bound does not clear it",
    )


def _lower_bound(pair: Pair, quantity: Quantity) -> float:
    """The one-sided Wilson bound of a share; of a mean over conditions the mean of their bounds, which is below it."""
    arm = pair.candidate
    over = [accuracy_of(c) for c in arm.conditions] if quantity == CORRUPTED else [quantity]
    bounds = [float(wilson_lower((arm.mean(q) or 0.0) * arm.n(q), arm.n(q), pair.policy.alpha)) for q in over]
    return math.fsum(bounds) / len(bounds)
