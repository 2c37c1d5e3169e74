"""judge on bounds and norms: ratios, margins, and what cannot be."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from convbench.gate.judging import judge
from convbench.gate.policy import Policy
from convbench.gate.report import Kind, Scale, Verdict
from tests.gate.arms import CLEAN, arm, evidence

RIGHT = {CLEAN: np.arange(400) % 5 > 0}
FEW = Policy(resamples=100)
UPPER, LOWER = "lipschitz_upper_product", "lipschitz_lower_jacobian"


def network(upper=100.0, lower=10.0, layers=None, **options):
    return evidence(RIGHT, network={UPPER: upper, LOWER: lower}, layers=layers or {}, **options)


def judged(first, second, policy=FEW):
    report = judge(arm(*first), [arm(*second)], policy)
    return report, {(c.metric, c.layer): c for c in report.judgements[0].checks if c.kind in (Kind.NETWORK, Kind.LAYER)}


@pytest.mark.parametrize(
    ("base", "candidate", "verdict", "reason"),
    [
        (100.0, 109.0, "HELD", ""),
        (100.0, 111.0, "REGRESSED", ""),
        (100.0, 89.0, "IMPROVED", ""),
        (math.inf, math.inf, "HELD", "infinite on both sides"),
        (100.0, math.inf, "REGRESSED", "infinite, finite in the baseline"),
        (math.inf, 100.0, "IMPROVED", "finite, infinite in the baseline"),
        (100.0, math.nan, "BROKEN", "not a number"),
        (math.nan, 100.0, "NEW", "not a number in the baseline"),
        (100.0, 9.0, "BROKEN", "below the lower bound 10 (lipschitz_lower_jacobian)"),
        (100.0, 0.0, "BROKEN", "below the lower bound 10 (lipschitz_lower_jacobian)"),
    ],
)
def test_an_upper_bound(base, candidate, verdict, reason):
    report, checks = judged([network(base)], [network(candidate)])
    check = checks[UPPER, ""]
    assert (check.verdict.value, check.reason, check.gated) == (verdict, reason, True)
    assert check.scale is Scale.RATIO
    assert report.exit_code == (1 if verdict in ("REGRESSED", "BROKEN") else 0)
    if math.isfinite(base) and math.isfinite(candidate) and candidate > 0:
        assert check.change == pytest.approx(candidate / base - 1)
        assert (check.baseline, check.candidate) == (base, candidate)
    else:
        assert check.change is None
    assert (check.low, check.high, check.p) == (None, None, None)


def test_a_lower_bound_is_shown_and_not_gated():
    report, checks = judged([network(lower=10.0)], [network(lower=30.0)])
    assert checks[LOWER, ""].verdict is Verdict.REGRESSED
    assert not checks[LOWER, ""].gated
    assert report.exit_code == 0
    _, checks = judged([network(lower=10.0)], [network(lower=math.inf)])
    assert checks[LOWER, ""].verdict is Verdict.BROKEN  # no search finds an infinite quotient
    _, checks = judged([network(lower=10.0)], [network(lower=0.0)])
    assert (checks[LOWER, ""].verdict, checks[LOWER, ""].reason) == (Verdict.IMPROVED, "no ratio: a number is 0")


def test_layers_are_compared_by_name_and_count_when_asked_for():
    first, second = network(layers={"conv1": 2.0, "conv2": 2.0}), network(layers={"conv1": 3.0, "fc": 1.0})
    report, checks = judged([first], [second])
    verdicts = {layer: check.verdict for (_, layer), check in checks.items() if layer}
    assert verdicts == {"conv1": Verdict.REGRESSED, "conv2": Verdict.MISSING, "fc": Verdict.NEW}
    assert report.exit_code == 0
    asked, _ = judged([first], [second], Policy(resamples=100, gate=("aggregates", "layers")))
    assert {check.layer for check in asked.failures} == {"conv1", "conv2"}
    largest = checks["largest_spectral_norm", ""]
    assert (largest.baseline, largest.candidate, largest.verdict) == (2.0, 3.0, Verdict.REGRESSED)


def test_the_bounds_of_one_layer_must_not_contradict_each_other():
    def bounds(upper, **options):
        one = evidence(RIGHT, network={}, **options)
        row = one.run.rows[0]
        found = {"spectral_norm_lower": 2.0, "spectral_norm_upper": upper}
        rows = [
            replace(row, metric=metric, layer=layer, value=value if layer == "conv1" else 1.0)
            for metric, value in found.items()
            for layer in ("conv1", "conv2")
        ]
        return replace(one, run=replace(one.run, rows=(*one.run.rows, *rows)))

    report, checks = judged([bounds(2.1)], [bounds(1.9)])
    broken = [key for key, check in checks.items() if check.verdict is Verdict.BROKEN]
    assert broken == [("spectral_norm_upper", "conv1")]
    assert report.exit_code == 1  # also where layers are not gated
    report, checks = judged([bounds(2.1)], [bounds(1.9999)])  # rounding
    assert report.exit_code == 0


def test_numbers_without_a_better_end_are_shown_only():
    def rank(value):
        one = evidence(RIGHT, network={})
        return replace(
            one,
            run=replace(
                one.run, rows=(*one.run.rows, replace(one.run.rows[0], metric="stable_rank", layer="fc", value=value))
            ),
        )

    _, checks = judged([rank(3.0)], [rank(9.0)], Policy(resamples=100, gate=("aggregates", "layers")))
    check = checks["stable_rank", "fc"]
    report, _ = judged([rank(3.0)], [rank(math.nan)])
    assert report.exit_code == 0
    assert (check.verdict, check.change, check.margin, check.gated) == (Verdict.HELD, 2.0, None, False)


def test_a_margin_is_relative():
    tight = Policy(resamples=100, margins={"lipschitz_upper": 0.05})
    assert judged([network(100.0)], [network(106.0)], tight)[0].exit_code == 1
    assert judged([network(100.0)], [network(104.0)], tight)[0].exit_code == 0


def test_a_missing_bound_fails():
    report, checks = judged([network()], [evidence(RIGHT, network={})])
    assert checks[UPPER, ""].verdict is Verdict.MISSING
    assert report.exit_code == 1
    assert judged([evidence(RIGHT, network={})], [network()])[0].exit_code == 0


def test_several_runs_have_an_interval_of_the_ratio():
    base, candidate = [100.0, 120.0, 90.0], [210.0, 180.0, 230.0, 205.0]
    _, checks = judged(
        [network(x, seed=i) for i, x in enumerate(base)], [network(x, seed=i) for i, x in enumerate(candidate)]
    )
    check = checks[UPPER, ""]
    expected = stats.ttest_ind(np.log(candidate), np.log(base), equal_var=False).confidence_interval(0.95)
    assert (1 + check.low, 1 + check.high) == pytest.approx((math.exp(expected.low), math.exp(expected.high)))
    assert check.baseline == pytest.approx(np.exp(np.mean(np.log(base))))
    assert check.verdict is Verdict.REGRESSED
    scattered = [100.0, 1000.0, 10.0]
    _, checks = judged([network(x) for x in base], [network(x) for x in scattered])
    assert checks[UPPER, ""].verdict is Verdict.UNDERPOWERED
    _, checks = judged([network(x) for x in base], [network(2 * x) for x in scattered])
    assert checks[UPPER, ""].verdict is Verdict.SUSPECT
