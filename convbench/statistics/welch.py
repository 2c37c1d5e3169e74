"""The difference of two means of a few runs each."""

import math
import statistics
from collections.abc import Sequence

import numpy as np


def welch_interval(first: Sequence[float], second: Sequence[float], alpha: float = 0.05) -> tuple[float, float]:
    """Welch's interval of mean(second) - mean(first): the difference ± t √(s₁²/n₁ + s₂²/n₂).

    t is Student's quantile at 1 - alpha/2 with Welch and Satterthwaite's degrees of freedom. Welch 1947, "The
    generalization of 'Student's' problem when several different population variances are involved", Biometrika 34.

    Args:
        first, second: at least two finite numbers each.
    """
    from scipy.special import stdtrit  # a quarter of a second, which comparing single runs need not pay

    parts = [statistics.variance(values) / len(values) for values in (first, second)]
    change = statistics.fmean(second) - statistics.fmean(first)
    if not sum(parts):
        return change, change
    weights = [part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)]
    t = float(stdtrit(np.float64(sum(parts) ** 2 / sum(weights)), 1 - alpha / 2))
    half = t * math.sqrt(sum(parts))
    return change - half, change + half
