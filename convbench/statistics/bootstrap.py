"""The bootstrap over images, which are the clusters of every condition, and over runs that differ in the seed.

Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 6 and 13 (percentile interval); Davison
and Hinkley 1997, "Bootstrap Methods and their Application", section 3.8 (clusters, hierarchical data).
"""

import math
from dataclasses import dataclass

import numpy as np

from convbench.statistics.intervals import normal_quantile

_BLOCK = 64  # resamples at a time: their counts as float64 are a few megabytes
_IMAGES, _RUNS = 0, 1  # the purposes of the two random streams


class ImageResamples:
    """The same resampled images for every number: B times n images drawn from n with replacement.

    An image is drawn with all that belongs to it (every condition, both sides), since all of it shares the image: a
    mean over conditions of the same images is less certain than that many independent images would make it.

    Args:
        n: images, at least 1.
        resamples: B.
        seed: the private stream's; n, B and seed decide the draws.
    """

    def __init__(self, n: int, resamples: int, seed: int) -> None:
        self.n = n
        generator = np.random.default_rng([seed, _IMAGES])
        # How often an image is drawn has mean 1 and practically never reaches ten, so that a byte is enough.
        self._counts = np.empty((resamples, n), dtype=np.uint8)
        for row in self._counts:
            row[:] = np.bincount(generator.integers(0, n, n), minlength=n)

    def means(self, values: np.ndarray) -> np.ndarray:
        """The means over each resample of `values`, (N, k) -> (B, k), float64.

        Raises:
            ValueError: values of another number of images.
        """
        if len(values) != self.n:
            raise ValueError(f"values of {len(values)} images, but {self.n} are resampled")
        values = np.ascontiguousarray(values, dtype=np.float64)
        blocks = range(0, len(self._counts), _BLOCK)
        return np.concatenate([self._counts[i : i + _BLOCK].astype(np.float64) @ values for i in blocks]) / self.n


@dataclass(frozen=True)
class ResampledChange:
    """A change between two arms under resampling.

    Args:
        samples: (B,), the change under each resample; their quantiles are the interval.
        standard_error: of the change.
        degrees_of_freedom: of the standard error; None where only images were resampled, so many that it is known.
    """

    samples: np.ndarray
    standard_error: float
    degrees_of_freedom: int | None = None

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """The percentile interval of the level 1 - alpha."""
        low, high = percentile_interval(self.samples, alpha)
        return float(low), float(high)

    def p(self, change: float) -> float:
        """The two-sided p of `change` by the standard error, normal or Student's; 1 where nothing changed."""
        if change == 0 or self.standard_error == 0:
            return 1.0 if change == 0 else 0.0
        z = abs(change) / self.standard_error
        if self.degrees_of_freedom is None:
            return math.erfc(z / math.sqrt(2))
        from scipy.special import stdtr  # a quarter of a second, which comparing single runs need not pay

        return float(2 * stdtr(self.degrees_of_freedom, -z))


def change_over_images(first: np.ndarray, second: np.ndarray) -> ResampledChange:
    """The change of the mean over runs, with the images as the only source of chance.

    Args:
        first, second: (B, R) of each arm, each run's number under each resample of the images.
    """
    samples = second.mean(axis=1) - first.mean(axis=1)
    return ResampledChange(samples, float(samples.std(ddof=1)))


def change_over_runs_and_images(
    first: np.ndarray, second: np.ndarray, *, seed: int, alpha: float = 0.05
) -> ResampledChange:
    """The two-level bootstrap: runs resampled within each arm, on images resampled for both alike.

    Under resample b of the images each arm contributes m_b + f · (m*_b - m_b), m_b its mean over all R runs and m*_b
    that over R runs drawn from them with replacement. The bootstrap over few runs alone is too narrow: f = √(R/(R-1))
    undoes the bias of its plug-in variance, and for the interval f is multiplied by t / z, the quantiles of Student
    (R₀ + R₁ - 2 degrees of freedom) and of the normal distribution. Hesterberg 2015, "What Teachers Should Know About
    the Bootstrap", Am. Stat. 69:371-386 (doi:10.1080/00031305.2015.1089789), has both as expanded percentiles; here
    they scale, since the percentiles that three runs need lie beyond any number of resamples.

    Args:
        first, second: (B, R₀) and (B, R₁), each run's number under each resample; at least two runs each.
        seed: of the private stream; the arms draw apart from each other.
        alpha: 1 - the level for which the samples are made.
    """
    from scipy.special import stdtrit

    degrees_of_freedom = first.shape[1] + second.shape[1] - 2
    student = float(stdtrit(degrees_of_freedom, 1 - alpha / 2)) / normal_quantile(1 - alpha / 2)
    means = [arm.mean(axis=1) for arm in (first, second)]
    deviations = [_deviation_of_drawn_runs(values, [seed, _RUNS, arm]) for arm, values in enumerate((first, second))]
    change = means[1] - means[0]
    deviation = deviations[1] - deviations[0]
    return ResampledChange(change + student * deviation, float((change + deviation).std(ddof=1)), degrees_of_freedom)


def _deviation_of_drawn_runs(values: np.ndarray, key: list[int]) -> np.ndarray:
    resamples, runs = values.shape
    drawn = np.random.default_rng(key).integers(0, runs, (resamples, runs))
    deviation = np.take_along_axis(values, drawn, axis=1).mean(axis=1) - values.mean(axis=1)
    return math.sqrt(runs / (runs - 1)) * deviation


def percentile_interval(samples: np.ndarray, alpha: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval: the quantiles alpha/2 and 1 - alpha/2 over the resamples, (B, ...) -> (...), (...)."""
    low, high = np.quantile(samples, [alpha / 2, 1 - alpha / 2], axis=0)
    return low, high
