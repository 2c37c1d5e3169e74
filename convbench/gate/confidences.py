"""Confidence and cross-entropy of each clean image: read from a cell, rounded, and as text of a baseline file.

Cross-entropies are float16. An image that was classified rightly has the confidence exp(-cross-entropy); those of the
other images count in steps of 1/4095 (15 · 273, so that the borders of the bins of the ECE are steps). Both sides of a
comparison are rounded when they are read, so that a run equals the baseline file that was made of it. It costs the mean
of 10,000 images less than a hundred-thousandth and makes the file a third smaller.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from convbench.errors import ResultsError
from convbench.gate.packing import pack, unpack

NAMES = ("confidence", "nll")
_STEPS = 4095
_SLACK = 1e-3  # between a confidence and the cross-entropy of the same image; both were rounded to float32


def read_confidences(cell: Mapping[str, Any], right: np.ndarray, where: object) -> dict[str, np.ndarray]:
    """The "confidence" and "nll" in the cell of the clean images, rounded, float32 `(n,)`.

    Empty where none were stored, and where a number is not finite: what is made of them is then not a number either,
    which the rows say.

    Args:
        right: the correctness bits of the same images.

    Raises:
        ResultsError: they are not as many as the bits, or contradict them.
    """
    if not all(name in cell for name in NAMES):
        return {}
    try:
        confidence, nll = (_float32(cell[name], len(right)) for name in NAMES)
    except (TypeError, ValueError) as error:
        raise ResultsError(f"{where} is damaged: the confidences of its images cannot be read ({error}).") from None
    if not (np.isfinite(confidence).all() and np.isfinite(nll).all()):
        return {}
    if np.any(np.abs(confidence - np.exp(-nll))[right] > _SLACK):
        raise ResultsError(f"{where} is damaged: its confidences contradict its correctness bits.")
    rounded = np.clip(nll, 0, np.finfo(np.float16).max).astype("<f2")
    steps = np.rint(np.clip(confidence[~right], 0, 1).astype(np.float64) * _STEPS).astype("<u2")
    return _join(rounded, steps, right)


def encode_confidences(values: Mapping[str, np.ndarray], right: np.ndarray) -> dict[str, str]:
    """What `read_confidences` gave as text; `decode_confidences` gives the same back."""
    steps = np.rint(values["confidence"][~right].astype(np.float64) * _STEPS).astype("<u2")
    return {"confidence": _planes(steps), "nll": _planes(values["nll"].astype("<f2"))}


def decode_confidences(texts: Mapping[str, str], right: np.ndarray) -> dict[str, np.ndarray]:
    """The inverse of `encode_confidences`; a `ValueError` where a text is damaged."""
    steps = _from_planes(texts["confidence"], int((~right).sum())).view("<u2")
    return _join(_from_planes(texts["nll"], len(right)).view("<f2"), steps, right)


def _join(nll: np.ndarray, steps: np.ndarray, right: np.ndarray) -> dict[str, np.ndarray]:
    cross_entropy = nll.astype(np.float32)
    confidence = np.exp(-cross_entropy)
    confidence[~right] = (steps / _STEPS).astype(np.float32)
    return {"confidence": confidence, "nll": cross_entropy}


def _float32(text: str, n: int) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
    if values.size != n:
        raise ValueError(f"{values.size} numbers for {n} images")
    return values


def _planes(values: np.ndarray) -> str:
    """16-bit numbers as text: first the high bytes, which are alike, then the low ones."""
    return pack(np.ascontiguousarray(values).view(np.uint8).reshape(-1, 2).T.tobytes())


def _from_planes(text: str, n: int) -> np.ndarray:
    planes = np.frombuffer(unpack(text, 2 * n), dtype=np.uint8).reshape(2, n)
    return np.ascontiguousarray(planes.T).reshape(-1)
