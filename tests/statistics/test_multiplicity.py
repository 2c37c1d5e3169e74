"""Adjusted p-values against statsmodels, and what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from convbench.statistics.multiplicity import adjust, benjamini_hochberg, holm

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=120).map(np.array)


@settings(max_examples=8)  # statsmodels takes long for Holm's
@given(p_values)
def test_both_agree_with_statsmodels(p):
    assert np.allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-12)
    assert np.allclose(benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1], atol=1e-12)


@given(p_values)
def test_adjusting_only_raises_and_keeps_the_order(p):
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert (adjusted >= p - 1e-15).all()
        assert (adjusted <= 1).all()
        assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert (benjamini_hochberg(p) <= holm(p) + 1e-12).all()


def test_the_textbook_example_of_holm():
    # Holm 1979 by hand: 4 x 0.005, then 3 x 0.01, 2 x 0.03, 1 x 0.04 raised to the one before.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_names():
    p = np.array([0.01, 0.2])
    assert np.array_equal(adjust(p, "none"), p)
    assert np.array_equal(adjust(p, "holm"), holm(p))
    assert np.array_equal(adjust(p, "bh"), benjamini_hochberg(p))
    assert adjust(np.array([]), "holm").shape == (0,)


def test_the_family_error_is_kept():
    p = np.random.default_rng(0).random((2000, 95))
    false_alarms = np.mean([holm(row).min() < 0.05 for row in p])
    assert 0.03 < false_alarms < 0.065  # 5 % but for 2,000 draws; without the correction it is 99 %
    assert np.mean(p.min(axis=1) < 0.05) > 0.98
