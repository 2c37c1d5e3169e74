"""Aggregates over conditions: by hand, and never over fewer conditions than asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.errors import MetricNotDefinedError, NotComparableError
from convbench.metrics.corruption_error import CLEAN, mean_ce, mean_corrupted_accuracy, relative_mce

CONDITIONS = (("fog", 1), ("fog", 2), ("snow", 1), ("snow", 2))
shares = st.floats(0, 1)


@given(st.lists(shares, min_size=4, max_size=4))
def test_mean_error_and_mean_accuracy_sum_to_one(values):
    accuracy = dict(zip(CONDITIONS, values, strict=True))
    total = mean_ce(accuracy, CONDITIONS) + mean_corrupted_accuracy(accuracy, CONDITIONS)
    assert total == pytest.approx(1)
    assert mean_corrupted_accuracy(accuracy, CONDITIONS) == pytest.approx(sum(values) / 4)


@pytest.mark.parametrize("metric", [mean_corrupted_accuracy, mean_ce])
@pytest.mark.parametrize("conditions", [CONDITIONS, ()])
def test_no_mean_over_fewer_conditions(metric, conditions):
    with pytest.raises(NotComparableError):
        metric({("fog", 1): 0.5, ("fog", 2): 0.5, ("snow", 1): 0.5}, conditions)


def test_relative_mce_by_hand():
    network = {CLEAN: 0.9, ("fog", 1): 0.8, ("fog", 2): 0.7, ("snow", 1): 0.6, ("snow", 2): 0.5}
    baseline = {CLEAN: 1.0, ("fog", 1): 0.9, ("fog", 2): 0.7, ("snow", 1): 0.5, ("snow", 2): 0.4}
    # fog loses 0.1 + 0.2 against 0.1 + 0.3, snow 0.3 + 0.4 against 0.5 + 0.6
    assert relative_mce(network, baseline, CONDITIONS) == pytest.approx((0.3 / 0.4 + 0.7 / 1.1) / 2)
    assert relative_mce(baseline, baseline, CONDITIONS) == pytest.approx(1)


def test_relative_mce_needs_every_condition_and_clean():
    whole = {CLEAN: 0.9, **dict.fromkeys(CONDITIONS, 0.5)}
    for condition in whole:
        torn = {key: value for key, value in whole.items() if key != condition}
        with pytest.raises(NotComparableError):
            relative_mce(torn, whole, CONDITIONS)
        with pytest.raises(NotComparableError):
            relative_mce(whole, torn, CONDITIONS)


def test_relative_mce_has_no_value_where_the_baseline_loses_nothing():
    unhurt = {CLEAN: 0.5, **dict.fromkeys(CONDITIONS, 0.5)}
    with pytest.raises(MetricNotDefinedError, match="fog"):
        relative_mce(unhurt, unhurt, CONDITIONS)
