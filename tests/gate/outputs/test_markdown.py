"""Markdown as its reader sees it, with names that Markdown could misread, and within its limit."""

import re
from dataclasses import replace

import pytest

from convbench.gate.outputs import github, markdown, sentences
from convbench.gate.outputs.wording import one_line
from convbench.gate.report import Verdict
from tests.gate.outputs.reading import page
from tests.gate.outputs.strategies import SPECIAL
from tests.gate.reports import aggregate, condition, judgement, layer, regressed, report, several, side

NASTY = [f"{first}x{second}" for first, second in zip(SPECIAL, SPECIAL[1:] + SPECIAL[:1], strict=True)] + list(SPECIAL)


def test_names_come_out_as_they_went_in():
    labels = [f"pr {name}" for name in NASTY]
    checks = [condition(name, 3) for name in NASTY]
    shown = page(markdown.text(report(judgement(aggregate(), *checks, label=labels[0]), baseline=side(labels[1]))))
    assert shown.codes[:2] == [one_line(labels[1], 60), one_line(labels[0], 60)]
    gate, conditions = shown.tables
    assert sorted(row[0] for row in conditions[1:]) == sorted(one_line(check.place) for check in checks)
    assert len(gate) == 2


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_no_syntax_in_heading_note_and_reason(name):
    checks = aggregate(metric=f"m{name}", reason=f"because {name}"), aggregate(reason=f"and {name}")
    one = report(judgement(*checks, notes=(f"note {name}.",)), fingerprint={f"key {name}": name})
    shown = page(markdown.text(one))
    assert shown.headings == [f"convbench: {sentences.headline(one)}"]
    reasons = [one_line(words).strip() for words in (f"because {name}", f"and {name}")]
    assert [row[-1] for row in shown.tables[0][1:]] == [f"REGRESSED: {reason}" for reason in reasons]
    assert one_line(f"note {name}.") in shown.text
    assert not shown.tags & {"b", "del", "em", "a", "img", "h1", "h2"}


def test_nobody_is_mentioned():
    text = markdown.text(report(judgement(aggregate(reason="ask @torvalds"), notes=("see @torvalds, main@1a2b",))))
    assert "@torvalds" not in text
    assert "ask @torvalds" in page(text).text
    assert "main@1a2b" in text, "an at sign within a word mentions nobody"


def test_what_fails_the_gate_is_bold_and_what_is_not_gated_says_so():
    checks = aggregate(), aggregate(metric="ece", gated=False), aggregate(metric="nll", verdict=Verdict.SUSPECT)
    lines = markdown.text(report(judgement(*checks))).splitlines()
    cells = [line.split("|")[-2].strip() for line in lines if re.match(r"\| (mean|ece|nll)", line)]
    assert cells == ["**REGRESSED**", "SUSPECT", "REGRESSED, not gated"]


def test_candidates_stand_the_worst_first():
    shown = page(markdown.text(several()))
    assert [heading.split(": ")[1] for heading in shown.headings[1:]] == ["REGRESSED", "HELD", "IMPROVED"]
    reverse = replace(several(), judgements=several().judgements[::-1])
    assert page(markdown.text(reverse)).headings == shown.headings


@pytest.mark.parametrize("limit", [65_000, 20_000, 5_000, 2_500])
def test_conditions_are_left_out_first_and_counted(limit):
    whole, shown = (page(markdown.text(regressed(), limit=size)) for size in (10**9, limit))
    assert len(markdown.text(regressed(), limit=limit).encode()) <= limit
    assert shown.tables[0] == whole.tables[0], "the gate table stays"
    found = {header[0]: rows for header, *rows in shown.tables}
    of_all = {header[0]: rows for header, *rows in whole.tables}
    for name, what in (("condition", "conditions"), ("layer", "numbers of layers")):
        kept = found.get(name, [])
        assert kept == of_all[name][: len(kept)], "the worst are kept"
        left_out = re.search(rf"\.\.\. left out [a-z ]+: ([\d,]+) of {len(of_all[name])} {what}", shown.text)
        assert len(kept) + int(left_out[1] if left_out else 0) == len(of_all[name])
    if len(found.get("layer", [])) < len(of_all["layer"]):
        assert "condition" not in found


def test_many_candidates_are_cut_to_the_worst():
    good = judgement(aggregate(verdict=Verdict.HELD), *(condition(f"c{n}", 1, change=0.0) for n in range(50)))
    many = report(*[good] * 300, judgement(aggregate(), label="the bad one"))
    text = markdown.text(many)
    shown = page(text)
    assert len(text.encode()) <= markdown.LIMIT
    assert "the bad one" in shown.headings[1]
    left_out = re.search(r"\.\.\. left out: ([\d,]+) of 301 candidates", shown.text)
    assert left_out
    assert int(left_out[1]) + len(shown.headings) - 1 == 301


def test_too_little_space_for_the_verdict_is_no_text():
    assert markdown.text(regressed(), limit=50) == ""
    shortest = markdown.text(regressed(), limit=250)
    assert shortest.startswith("### convbench: REGRESSED")
    assert "left out: 1 of 1 candidates" in shortest


def test_ten_thousand_conditions():
    big = regressed(count=10_000)
    text = markdown.text(big)
    assert 0.95 * markdown.LIMIT < len(text.encode()) <= markdown.LIMIT, "the space is used"
    assert "10,000 conditions" in text
    page(text)
    assert "left out" not in markdown.text(big, limit=github.SUMMARY_LIMIT)


def test_layers_have_a_table_of_their_own():
    shown = page(markdown.text(report(judgement(layer("a|b", change=0.2), layer("c")))))
    (table,) = shown.tables
    assert [row[0] for row in table] == ["layer", "spectral_norm a|b", "spectral_norm c"]
    assert table[0][3] == "change, %"
