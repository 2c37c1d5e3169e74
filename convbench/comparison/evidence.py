"""How sure a group's mean is, and the difference of two: over runs, over images, or over both.

The variance of a difference is the sum of what is known of it: of each arm s²/R over its R runs, where both have at
least three, and of the images s²/N of their N differences, which pair the arms. A run's chance on a single image is in
both sums, which errs on the safe side. Student's t has the degrees of freedom of Welch and Satterthwaite: ν = (Σ v)² /
Σ v²/ν. Welch 1947, Biometrika 34:28-35; Satterthwaite 1946, Biometrics Bulletin 2:110-114.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convbench.comparison.comparison import Comparison, Group
from convbench.comparison.quantities import ALL, CLEAN, Estimate, Quantity
from convbench.metrics.corruption_error import CLEAN as CLEAN_CONDITION
from convbench.metrics.corruption_error import Condition

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.95
ENOUGH_RUNS = 3  # of two runs the standard deviation says next to nothing
SEEDS, IMAGES = "seeds", "images"  # what an interval is over; "" where nothing is known

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """One mean minus another.

    Args:
        value: in the metric's own unit.
        interval: of the level 95 %, for this pair alone.
        p: two-sided, of no difference.
    """

    value: float
    interval: Interval
    p: float


def over_images(comparison: Comparison, group: Group, quantity: Quantity) -> np.ndarray | None:
    """Each image's accuracy under the conditions of `quantity`, mean over the runs of `group`: float64 `(N,)`.

    None where the quantity is no mean of accuracies, where a run has no bits, or its runs saw different images.
    """
    if len({run.settings.get("data_fingerprint") for run in group.runs}) != 1:
        return None
    over = _conditions_of(quantity, comparison.conditions)
    found = []
    for run in group.runs:
        values = comparison.images.of(run, over)
        if values is None or (found and len(values) != len(found[0])):
            return None
        found.append(values)
    return sum(found[1:], start=found[0]) / len(found)


def _conditions_of(quantity: Quantity, conditions: Sequence[Condition]) -> list[Condition]:
    if quantity == CLEAN:
        return [CLEAN_CONDITION]
    if quantity.metric == "accuracy":
        return [(quantity.corruption, int(quantity.severity))]
    if quantity.metric != "mean_corrupted_accuracy":
        return []
    return [c for c in conditions if quantity.corruption in (ALL, c[0]) and quantity.severity in (ALL, c[1])]


def interval_of_mean(estimate: Estimate, images: np.ndarray | None) -> tuple[Interval | None, str]:
    """The 95 % interval of a mean, and what it is over.

    From three runs on: mean ± t s/√R over the runs, which is about retraining and these images. With fewer: of the
    images alone, the interval that a run's rows state (Wilson's), else mean ± t s/√N over the images.
    """
    if estimate.sd is not None and estimate.runs >= ENOUGH_RUNS:
        return _around(estimate.mean, estimate.sd**2 / estimate.runs, estimate.runs - 1), SEEDS
    if estimate.interval is not None:
        return estimate.interval, IMAGES
    if images is None or len(images) < 2:
        return None, ""
    low, high = _around(estimate.mean, float(images.var(ddof=1)) / len(images), len(images) - 1)
    return (max(0.0, low), min(1.0, high)), IMAGES


def difference(
    ours: Estimate, theirs: Estimate, our_images: np.ndarray | None, their_images: np.ndarray | None
) -> Difference | None:
    """`ours` minus `theirs` with interval and p; None where nothing is known of its variance."""
    value = ours.mean - theirs.mean
    if not math.isfinite(value):
        return None
    parts: list[tuple[float, int]] = []  # variance, its degrees of freedom
    if all(e.sd is not None and e.runs >= ENOUGH_RUNS for e in (ours, theirs)):
        parts += [(e.sd**2 / e.runs, e.runs - 1) for e in (ours, theirs) if e.sd is not None]
    if our_images is not None and their_images is not None and 1 < len(our_images) == len(their_images):
        changes = our_images - their_images
        parts.append((float(changes.var(ddof=1)) / len(changes), len(changes) - 1))
    if not parts:
        return None
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Difference(value, (value, value), 1.0 if value == 0 else 0.0)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    from scipy.special import stdtr  # a tenth of a second, which a table of one run need not pay

    p = 2 * float(stdtr(freedom, -abs(value) / math.sqrt(variance)))
    return Difference(value, _around(value, variance, freedom), p)


def _around(value: float, variance: float, freedom: float) -> Interval:
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(variance)
    return value - half, value + half
