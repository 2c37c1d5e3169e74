"""The rules of the verdicts, one by one and as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.gate.policy import Policy
from convbench.gate.report import Verdict
from convbench.gate.verdicts import verdict_of, verdict_of_ratio

DEFAULT, STRICT = Policy(), Policy(strict=True)


def decide(worse, low, high, p=None, *, margin=0.005, policy=DEFAULT, higher_is_better=False):
    """The verdict on a rise of `worse` with the interval [low, high], where lower is better."""
    if higher_is_better:
        worse, low, high = -worse, -high, -low
    interval = None if low is None else (low, high)
    return verdict_of(worse, interval, p, margin=margin, higher_is_better=higher_is_better, policy=policy)[0]


@pytest.mark.parametrize("higher_is_better", [False, True])
@pytest.mark.parametrize(
    ("worse", "low", "high", "p", "expected", "under_strict"),
    [
        # worse by more than the margin: the evidence decides
        (0.0078, 0.0057, 0.0098, None, "REGRESSED", "REGRESSED"),
        (0.0078, 0.0020, 0.0136, None, "REGRESSED", "SUSPECT"),
        (0.0078, -0.002, 0.0176, None, "SUSPECT", "SUSPECT"),
        (0.0078, 0.0057, 0.0098, 0.01, "REGRESSED", "REGRESSED"),
        (0.0078, 0.0057, 0.0098, 0.20, "SUSPECT", "SUSPECT"),  # corrected for many tests: by chance, perhaps
        (0.0050, 0.0001, 0.0099, None, "REGRESSED", "SUSPECT"),  # exactly the margin reaches it
        # less than the margin: what the interval excludes decides
        (0.0049, 0.0040, 0.0058, None, "HELD", "HELD"),
        (0.0013, -0.0019, 0.0045, None, "HELD", "HELD"),
        (0.0000, -0.0100, 0.0100, None, "HELD", "HELD"),
        (0.0000, -0.0101, 0.0101, None, "UNDERPOWERED", "UNDERPOWERED"),
        (-0.002, -0.0300, 0.0260, None, "UNDERPOWERED", "UNDERPOWERED"),
        # better
        (-0.003, -0.0050, -0.001, None, "IMPROVED", "IMPROVED"),
        (-0.003, -0.0050, -0.001, 0.20, "HELD", "HELD"),
        (-0.003, -0.0062, 0.0002, None, "HELD", "HELD"),
    ],
)
def test_the_rules(worse, low, high, p, expected, under_strict, higher_is_better):
    assert decide(worse, low, high, p, higher_is_better=higher_is_better).value == expected
    assert decide(worse, low, high, p, policy=STRICT, higher_is_better=higher_is_better).value == under_strict


def test_a_margin_of_zero_and_none():
    assert decide(0.0, 0.0, 0.0, margin=0.0) is Verdict.HELD
    assert decide(0.001, 0.0001, 0.002, margin=0.0) is Verdict.REGRESSED
    assert decide(0.001, -0.001, 0.003, margin=0.0) is Verdict.SUSPECT
    assert decide(0.5, 0.4, 0.6, margin=None) is Verdict.SUSPECT
    assert decide(0.5, -0.4, 1.6, margin=None) is Verdict.HELD
    assert decide(-0.5, -0.6, -0.4, margin=None) is Verdict.IMPROVED


def test_without_an_interval_nothing_is_certain():
    assert decide(0.02, None, None) is Verdict.SUSPECT
    assert decide(0.001, None, None) is Verdict.UNDERPOWERED
    assert decide(0.02, None, None, margin=None) is Verdict.HELD


numbers = st.floats(-0.1, 0.1)


@given(numbers, st.floats(0, 0.1), st.floats(0, 0.1), st.floats(0, 0.05), st.none() | st.floats(0, 1))
def test_strict_fails_nothing_that_the_default_passes(worse, below, above, margin, p):
    default = decide(worse, worse - below, worse + above, p, margin=margin)
    strict = decide(worse, worse - below, worse + above, p, margin=margin, policy=STRICT)
    assert strict == default or (default, strict) == (Verdict.REGRESSED, Verdict.SUSPECT)
    mirrored = decide(worse, worse - below, worse + above, p, margin=margin, higher_is_better=True)
    assert mirrored == default


@given(st.floats(0, 0.1), st.floats(0, 0.1), st.floats(0.001, 0.05), st.floats(0, 0.05))
def test_a_larger_drop_never_gets_a_better_verdict(worse, more, half, margin):
    """At the same width of the interval."""
    ranks = [decide(w, w - half, w + half, margin=margin).rank for w in (worse, worse + more)]
    assert ranks[1] <= ranks[0]


@pytest.mark.parametrize(
    ("worse", "expected"), [(0.11, "REGRESSED"), (0.1, "HELD"), (-0.1, "HELD"), (-0.11, "IMPROVED")]
)
def test_ratios_of_the_network(worse, expected):
    assert verdict_of_ratio(worse, 0.1).value == expected
    assert verdict_of_ratio(worse, None) is Verdict.HELD
