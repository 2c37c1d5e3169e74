"""What a comparison could have seen: the smallest drop that would be significant with a given power."""

import math

import numpy as np

from convbench.statistics.intervals import normal_quantile

POWER = 0.8


def detectable_paired(
    discordant: np.ndarray | int, n: np.ndarray | int, *, alpha: float = 0.05, power: float = POWER, tests: int = 1
) -> np.ndarray:
    """The smallest drop d that McNemar's test on n images would see, given the share δ of discordant ones.

    The d that solves z_α √δ + z_β √(δ - d²) = d √n: Connor 1987, "Sample size for testing differences in proportions
    for the paired-sample design", Biometrics 43:207-211, for the two-sided level alpha / tests (the smallest p of
    Holm's procedure over that many tests). A drop of more than δ cannot come from δ discordant images: there, and
    where it is more, d is what the exact test needs when images are only lost, the d with
    P(Binomial(n, d) >= k) = power, k the fewest losses with 2 · 2⁻ᵏ < alpha / tests.

    Args:
        discordant: images that only one side classified rightly; with n of a shape that broadcasts.

    Returns:
        d in (0, 1]; 1 where not even losing every image would be seen.
    """
    share = np.asarray(discordant, dtype=np.float64) / n
    n = np.broadcast_to(np.asarray(n, dtype=np.float64), share.shape)
    level = alpha / tests
    z_a, z_b = normal_quantile(1 - level / 2), normal_quantile(power)
    a = z_a * np.sqrt(share)
    root = np.sqrt(np.maximum(n * a * a - (n + z_b**2) * (a * a - z_b**2 * share), 0))
    drop = (np.sqrt(n) * a + root) / (n + z_b**2)
    fewest = math.floor(1 - math.log2(level)) + 1
    sizes, place = np.unique(n, return_inverse=True)
    only_lost = np.array([_share_that_loses(int(size), fewest, power) for size in sizes])[place].reshape(share.shape)
    return np.maximum(np.minimum(drop, share), only_lost)


def _share_that_loses(n: int, fewest: int, power: float) -> float:
    """The d in (0, 1] with P(Binomial(n, d) >= fewest) = power, by bisection; 1 where n is less than `fewest`."""
    if n < fewest:
        return 1.0
    log_choices = [math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) for j in range(fewest)]
    low, high = 0.0, 1.0
    for _ in range(60):
        d = (low + high) / 2
        below = math.fsum(math.exp(c + j * math.log(d) + (n - j) * math.log1p(-d)) for j, c in enumerate(log_choices))
        low, high = (d, high) if 1 - below < power else (low, d)
    return high


def detectable_normal(standard_error: float, *, alpha: float = 0.05, power: float = POWER, tests: int = 1) -> float:
    """The smallest change that a two-sided test of this standard error would see: (z_{α/2} + z_β) · standard error."""
    return (normal_quantile(1 - alpha / tests / 2) + normal_quantile(power)) * standard_error
