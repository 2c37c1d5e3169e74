"""How single numbers and names read."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.gate.outputs import sentences, wording
from convbench.gate.policy import Policy
from convbench.gate.report import Kind, Scale, Verdict
from tests.gate.outputs.strategies import SPECIAL, checks
from tests.gate.reports import (
    SITUATIONS,
    aggregate,
    bound,
    calibration,
    clean,
    condition,
    judgement,
    regressed,
    report,
    several,
)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (aggregate(), "74.02 -> 73.24 (-0.78 [-0.98, -0.57] pp, margin 0.5)"),
        (aggregate(n=360), "74.0 -> 73.2 (-0.8 [-1.0, -0.6] pp, margin 0.5)"),
        (calibration(), "0.031 -> 0.033 (+0.002 [-0.001, +0.005], margin 0.01)"),
        (bound(), "3.10e6 -> 3.20e6 (+3.2 %, margin 10 %)"),
        (bound(low=0.01, high=0.054), "3.10e6 -> 3.20e6 (+3.2 [+1.0, +5.4] %, margin 10 %)"),
        (aggregate(high=None), "74.02 -> 73.24 (-0.78 [-0.98, ...] pp, margin 0.5)"),
        (aggregate(change=0.0, low=-0.00001, high=0.00001), "74.02 -> 73.24 (0.00 [0.00, 0.00] pp, margin 0.5)"),
        (aggregate(margin=None), "74.02 -> 73.24 (-0.78 [-0.98, -0.57] pp)"),
        (aggregate(candidate=math.nan, change=math.nan, reason="NaN"), "74.02 -> NaN; NaN"),
        (aggregate(candidate=None, change=None), "74.02 -> none"),
        (bound(candidate=math.inf, change=math.inf), "3.10e6 -> inf (+inf %, margin 10 %)"),
        (
            clean(kind=Kind.FLOOR, baseline=0.9, candidate=0.88, change=-0.02, low=-0.0253, high=None, margin=None),
            "at least 90.00, found 88.00 (-2.00 [-2.53, ...] pp)",
        ),
    ],
)
def test_details(check, words):
    assert wording.details(check) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0.0, "0"), (-0.0, "0"), (0.00123, "0.0012"), (0.0312, "0.031"), (0.314, "0.314"), (2.718, "2.72"),
        (27.18, "27.2"), (271.8, "272"), (2718.3, "2718"), (27183.0, "2.72e4"), (1e-9, "1.00e-9"), (-2.5, "-2.50"),
        (math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "NaN"), (1e300, "1.00e300"),
    ],
)  # fmt: skip
def test_plain_numbers(number, words):
    assert wording.value(calibration(), number) == words


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (None, "-"), (0.0, "<1e-99"), (1e-300, "<1e-99"), (1.2e-17, "1e-17"), (0.00099, "1e-3"), (0.0032, "0.0032"),
        (0.43, "0.43"), (1.0, "1"), (math.nan, "nan"),
    ],
)  # fmt: skip
def test_p_values(p, words):
    assert wording.p_value(aggregate(p=p)) == words
    assert wording.p_value(aggregate(p=0.5, p_adjusted=p)) == (words if p is not None else "0.5")


@pytest.mark.parametrize("margin", [0.001, 0.003, 0.005, 0.01, 0.3, 1.5])
def test_a_margin_reads_as_it_was_given(margin):
    assert float(wording.margin(aggregate(margin=margin))) == pytest.approx(100 * margin, rel=1e-12)
    assert wording.margin(calibration(margin=margin)) == repr(margin).removesuffix(".0")
    assert wording.margin(bound(margin=margin)).endswith(" %")


@given(check=checks)
def test_every_number_is_short(check):
    cells = [
        wording.value(check, check.baseline), wording.change(check), wording.interval(check), wording.margin(check),
        wording.p_value(check),
    ]  # fmt: skip
    assert all(len(cell) <= 24 and cell.isascii() and cell.isprintable() for cell in cells)


@given(number=st.floats(-1, 1), scale=st.sampled_from(list(Scale)))
def test_a_change_says_its_direction(number, scale):
    words = wording.change(aggregate(change=number, scale=scale, baseline=0.5, candidate=0.5 + number))
    assert words[0] in "+-0"
    assert abs(float(words) - number * (1 if scale is Scale.PLAIN else 100)) <= 0.0501
    if words[0] == "0":
        assert not float(words)


@pytest.mark.parametrize("name", SPECIAL)
def test_one_line_can_be_printed_and_encoded(name):
    line = wording.one_line(f"a{name}b")
    assert len(line.splitlines()) == 1
    assert len(line) <= 300
    assert line.encode().decode() == line
    assert not any(ord(character) < 32 for character in line)


def test_headlines():
    words = {situation: sentences.headline(make()) for situation, make in SITUATIONS.items()}
    assert words["held"] == "HELD: no gated number of 3 is worse by more than its margin"
    assert words["improved"].startswith("IMPROVED: mean corrupted accuracy 74.02 -> 74.89 (+0.87")
    assert words["broken"] == "BROKEN: lipschitz upper product 3.10e6 -> NaN; NaN in the candidate, and 1 more"
    assert words["several"].startswith("REGRESSED: mean corrupted accuracy of pr-1 74.02 -> 73.24")
    assert words["nothing"] == "HELD: nothing is gated"
    missing = replace(condition("fog", 3), candidate=None, change=None, gated=True, verdict=Verdict.MISSING)
    assert sentences.headline(report(judgement(missing))) == (
        "MISSING: accuracy under fog at severity 3: the baseline has it, the candidate has not"
    )


def test_the_best_improvement_is_named():
    better = aggregate(metric="a", change=0.01, verdict=Verdict.IMPROVED), aggregate(metric="b", change=0.02)
    one = report(judgement(better[0]), judgement(*better[1:], label="x"), policy=Policy(fail_on=()))
    assert "REGRESSED" not in sentences.headline(one)
    assert sentences.headline(one).startswith("IMPROVED: a ")


def test_the_smallest_visible_change():
    assert sentences.detectable(regressed().judgements[0]) == (
        "Smallest change for the worse that these images would show (80 % power): "
        "0.46 pp of clean accuracy, 0.3 pp of mean corrupted accuracy, 1.05 pp in one condition."
    )
    two = judgement(condition("fog", 1, detectable=0.02), condition("fog", 2, detectable=0.01))
    assert sentences.detectable(two).endswith("(80 % power): 1 to 2 pp in one condition.")
    assert sentences.detectable(judgement(bound())) == ""


def test_the_setting():
    one = several()
    assert sentences.setting(one, one.judgements[0]) == "paired, 10,000 images, 19 corruptions, 95 conditions"
    seeds = judgement(aggregate(), bound(n=64), condition(n=500), paired=False)
    assert sentences.setting(report(seeds), seeds) == "unpaired, 500 to 10,000 images, 1 corruption, 1 condition"


def test_rules_name_what_is_special():
    plain = sentences.rules(regressed())
    strict = report(policy=Policy(strict=True, filter="severity:5", correction="bh", alpha=0.01, fail_on=()))
    assert "strict" not in plain
    assert "level 95 %; Holm over conditions" in plain
    assert "level 99 %; Benjamini-Hochberg over conditions" in sentences.rules(strict)
    assert "fails on nothing; strict; only severity:5;" in sentences.rules(strict)
