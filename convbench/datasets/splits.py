"""Fixed, class-stratified splits: the same images on every machine, for every run and every NumPy version."""

import numpy as np

SPLIT_SEED = 20_190_702  # a property of the data sets, never of a run
VALIDATION_FRACTION = 0.1


def shuffled(n: int, seed: int = SPLIT_SEED) -> np.ndarray:
    """A fixed permutation of `range(n)`, int64.

    It sorts raw words of the bit generator: NumPy keeps that stream stable, `Generator.permutation` not.
    """
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")


def hold_out(labels: np.ndarray, count: int, seed: int = SPLIT_SEED) -> tuple[np.ndarray, np.ndarray]:
    """Choose `count` positions so that every class gives the same share (largest remainder).

    Args:
        labels: class indices, shape (N,).
        count: how many to hold out, in [0, N].

    Returns:
        (kept, held): two disjoint, increasing int64 arrays that together are `range(N)`.
    """
    sizes = np.bincount(labels)
    share = count * sizes / max(len(labels), 1)
    quota = np.floor(share).astype(np.int64)
    largest = np.argsort(quota - share, kind="stable")
    quota[largest[: count - quota.sum()]] += 1

    order = shuffled(len(labels), seed)
    by_class = order[np.argsort(labels[order], kind="stable")]
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank_in_class = np.arange(len(labels)) - np.repeat(first, sizes)
    held = np.zeros(len(labels), dtype=bool)
    held[by_class] = rank_in_class < np.repeat(quota, sizes)
    return np.flatnonzero(~held), np.flatnonzero(held)


def validation_split(labels: np.ndarray, split: str) -> np.ndarray:
    """Positions of `split` ("train" or "validation") in an official training set: 90 % and 10 % of each class."""
    kept, held = hold_out(labels, round(len(labels) * VALIDATION_FRACTION))
    return held if split == "validation" else kept
