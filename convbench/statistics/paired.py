"""Two classifiers on the same images: the table of agreement, and McNemar's test of its discordant cells.

Source: McNemar 1947 (doi:10.1007/BF02295996); Fagerland, Lydersen and Laake 2013, "The McNemar test for binary matched-
pairs data: mid-p and asymptotic are better than exact conditional", BMC Med. Res. Methodol. 13:91
(doi:10.1186/1471-2288-13-91).
"""

import math
from typing import NamedTuple

import numpy as np

EXACT_BELOW = 25  # discordant images; there the exact test, which is the more cautious one, is used


class Agreement(NamedTuple):
    """How many images both sides, only the first, only the second, and none classified rightly; each of one shape."""

    both: np.ndarray
    lost: np.ndarray
    gained: np.ndarray
    neither: np.ndarray


def agreement(first: np.ndarray, second: np.ndarray) -> Agreement:
    """Count the images by who was right: bool (N,) or (M, N) each, the same images in the same order -> () or (M,).

    Raises:
        ValueError: other shapes, so that they cannot be the same images.
    """
    if first.shape != second.shape:
        raise ValueError(f"{first.shape} and {second.shape} are not the same images")
    n = first.shape[-1]
    both = np.count_nonzero(first & second, axis=-1)
    right_0, right_1 = np.count_nonzero(first, axis=-1), np.count_nonzero(second, axis=-1)
    counts = (both, right_0 - both, right_1 - both, n - right_0 - right_1 + both)
    return Agreement(*(np.asarray(count) for count in counts))


def mcnemar(lost: np.ndarray | int, gained: np.ndarray | int) -> np.ndarray:
    """Two-sided p of McNemar's test that `lost` and `gained` are equally probable: Binomial(lost + gained, 1/2).

    With k = min(lost, gained), m = lost + gained and X ~ Binomial(m, 1/2): below 25 discordant images the exact
    min(1, 2 P(X <= k)), else the mid-p 2 P(X <= k) - P(X = k) (which is 1 where k = m/2).

    Args:
        lost, gained: discordant images, whole and at least 0, of one shape.

    Returns:
        p in [0, 1]; 1 where no image is discordant.
    """
    lost, gained = np.broadcast_arrays(lost, gained)
    p = [_mcnemar(int(b), int(c)) for b, c in zip(lost.ravel(), gained.ravel(), strict=True)]
    return np.array(p, dtype=np.float64).reshape(lost.shape)


def _mcnemar(lost: int, gained: int) -> float:
    m, k = lost + gained, min(lost, gained)
    if lost == gained:
        return 1.0
    log_term = math.lgamma(m + 1) - math.lgamma(k + 1) - math.lgamma(m - k + 1) - m * math.log(2)
    term = math.exp(log_term)
    # P(X = j-1) / P(X = j) = j / (m - j + 1): the tail is a sum of shrinking products, without large factorials.
    j = np.arange(k, 0, -1, dtype=np.float64)
    below = term * float(np.cumprod(j / (m - j + 1)).sum())
    weight = 2.0 if m < EXACT_BELOW else 1.0
    return min(1.0, 2 * below + weight * term)
