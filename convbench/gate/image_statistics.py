"""Numbers that are functions of means over images, so that resampling the images shows how sure they are."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from convbench.comparison.quantities import ALL, CLEAN, CORRUPTED, RELATIVE, Quantity
from convbench.gate.arms import Evidence
from convbench.metrics import CORRUPTION_METRICS
from convbench.metrics.calibration import BINS
from convbench.metrics.corruption_error import CLEAN as CLEAN_CONDITION
from convbench.metrics.corruption_error import Condition
from convbench.statistics.bootstrap import ImageResamples

MEAN_CE = Quantity("mean_ce", ALL, ALL)


@dataclass(frozen=True)
class ImageStatistic:
    """One number of a run.

    Args:
        terms: what each image contributes, float64 (N, k); None where the run does not know it.
        value: the number from the means of the terms, (..., k) -> (...).
    """

    terms: Callable[[Evidence], np.ndarray | None]
    value: Callable[[np.ndarray], np.ndarray]


def statistics_of(conditions: Sequence[Condition], *, single: bool) -> dict[Quantity, ImageStatistic]:
    """The numbers of clean images and over `conditions`; with `single` also the accuracy under each of them."""
    found = {
        CLEAN: ImageStatistic(partial(_columns, [CLEAN_CONDITION]), _first),
        Quantity("ece"): ImageStatistic(_calibration_gaps, _sum_of_sizes),
        Quantity("nll"): ImageStatistic(_nll, _first),
    }
    if conditions:
        found |= {
            CORRUPTED: ImageStatistic(partial(_mean_of, conditions), _first),
            MEAN_CE: ImageStatistic(partial(_mean_of, conditions), lambda means: 1 - means[..., 0]),
            RELATIVE: ImageStatistic(partial(_clean_and_mean_of, conditions), _ratio),
        }
    if single:
        of_one = {Quantity("accuracy", *c): ImageStatistic(partial(_columns, [c]), _first) for c in conditions}
        found |= of_one
    return found


def statistics_of_fixed_images(names: Iterable[str], conditions: Sequence[Condition]) -> dict[Quantity, ImageStatistic]:
    """The registered aggregates `names`, each a formula of the accuracies under `conditions` and nothing else."""
    used = [CLEAN_CONDITION, *conditions]

    def value(function: Callable[..., Any], means: np.ndarray) -> np.ndarray:
        return function({condition: means[..., i] for i, condition in enumerate(used)}, conditions)

    return {
        Quantity(name, ALL, ALL): ImageStatistic(
            partial(_columns, used), partial(value, CORRUPTION_METRICS.entry(name).function)
        )
        for name in names
    }


def resampled(
    evidence: Sequence[Evidence],
    statistics: Mapping[Quantity, ImageStatistic],
    draws: Callable[[int], ImageResamples],
) -> dict[Quantity, np.ndarray]:
    """Each of `statistics` under each resample of the images, (B, R); those that all R runs know.

    Args:
        draws: the resamples of so many images.
    """
    of_runs = [_of_run(one, statistics, draws) for one in evidence]
    return {
        quantity: np.stack([of_run[quantity] for of_run in of_runs], axis=1)
        for quantity in statistics
        if all(quantity in of_run for of_run in of_runs)
    }


def _of_run(
    evidence: Evidence, statistics: Mapping[Quantity, ImageStatistic], draws: Callable[[int], ImageResamples]
) -> dict[Quantity, np.ndarray]:
    terms = {quantity: statistic.terms(evidence) for quantity, statistic in statistics.items()}
    of_size: dict[int, dict[Quantity, np.ndarray]] = {}
    for quantity, one in terms.items():
        if one is not None:
            of_size.setdefault(len(one), {})[quantity] = one
    found: dict[Quantity, np.ndarray] = {}
    for n, known in of_size.items():
        means = draws(n).means(np.concatenate(list(known.values()), axis=1))
        ends = np.cumsum([one.shape[1] for one in known.values()])[:-1]
        for quantity, part in zip(known, np.split(means, ends, axis=1), strict=True):
            found[quantity] = statistics[quantity].value(part)
    return found


def _columns(conditions: Sequence[Condition], evidence: Evidence) -> np.ndarray | None:
    bits = _bits(conditions, evidence)
    return None if bits is None else bits.T.astype(np.float64)


def _mean_of(conditions: Sequence[Condition], evidence: Evidence) -> np.ndarray | None:
    bits = _bits(conditions, evidence)
    return None if bits is None else bits.mean(axis=0)[:, None]


def _bits(conditions: Sequence[Condition], evidence: Evidence) -> np.ndarray | None:
    """Bool (conditions, N); None where one is unknown, or of other images."""
    found = [evidence.correct[c] for c in conditions if c in evidence.correct]
    if len(found) < len(conditions) or len({len(bits) for bits in found}) != 1:
        return None
    return np.stack(found)


def _clean_and_mean_of(conditions: Sequence[Condition], evidence: Evidence) -> np.ndarray | None:
    clean, mean = _columns([CLEAN_CONDITION], evidence), _mean_of(conditions, evidence)
    if clean is None or mean is None or len(clean) != len(mean):
        return None
    return np.concatenate([clean, mean], axis=1)


def _nll(evidence: Evidence) -> np.ndarray | None:
    if evidence.nll is None or not np.isfinite(evidence.nll).all():
        return None
    return evidence.nll.astype(np.float64)[:, None]


def _calibration_gaps(evidence: Evidence) -> np.ndarray | None:
    """(N, 15): in the column of an image's bin (b/15, (b+1)/15] whether it was right minus its confidence."""
    correct = evidence.correct.get(CLEAN_CONDITION)
    if evidence.confidence is None or correct is None or len(correct) != len(evidence.confidence):
        return None
    confidence = evidence.confidence.astype(np.float64)
    if not np.isfinite(confidence).all():
        return None
    bins = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1).astype(np.intp)
    gaps = np.zeros((len(correct), BINS))
    gaps[np.arange(len(correct)), bins] = correct - confidence
    return gaps


def _first(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


def _sum_of_sizes(means: np.ndarray) -> np.ndarray:
    return np.abs(means).sum(axis=-1)


def _ratio(means: np.ndarray) -> np.ndarray:
    clean, corrupted = means[..., 0], means[..., 1]
    return np.divide(corrupted, clean, out=np.full_like(clean, np.nan), where=clean > 0)
