"""Confidences and cross-entropies of clean images: rounded a little, once, and only where they fit the bits."""

import base64
import json

import numpy as np
import pytest

from convbench.errors import ResultsError
from convbench.gate.confidences import decode_confidences, encode_confidences, read_confidences
from tests.gate.folders import draw_bits, draw_confidences


def as_cell(values: dict[str, np.ndarray]) -> dict[str, str]:
    return {name: base64.b64encode(v.astype("<f4").tobytes()).decode() for name, v in values.items()}


def test_confidences_are_rounded_a_little_and_only_once():
    right = draw_bits(n=1000)["none", 0]
    given = draw_confidences(right)
    rounded = read_confidences(as_cell(given), right, "cell")
    assert all(values.dtype == np.float32 for values in rounded.values())
    assert np.abs(rounded["confidence"] - given["confidence"]).max() <= 5e-4
    assert np.abs(rounded["nll"] / given["nll"] - 1).max() <= 2**-11
    for name in given:
        assert abs(rounded[name].mean() - given[name].mean()) <= 1e-5
    back = decode_confidences(json.loads(json.dumps(encode_confidences(rounded, right))), right)
    assert all(np.array_equal(back[name], rounded[name]) for name in given)


def test_confidences_that_contradict_the_bits_are_refused():
    right = draw_bits(n=1000)["none", 0]
    given = draw_confidences(right)
    with pytest.raises(ResultsError, match=r"cell is damaged.*contradict"):
        read_confidences(as_cell(given), ~right, "cell")
    with pytest.raises(ResultsError, match=r"1000 numbers for 999 images"):
        read_confidences(as_cell(given), right[:-1], "cell")
    with pytest.raises(ResultsError, match="cell is damaged"):
        read_confidences({**as_cell(given), "nll": "?"}, right, "cell")


def test_confidences_of_a_broken_network_are_left_out():
    right = np.zeros(8, dtype=bool)
    values = {"confidence": np.full(8, np.nan), "nll": np.full(8, np.inf)}
    assert read_confidences(as_cell(values), right, "cell") == {}
    assert read_confidences({"n": 8}, right, "cell") == {}
