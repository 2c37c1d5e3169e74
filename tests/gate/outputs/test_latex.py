"""The gate table in LaTeX: its numbers, its caption, and that LaTeX can read any report."""

from dataclasses import replace

import pytest

from convbench.gate.outputs.latex import text
from convbench.gate.report import Verdict
from tests.comparison.latex_reader import PDFLATEX, compile_latex, tables
from tests.gate import reports

EVIL = r"a_b&c%d#e$f{g}h~i^j\k<l>m|n" + '"--日本\n\x00é'


def evil():
    clean = replace(reports.clean(), reason=EVIL, verdict=Verdict.BROKEN, metric=EVIL)
    judgement = replace(reports.judgement(clean, notes=(EVIL,)), candidate=reports.side(EVIL))
    return reports.report(judgement, judgement, baseline=reports.side(EVIL), fingerprint={EVIL: EVIL}, version=EVIL)


def test_the_row_of_each_gated_number():
    report = reports.regressed()
    ((about, (headings, *rows)),) = tables(text(report))
    assert headings == ["number", "baseline", "candidate", "change", r"95 \% interval", "margin", "verdict"]
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["mean corrupted accuracy"] == [
        r"$74.02$ \%", r"$73.24$ \%", "$-0.78$ pp", "$[-0.98, -0.57]$", "0.5 pp", r"\textbf{REGRESSED}"
    ]  # fmt: skip
    assert by_name["lipschitz upper product"] == [
        r"$3.10 \times 10^{6}$", r"$3.20 \times 10^{6}$", r"$+3.2$ \%", "--", r"10 \%", "HELD"
    ]  # fmt: skip
    assert by_name["floor of clean accuracy"][3] == r"$[+1.24, \ldots]$"
    assert len(rows) == 5  # conditions and layers are counted below the table
    for said in (
        "REGRESSED",
        r"$\rightarrow$ 73.24",
        "$-$0.78",
        "10,000 images",
        "dataset cifar10",
        "Holm",
        "Bold: fails",
    ):
        assert said in about
    assert "% pr@4d5e6f: 95 conditions: 4 REGRESSED" in text(report)


def test_several_candidates_are_blocks_with_their_names():
    shown = text(reports.several())
    assert shown.count(r"\midrule") == 3
    assert r"\multicolumn{7}{l}{pr-2}" in shown
    tables(shown)


def test_bold_is_what_fails_the_gate():
    report = reports.unpaired()  # a suspicion, which fails nothing by default
    assert r"\textbf" not in text(report)
    strict = replace(report, policy=replace(report.policy, fail_on=("suspect",)))
    assert r"\textbf{SUSPECT}" in text(strict)


@pytest.mark.parametrize("situation", reports.SITUATIONS)
def test_every_situation_is_a_table(situation):
    (_,) = tables(text(reports.SITUATIONS[situation]()))


def test_names_cannot_break_a_table():
    (_,) = tables(text(evil()))


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex here")
def test_pdflatex_sets_it(tmp_path):
    made = "".join(text(situation()) for situation in (*reports.SITUATIONS.values(), evil))
    compile_latex(made, tmp_path)
