"""Welch's interval against SciPy."""

import numpy as np
import pytest
from scipy import stats

from convbench.statistics.welch import welch_interval


@pytest.mark.parametrize("sizes", [(3, 3), (2, 7), (10, 4)])
def test_the_interval_is_scipy_s(sizes):
    generator = np.random.default_rng(sizes)
    first, second = generator.normal(0, 1, sizes[0]), generator.normal(0.5, 3, sizes[1])
    for alpha in (0.05, 0.2):
        expected = stats.ttest_ind(second, first, equal_var=False).confidence_interval(1 - alpha)
        assert welch_interval(first, second, alpha) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_runs_without_spread_leave_the_difference():
    assert welch_interval([1.5, 1.5], [2.0, 2.0, 2.0]) == (0.5, 0.5)
