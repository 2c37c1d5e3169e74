"""Many tests at once: p-values adjusted so that comparing each with alpha keeps the error of the whole family."""

import numpy as np


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment: p̃₍ᵢ₎ = max over j <= i of min(1, (m - j + 1) p₍ⱼ₎), p₍₁₎ <= ... <= p₍ₘ₎.

    P(any false rejection) <= alpha under every dependence. Holm 1979, Scand. J. Statist. 6:65-70.

    Args:
        p: (M,) in [0, 1].
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's step-up adjustment: p̃₍ᵢ₎ = min over j >= i of min(1, m p₍ⱼ₎ / j).

    The expected share of false ones among the rejected is at most alpha, for independent or positively dependent tests.
    Benjamini and Hochberg 1995, J. R. Statist. Soc. B 57:289-300.

    Args:
        p: (M,) in [0, 1].
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return adjusted


def adjust(p: np.ndarray, correction: str) -> np.ndarray:
    """`p` (M,) adjusted by "holm", "bh", or left as it is by "none"."""
    return {"holm": holm, "bh": benjamini_hochberg, "none": np.asarray}[correction](p)
