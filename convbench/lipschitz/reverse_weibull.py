"""The location of a reverse Weibull distribution, by maximum likelihood: where a bounded maximum ends.

The maximum of many draws of a bounded quantity follows, in the limit, P(X <= x) = exp(-((loc - x) / scale)^shape) for
x <= loc: `scipy.stats.weibull_max`.
"""

import math
from dataclasses import dataclass

import numpy as np

_LEVEL = 0.05  # of the Kolmogorov-Smirnov test
_FARTHEST = 2.0  # times the sample's maximum: no location beyond is believed
_SPREAD = 1e-9  # relative; values closer together than this have no distribution to fit
_GRID = 60
_STEEPEST = 1e9  # a shape beyond is that of equal values


@dataclass(frozen=True)
class ReverseWeibull:
    """A fit, or the sample's maximum where the fit failed.

    Args:
        location: the estimated end of the distribution; the sample's maximum where `failed`.
        shape, scale: of the fit; NaN where there is none.
        p_value: of the Kolmogorov-Smirnov test of the sample against the fit. Its parameters come from the same
            sample, so the test is lenient; 0 where there is no fit.
        failed: no maximum of the likelihood, p_value < 0.05, or a location beyond twice the sample's maximum.
    """

    location: float
    shape: float
    scale: float
    p_value: float
    failed: bool


def fit_reverse_weibull(sample: np.ndarray) -> ReverseWeibull:
    """Fit location, scale and shape to `sample`, positive floats of shape `(n,)`, n at least 1.

    For a given location the other two solve one equation in one unknown, that of the two-parameter Weibull
    distribution; the likelihood so profiled is maximized over locations between the sample's maximum and twice it, on
    a logarithmic grid that is then refined. A shape of at least 1 is asked for: below, the likelihood has no maximum
    (it grows without limit as the location comes down to the largest value; Smith 1985, Biometrika 72(1)).

    Raises:
        ValueError: no values, or values that aren't finite and positive.
    """
    x = np.asarray(sample, dtype=np.float64)
    if x.size == 0 or not np.all(np.isfinite(x)) or x.min() <= 0:
        raise ValueError("a reverse Weibull fit needs finite positive values")
    largest = float(x.max())
    failed = ReverseWeibull(largest, math.nan, math.nan, 0.0, True)
    if x.max() - x.min() <= _SPREAD * largest:
        return failed
    from scipy.stats import kstest, weibull_max  # half a second, which other metrics need not pay

    x = x / largest  # the fit is equivariant: numbers near 1
    low, high = math.log(1e-6 * float(1 - x.min())), math.log(_FARTHEST - 1)
    gap = shape = scale = math.nan
    for _ in range(4):
        grid = np.linspace(low, high, _GRID)
        likelihoods, shapes, scales = _profile(1 + np.exp(grid)[:, None] - x)
        best = int(np.argmax(likelihoods))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
        gap, shape, scale = math.exp(grid[best]), float(shapes[best]), float(scales[best])
        if not math.isfinite(likelihoods[best]):
            return failed
    p_value = float(kstest(x, weibull_max(shape, 1 + gap, scale).cdf).pvalue)
    beyond = gap >= (_FARTHEST - 1) * (1 - 1e-6)
    if p_value < _LEVEL or beyond:
        return ReverseWeibull(largest, shape, scale * largest, p_value, True)
    return ReverseWeibull((1 + gap) * largest, shape, scale * largest, p_value, False)


def _profile(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The log-likelihood of Weibull samples `(G, n)` at their best shapes >= 1, those shapes, and their scales, `(G,)`.

    The best shape b solves 1/b + mean(log d) - sum(d^b log d) / sum(d^b) = 0, whose left side falls; where it is below
    0 at b = 1 the likelihood is given as minus infinity.
    """
    logs = np.log(distance)
    largest, mean = logs.max(1), logs.mean(1)
    centred = logs - largest[:, None]  # powers of the largest are 1

    def equation(shape: np.ndarray) -> np.ndarray:
        powers = np.exp(shape[:, None] * centred)
        return 1 / shape + mean - (powers * logs).sum(1) / powers.sum(1)

    low = np.ones(len(logs))
    exists = equation(low) > 0
    high = 2 * low
    while np.any(rising := (equation(high) > 0) & (high < _STEEPEST)):
        low, high = np.where(rising, high, low), np.where(rising, 2 * high, high)
    for _ in range(50):
        middle = (low + high) / 2
        rising = equation(middle) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    shape = (low + high) / 2
    n = logs.shape[1]
    log_scale = largest + np.log(np.exp(shape[:, None] * centred).mean(1)) / shape
    likelihood = n * (np.log(shape) - shape * log_scale) + (shape - 1) * logs.sum(1) - n
    return np.where(exists & (high < _STEEPEST), likelihood, -np.inf), shape, np.exp(log_scale)
