"""The pictures of the HTML report: axes that hold their values, points where they belong, gaps where nothing is."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.gate.outputs.html.arms import Line
from convbench.gate.outputs.html.chart import Axis, Frame, courses, number_axis, share_axis
from convbench.gate.outputs.html.severity_curves import severity_curves
from convbench.gate.outputs.html.spectra import spectra
from convbench.gate.report import Verdict
from tests.gate import reports

FRAME = Frame(left=10, top=0, width=100, height=50, at=range(6))


def check_axis(axis, values):
    ticks = list(axis.ticks)
    assert ticks == sorted(ticks)
    assert 2 <= len(ticks) <= 12
    assert all(-1e-9 <= axis.share(value) <= 1 + 1e-9 for value in values)
    assert axis.share(axis.low) == pytest.approx(0)
    assert axis.share(axis.high) == pytest.approx(1)
    assert len(set(axis.ticks.values())) == len(ticks)  # no two read the same


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_an_axis_of_shares_holds_them_all(values):
    check_axis(share_axis(values), values)


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=20))
def test_an_axis_of_numbers_holds_them_all(values):
    axis = number_axis(values)
    check_axis(axis, values)
    assert axis.log is (max(values) / min(values) > 20)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_an_axis_of_any_numbers_is_linear_and_has_0(values):
    axis = number_axis([0.0, *values])
    check_axis(axis, values)
    assert not axis.log
    assert 0 in [pytest.approx(tick, abs=1e-9) for tick in axis.ticks]


def test_a_logarithmic_axis_has_equal_factors_equally_far():
    axis = number_axis([0.5, 5, 500])
    assert (axis.low, axis.high, axis.log) == (0.1, 1000, True)
    assert [axis.share(10.0**power) for power in range(-1, 4)] == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def line(place, values):
    return Line("arm", place, {at: (value, "") for at, value in values.items()})


def test_points_stand_where_they_belong_and_a_gap_breaks_the_line():
    drawn = courses(FRAME, Axis(0, 1, {}), [line(1, {0: 0.0, 1: 0.5, 3: 1.0, 4: math.nan, 5: 0.5})])
    (path,) = re.findall(r'class="course arm arm-1" d="([^"]*)"', drawn)
    assert path == "M10.0 50.0L30.0 25.0M70.0 0.0M110.0 25.0"
    assert re.findall(r"translate\(([^)]*)\)", drawn) == ["10.0 50.0", "30.0 25.0", "70.0 0.0", "110.0 25.0"]


def test_the_line_of_the_baseline_lies_over_the_others_and_its_markers_below():
    drawn = courses(FRAME, Axis(0, 1, {}), [line(0, {0: 0.5, 1: 0.5}), line(1, {0: 0.5, 1: 0.5})])
    order = re.findall(r'class="(course arm arm-\d|arm arm-\d)"', drawn)
    assert order == ["course arm arm-1", "course arm arm-0", "arm arm-0", "arm arm-1"]


def test_severities_stand_where_their_size_is_and_one_that_nobody_has_is_no_gap():
    checks = [reports.clean(), *(reports.condition("fog", severity) for severity in (1, 5))]
    section = severity_curves(reports.report(reports.judgement(*checks)))
    (path,) = re.findall(r'class="course arm arm-1" d="([^"]*)"', section)
    first, second, third = (float(x) for x in re.findall(r"[ML]([\d.]+)", path))
    assert (path.count("M"), path.count("L")) == (1, 2)
    assert (third - second) == pytest.approx(4 * (second - first), abs=0.3)
    assert [x.partition(">")[2] for x in re.findall(r"tick middle[^>]*>\d", section)] == ["0", "1", "5"]


def test_a_panel_for_each_corruption_with_the_numbers_in_words():
    section = severity_curves(reports.regressed())
    assert section.count("<figure>") == len(reports.CORRUPTIONS)
    assert "pr@4d5e6f: 56.55 % severity 5" in section  # glass_blur: 0.92 - 0.06 * 5 - 0.004 * 3 - 0.0085 * 5
    assert "main@1a2b3c: 91.84 % clean" in section
    assert severity_curves(reports.improved()) == ""


def test_a_layer_that_an_arm_lacks_is_a_gap_and_the_rest_keeps_its_place():
    names = ("network.a", "network.b", "network.c")
    alone = {"candidate": None, "change": None, "verdict": Verdict.MISSING}
    checks = [reports.layer(name) for name in names]
    section = spectra(reports.report(reports.judgement(checks[0], replace(checks[1], **alone), checks[2])))
    (candidate,) = re.findall(r'class="course arm arm-1" d="([^"]*)"', section)
    (baseline,) = re.findall(r'class="course arm arm-0" d="([^"]*)"', section)
    assert (candidate.count("M"), candidate.count("L")) == (2, 0)
    assert (baseline.count("M"), baseline.count("L")) == (1, 2)
    assert re.findall(r">(\w)</text>", section)[-3:] == ["a", "b", "c"]  # without what all names start with
    assert spectra(reports.held()) == ""


def test_layers_without_a_finite_number_make_no_picture():
    for baseline, candidate in ((math.nan, math.inf), (1e308, 5e-324)):
        odd = replace(reports.layer(), baseline=baseline, candidate=candidate, change=None, verdict=Verdict.BROKEN)
        assert spectra(reports.report(reports.judgement(odd))) == ""
