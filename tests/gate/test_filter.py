"""Filters: what an expression chooses, against sets written out; what it refuses, and where."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.errors import ConfigError
from convbench.gate.filter import choose, parse_filter
from convbench.gate.loading import load_arm
from corruptions import GROUPS
from tests.gate.folders import draw_bits, write_folder

NAMES = ("gaussian_noise", "glass_blur", "motion_blur", "fog", "frost", "snow")
ALL = tuple(itertools.product(NAMES, range(1, 6)))


def pairs(names, severities):
    return {(name, severity) for name in names for severity in severities}


EVERY = range(1, 6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", pairs(NAMES, EVERY)),
        ("corruption:fog", pairs(["fog"], EVERY)),
        ("severity:5", pairs(NAMES, [5])),
        ("severity:3-5", pairs(NAMES, [3, 4, 5])),
        ("severity:(1 OR 4-5)", pairs(NAMES, [1, 4, 5])),
        ("corruption:(fog OR frost) severity:5", pairs(["fog", "frost"], [5])),
        ("corruption:(fog OR frost) AND severity:5", pairs(["fog", "frost"], [5])),
        ("-corruption:fog", pairs(set(NAMES) - {"fog"}, EVERY)),
        ("-corruption:fog -severity:1-4", pairs(set(NAMES) - {"fog"}, [5])),
        ("-(corruption:fog OR severity:1)", pairs(set(NAMES) - {"fog"}, [2, 3, 4, 5])),
        ("--corruption:fog", pairs(["fog"], EVERY)),
        ("-" * 5001 + "corruption:fog", pairs(set(NAMES) - {"fog"}, EVERY)),
        ("corruption:fog OR severity:2 corruption:snow", pairs(["fog"], EVERY) | {("snow", 2)}),
        ("(corruption:fog OR severity:2) corruption:snow", {("snow", 2)}),
        ("corruption:*_blur", pairs(["glass_blur", "motion_blur"], EVERY)),
        ("corruption:f*", pairs(["fog", "frost"], EVERY)),
        ("corruption:[fs]?[og]*", pairs(["fog", "frost", "snow"], EVERY)),
        ("corruption:*", pairs(NAMES, EVERY)),
        ("severity:*", pairs(NAMES, EVERY)),
        ("corruption:gaussian", pairs(["gaussian_noise"], EVERY)),
        ("corruption:Fog", pairs(["fog"], EVERY)),
        ("corruption:blur", pairs([name for name in NAMES if name in GROUPS["blur"]], EVERY)),
        ('corruption:"fog"  severity : 1', {("fog", 1)}),
        ("corruption:common", pairs(NAMES, EVERY)),
    ],
)
def test_what_is_chosen(text, expected):
    assert set(parse_filter(text).choose(ALL)) == expected


@pytest.mark.parametrize(
    ("text", "character", "why"),
    [
        ("corruption:(fog OR frost", 12, "this parenthesis is not closed"),
        ("corruption:fog)", 15, "')' is one too many"),
        ("corruption:", 12, "expected a value of corruption"),
        ("corruption fog", 12, "expected a colon after corruption"),
        ("fog", 1, "unknown key 'fog', choose from corruption, severity"),
        ("corrution:fog", 1, "unknown key 'corrution', did you mean 'corruption'"),
        ("corruption:fog OR", 18, "expected key:value"),
        ("OR corruption:fog", 1, "expected key:value"),
        ("corruption:fog AND OR", 20, "expected key:value"),
        ("corruption:()", 13, "expected a value"),
        ("corruption:(fog snow)", 12, "not closed"),
        ("severity:hard", 10, "got 'hard'"),
        ("severity:5-3", 10, "got '5-3'"),
        ("severity:-3", 10, "expected a value of severity"),
        ('corruption:"fog', 12, "quotation mark is not closed"),
        ("-", 2, "expected key:value"),
        ("(", 2, "expected key:value"),
        (":", 1, "expected key:value"),
        ("(" * 60 + "severity:1" + ")" * 60, 51, "more than 50 parentheses"),
    ],
)
def test_an_expression_that_is_none_is_refused_with_its_place(text, character, why):
    with pytest.raises(ConfigError) as caught:
        parse_filter(text)
    assert f"character {character}: " in str(caught.value), caught.value
    assert why in str(caught.value), caught.value


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("corruption:forst", "corruption:forst"),
        ("corruption:(fog OR forst)", "corruption:forst"),
        ("-corruption:fgo", "corruption:fgo"),
        ("severity:7", "severity:7"),
        ("corruption:digital", "corruption:digital"),
        ("corruption:fog corruption:snow", "'corruption:fog corruption:snow' matches"),
        ("corruption:none", "corruption:none"),
        ("-severity:1-5", "'-severity:1-5' matches"),
    ],
)
def test_what_matches_nothing_is_refused(text, word):
    with pytest.raises(ConfigError) as caught:
        parse_filter(text).choose(ALL)
    assert f"{word}" in str(caught.value)
    assert "matches no condition; there are corruptions fog, frost, gaussian_noise" in str(caught.value)


@given(st.text(alphabet='corruption:severityfog123-*()" ORAND', max_size=30))
def test_any_text_is_an_expression_or_one_line(text):
    chosen: tuple[tuple[str, int], ...] = ()
    message = "--filter"
    try:
        chosen = parse_filter(text).choose(ALL)
    except ConfigError as error:
        message = str(error)
    assert "--filter" in message
    assert "\n" not in message
    assert set(chosen) <= set(ALL)


def test_clean_and_network_numbers_stay(tmp_path):
    arms = [load_arm(str(write_folder(tmp_path / name, draw_bits()))) for name in ("a", "b")]
    for arm in choose(arms, parse_filter("corruption:fog severity:3")):
        (evidence,) = arm.evidence
        assert set(evidence.correct) == {("none", 0), ("fog", 3)}
        rows = evidence.run.rows
        assert {(row.corruption, row.severity) for row in rows} == {("none", 0), ("fog", 3)}
        assert {row.metric for row in rows} >= {"accuracy", "lipschitz_upper_product", "spectral_norm"}
    assert choose(arms, parse_filter("")) == tuple(arms)


def test_a_condition_of_one_side_can_be_chosen(tmp_path):
    """What the candidate lacks must be found MISSING, not be an error of the filter."""
    both = [("a", draw_bits()), ("b", draw_bits(conditions=[("fog", 1)]))]
    arms = [load_arm(str(write_folder(tmp_path / name, bits))) for name, bits in both]
    first, second = choose(arms, parse_filter("corruption:snow"))
    assert set(first.evidence[0].correct) == {("none", 0), ("snow", 1), ("snow", 3)}
    assert set(second.evidence[0].correct) == {("none", 0)}
