"""`corrupt_labels`: training labels, some of them wrong.

Transition probabilities T[i, j] from class i to class j at rate p, with C classes:

- symmetric (Han et al. 2018, arXiv:1804.06872): 1 - p on the diagonal, p / (C - 1) off it. With `include_true`
  (the convention of DivideMix, ELR and ConvNorm) the new label is drawn from all C classes, so that the realised
  rate is p (C - 1) / C.
- pair (same paper): T[i, i + 1 mod C] = p.
- asymmetric (Patrini et al. 2017, arXiv:1609.03683): T[i, target(i)] = p for the affected classes, see
  `label_maps`. On CIFAR-10 half of the classes are affected, so that the overall rate is p / 2.
"""

import operator
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corruptions.label_maps import asymmetric_targets
from corruptions.label_noises import resolve_label_noise

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelNoise:
    """Corrupted labels, and what was done to them.

    Attributes:
        labels: int64, shape `(n,)`.
        matrix: int64 transition counts, shape `(C, C)`: row = original class, column = class after.
        changed: bool, shape `(n,)`: where `labels` differs from the original.
        nominal: the rate that was asked for, in [0, 1].
        actual: the share of labels that differ, in [0, 1].
    """

    labels: Labels
    matrix: NDArray[np.int64]
    changed: NDArray[np.bool_]
    nominal: float
    actual: float


def corrupt_labels(
    labels: ArrayLike,
    num_classes: int,
    kind: str,
    rate: float,
    *,
    seed: int,
    include_true: bool = False,
    sampling: str = "exact",
    dataset: str | None = None,
) -> LabelNoise:
    """Replace a share of the labels by wrong ones.

    Every decision is taken from the original labels, never from labels already replaced. Each image has one
    uniform score and one replacement, which depend on `seed` and its position only: "exact" replaces the images
    with the smallest scores, "bernoulli" those with a score below `rate`. So the images that are wrong at one
    rate stay wrong, in the same way, at every higher rate.

    Args:
        labels: whole numbers in [0, C), shape `(n,)`; never modified.
        num_classes: C, at least 2 (for "none" at least 1).
        kind: a name of `corruptions.LABEL_NOISES` or an alias.
        rate: p in [0, 1]; for "asymmetric" per affected class; 0 for "none".
        seed: any integer; only its lowest 64 bits count.
        include_true: "symmetric" draws from all C classes, so that a replacement may be the true label.
        sampling: "exact" replaces round(p n) labels for "symmetric", and round(p n_c) labels of each affected
            class c of n_c images for "pair" and "asymmetric"; "bernoulli" replaces each with probability p.
        dataset: "cifar10" or "cifar100", needed by "asymmetric".

    Raises:
        ValueError: an argument is outside of what is stated here; the message says what is accepted.
    """
    kind = resolve_label_noise(kind)
    original = _checked_labels(labels, num_classes, least=1 if kind == "none" else 2)
    if not 0 <= rate <= 1:  # NaN fails too
        raise ValueError(f"label noise rate must lie in [0, 1], got {rate!r}.")
    if kind == "none" and rate:
        raise ValueError(f"label noise 'none' has only rate 0, got {rate!r}.")
    if include_true and kind != "symmetric":
        raise ValueError(f"include_true is a convention of symmetric label noise, not of {kind!r}.")
    if sampling not in ("exact", "bernoulli"):
        raise ValueError(f"unknown sampling {sampling!r}. Choose from: exact, bernoulli.")

    draws = _Draws(seed, len(original))
    if kind == "symmetric":
        corrupted = _symmetric(original, num_classes, rate, draws, sampling, include_true)
    elif kind == "pair":
        corrupted = _flip(original, [*range(1, num_classes), 0], rate, draws, sampling)
    elif kind == "asymmetric":
        corrupted = _flip(original, asymmetric_targets(dataset, num_classes), rate, draws, sampling)
    else:
        corrupted = original.copy()

    changed = corrupted != original
    matrix = np.bincount(original * num_classes + corrupted, minlength=num_classes**2)
    return LabelNoise(
        labels=corrupted,
        matrix=matrix.astype(np.int64).reshape(num_classes, num_classes),
        changed=changed,
        nominal=float(rate),
        actual=float(changed.mean()) if changed.size else 0.0,
    )


class _Draws:
    """Random numbers of each image, from streams of their own: the score decides, the other replaces."""

    def __init__(self, seed: int, count: int) -> None:
        entropy = [operator.index(seed) & (2**64 - 1), zlib.crc32(b"label_noise")]
        scores, self.replacements = map(np.random.default_rng, np.random.SeedSequence(entropy).spawn(2))
        self.scores = scores.random(count)


def _chosen(scores: NDArray[np.float64], rate: float, sampling: str) -> NDArray[np.bool_]:
    if sampling == "bernoulli":
        return scores < rate
    chosen = np.zeros(scores.shape, dtype=bool)
    chosen[np.argsort(scores, kind="stable")[: round(rate * scores.size)]] = True
    return chosen


def _symmetric(
    labels: Labels, num_classes: int, rate: float, draws: _Draws, sampling: str, include_true: bool
) -> Labels:
    # A shift of 0 is the true class; without it each other class is equally likely.
    shifts = draws.replacements.integers(0 if include_true else 1, num_classes, size=labels.shape)
    return np.where(_chosen(draws.scores, rate, sampling), (labels + shifts) % num_classes, labels)


def _flip(labels: Labels, targets: list[int], rate: float, draws: _Draws, sampling: str) -> Labels:
    """Each class i to `targets[i]`, at `rate` per class; i to i is a class that is not affected."""
    chosen = np.zeros(labels.shape, dtype=bool)
    for label, target in enumerate(targets):
        if label != target:
            members = np.flatnonzero(labels == label)
            chosen[members] = _chosen(draws.scores[members], rate, sampling)
    return np.where(chosen, np.asarray(targets, dtype=np.int64)[labels], labels)


def _checked_labels(labels: ArrayLike, num_classes: int, least: int) -> Labels:
    if num_classes < least:
        raise ValueError(f"num_classes must be at least {least}, got {num_classes}.")
    array = np.asarray(labels)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or array.size == 0):
        raise ValueError(f"labels must be whole numbers of shape (n,), got {array.dtype} of shape {array.shape}.")
    if array.size and (array.min() < 0 or array.max() >= num_classes):
        raise ValueError(f"labels must lie in [0, {num_classes}), got {array.min()} to {array.max()}.")
    return array.astype(np.int64)
