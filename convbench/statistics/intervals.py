"""Score intervals of a share and of the difference of two shares.

Sources: Wilson 1927 (doi:10.1080/01621459.1927.10502953); Newcombe 1998a, "Interval estimation for the difference
between independent proportions", Stat. Med. 17:873-890, method 10; Newcombe 1998b, "Improved confidence intervals for
the difference between binomial proportions based on paired data", Stat. Med. 17:2635-2650, method 10.
"""

from statistics import NormalDist
from typing import TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
Interval: TypeAlias = tuple[Array, Array]
_NORMAL = NormalDist()


def normal_quantile(p: float) -> float:
    """The quantile z of the standard normal distribution: P(Z <= z) = p, p in (0, 1)."""
    return _NORMAL.inv_cdf(p)


def wilson_interval(correct: Array | float, n: Array | int, alpha: float = 0.05) -> Interval:
    """The two-sided Wilson score interval: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), p = correct/n.

    Args:
        correct: successes in [0, n], any shape; means of counts over several runs need not be whole.
        n: trials, at least 1, of a shape that broadcasts with `correct`.
        alpha: 1 - the level; z is the normal quantile at 1 - alpha/2.

    Returns:
        Both ends, in [0, 1], of the broadcast shape.
    """
    correct, n = np.asarray(correct, dtype=np.float64), np.asarray(n, dtype=np.float64)
    z = normal_quantile(1 - alpha / 2)
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Rounding must not push an end past the share itself: 0 of n starts at exactly 0, n of n ends at exactly 1.
    return np.where(correct <= 0, 0.0, centre - half), np.where(correct >= n, 1.0, centre + half)


def wilson_lower(correct: Array | float, n: Array | int, alpha: float = 0.05) -> Array:
    """The one-sided lower Wilson bound: the share is above it with confidence 1 - alpha. Arguments as above."""
    return wilson_interval(correct, n, 2 * alpha)[0]


def newcombe_unpaired(
    correct_0: Array | float, n_0: Array | int, correct_1: Array | float, n_1: Array | int, alpha: float = 0.05
) -> Interval:
    """Newcombe's hybrid score interval of p₁ - p₀, two independent shares (1998a, method 10).

    With the Wilson intervals (l, u) of each: p₁ - p₀ - √((p₁-l₁)² + (u₀-p₀)²) to p₁ - p₀ + √((u₁-p₁)² + (p₀-l₀)²).

    Args:
        correct_0, n_0: successes and trials of the first side; of the second with 1. They broadcast.

    Returns:
        Both ends of the difference "second minus first", in [-1, 1].
    """
    below_0, above_0, p_0 = _arms(correct_0, n_0, alpha)
    below_1, above_1, p_1 = _arms(correct_1, n_1, alpha)
    change = p_1 - p_0
    return change - np.hypot(below_1, above_0), change + np.hypot(above_1, below_0)


def newcombe_paired(
    both: Array | int, lost: Array | int, gained: Array | int, neither: Array | int, alpha: float = 0.05
) -> Interval:
    """Newcombe's interval of p₁ - p₀ = (gained - lost)/n of two shares of the same n images (1998b, method 10).

    p₁ - p₀ - √(a² - 2φab + b²), a = p₁-l₁, b = u₀-p₀, to p₁ - p₀ + √(c² - 2φcd + d²), c = u₁-p₁, d = p₀-l₀, with the
    Wilson intervals (l, u) of each share and the correlation φ = (both·neither - lost·gained) / √(product of the four
    margins); a positive numerator is first made smaller by n/2, but not below 0; φ = 0 where a margin is 0.

    Args:
        both, neither: images that both sides, or none, classified rightly.
        lost, gained: images that only the first, or only the second side, classified rightly. They broadcast.

    Returns:
        Both ends of the difference "second minus first", in [-1, 1].
    """
    both, lost, gained, neither = (np.asarray(x, dtype=np.float64) for x in (both, lost, gained, neither))
    n = both + lost + gained + neither
    right_0, right_1 = both + lost, both + gained
    below_0, above_0, _ = _arms(right_0, n, alpha)
    below_1, above_1, _ = _arms(right_1, n, alpha)
    numerator = both * neither - lost * gained
    numerator = np.where(numerator > 0, np.maximum(numerator - n / 2, 0), numerator)
    margins = np.sqrt(right_0) * np.sqrt(n - right_0) * np.sqrt(right_1) * np.sqrt(n - right_1)
    phi = np.divide(numerator, margins, out=np.zeros_like(margins), where=margins > 0)
    change = (gained - lost) / n
    return change - _side(below_1, above_0, phi), change + _side(above_1, below_0, phi)


def _arms(correct: Array | float, n: Array | int, alpha: float) -> tuple[Array, Array, Array]:
    """How far the Wilson interval reaches below and above the share, and the share."""
    low, high = wilson_interval(correct, n, alpha)
    p = np.asarray(correct, dtype=np.float64) / np.asarray(n, dtype=np.float64)
    return p - low, high - p, p


def _side(a: Array, b: Array, phi: Array) -> Array:
    # Never negative in exact arithmetic, since |phi| <= 1.
    return np.sqrt(np.maximum(a * a - 2 * phi * a * b + b * b, 0))
