"""The verdict object: one verdict for all, the worst first, names that tell numbers apart."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings

from convbench.gate.policy import Policy
from convbench.gate.report import Kind, Verdict
from tests.gate.outputs.strategies import reports
from tests.gate.reports import (
    SITUATIONS,
    aggregate,
    bound,
    calibration,
    clean,
    condition,
    judgement,
    layer,
    regressed,
    report,
    several,
)


@pytest.mark.parametrize(
    ("situation", "verdict", "code"),
    [
        ("regressed", Verdict.REGRESSED, 1),
        ("held", Verdict.HELD, 0),
        ("improved", Verdict.IMPROVED, 0),
        ("unpaired", Verdict.SUSPECT, 0),
        ("broken", Verdict.BROKEN, 1),
        ("several", Verdict.REGRESSED, 1),
        ("nothing", Verdict.HELD, 0),
    ],
)
def test_verdict_and_exit_code(situation, verdict, code):
    one = SITUATIONS[situation]()
    assert (one.verdict, one.exit_code, one.passed) == (verdict, code, code == 0)


@given(report=reports)
@settings(max_examples=50)
def test_the_parts_of_a_report_agree(report):
    gated = [check for judgement in report.judgements for check in judgement.checks if check.gated]
    failing = [check for check in gated if check.verdict.value.lower() in report.policy.fail_on]
    assert report.exit_code == bool(failing) == max(one.exit_code for one in report.each)
    assert sum(len(one.failures) for one in report.each) == len(report.failures) == len(failing)
    assert [one.judgements[0] for one in report.each] == list(report.judgements)
    assert (report.worst is None) is (not gated)
    if report.worst is None:
        assert report.verdict is Verdict.HELD
        return
    judgement, check = report.worst
    assert check in judgement.checks
    if failing:
        assert check.verdict is report.verdict is min((c.verdict for c in failing), key=lambda v: v.rank)
    elif report.verdict is not Verdict.HELD:
        assert check.verdict is report.verdict


def test_nan_is_worst_wherever_it_stands():
    broken = aggregate(change=math.nan, verdict=Verdict.BROKEN)
    others = [aggregate(metric=f"m{n}", change=-n / 100, verdict=Verdict.BROKEN) for n in range(5)]
    for place in range(6):
        checks = [*others[:place], broken, *others[place:]]
        ordered = judgement(*checks).worst_first()
        assert ordered[0] is broken
        assert [check.metric for check in ordered[1:]] == ["m4", "m3", "m2", "m1", "m0"]


def test_a_mean_comes_before_what_explains_it():
    checks = (
        condition(change=-0.3, gated=True),
        layer(change=5.0, gated=True),
        bound(change=9.0, verdict=Verdict.REGRESSED),
    )
    one = report(judgement(*checks, aggregate()))
    assert [check.kind for check in one.failures] == [Kind.AGGREGATE, Kind.NETWORK, Kind.CONDITION, Kind.LAYER]
    assert one.worst is not None
    assert one.worst[1].kind is Kind.AGGREGATE


def test_the_worst_of_several_candidates():
    one = several()
    assert one.worst is not None
    assert one.worst[0].candidate.label == "pr-1"
    assert [part.verdict for part in one.each] == [Verdict.REGRESSED, Verdict.HELD, Verdict.IMPROVED]


def test_what_is_not_gated_does_not_fail():
    check = aggregate(gated=False)
    one = report(judgement(check), policy=Policy(fail_on=("regressed",)))
    assert not one.fails(check)
    assert one.passed
    assert one.fails(replace(check, gated=True))


@pytest.mark.parametrize(
    ("check", "name", "place"),
    [
        (clean(), "clean accuracy", "clean"),
        (aggregate(), "mean corrupted accuracy", ""),
        (aggregate(corruption="fog"), "mean corrupted accuracy under fog", "fog@all"),
        (aggregate(severity=5), "mean corrupted accuracy at severity 5", "all@5"),
        (calibration(), "ece", "clean"),
        (calibration(corruption="fog", severity=2), "ece under fog at severity 2", "fog@2"),
        (bound(), "lipschitz upper product", ""),
        (condition("glass_blur", 5), "accuracy under glass_blur at severity 5", "glass_blur@5"),
        (layer("stage1.conv1"), "spectral norm of stage1.conv1", "stage1.conv1"),
        (aggregate(metric="mce:baseline=my_run"), "mce:baseline=my_run", ""),
    ],
)
def test_names(check, name, place):
    assert (check.name, check.place) == (name, place)


def test_kind_metric_and_place_tell_all_numbers_apart():
    checks = regressed(count=300).judgements[0].checks
    assert len({(check.kind, check.metric, check.place) for check in checks}) == len(checks)
    assert len({check.name for check in checks if check.kind is not Kind.FLOOR}) == len(checks) - 1
