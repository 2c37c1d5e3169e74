"""The LaTeX tables of a comparison: what is bold, what they say, and that LaTeX can read any name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.comparison import compare
from convbench.comparison.latex import escape, latex_text, mathematics, number
from tests.comparison.latex_reader import PDFLATEX, check_words, compile_latex, tables

NORMS = ("none", "bn", "convnorm", "mixture")
EVIL = r"a_b&c%d#e$f{g}h~i^j\k<l>m|n" + '"--日本\n\x00é'


def of_column(rows, heading):
    """Group -> its cell in a column."""
    (place,) = (place for place, name in enumerate(rows[0]) if name == heading)
    return {row[0]: row[place] for row in rows[1:]}


def test_bold_are_the_groups_that_may_be_the_best(make_run):
    ((about, rows), (network, of_network)) = tables(
        latex_text(compare([make_run(norm, seed) for norm in NORMS for seed in (0, 1, 2)]))
    )
    assert of_column(rows, r"corrupted (\%)") == {
        "bn": r"$75.6 \pm 0.6$",
        "none": r"$72.6 \pm 0.6$",
        "convnorm": r"$\mathbf{77.6} \pm 0.6$",
        "mixture": r"$\mathbf{76.6} \pm 0.6$",
    }
    assert of_column(rows, "rank") == {"bn": "2--3", "none": "4", "convnorm": "1--2", "mixture": "1--3"}
    assert of_column(of_network, r"Lipschitz $\leq$")["none"] == r"$\mathbf{3.10 \times 10^{6}} \pm 2 \times 10^{4}$"
    assert of_column(of_network, r"$\sigma$ composed")["mixture"] == "n/a"
    for said in (
        "digits; test split; 360 images a condition",
        r"95 \%",
        r"Mean $\pm$ sample standard deviation",
        "Bold",
    ):
        assert said in about
    assert r"Table~\ref{tab:convbench}" in network.replace(" ", " ") or r"\ref{tab:convbench}" in network


def test_bold_is_nothing_without_evidence_and_nothing_where_all_are_tied(make_run):
    assert r"\mathbf" not in latex_text(compare([make_run(norm) for norm in NORMS]))
    tied = [make_run(norm, seed, clean=0.97) for norm in ("a", "b") for seed in (0, 1, 2)]
    text = latex_text(compare(tied))
    assert r"\mathbf" not in text
    assert "1--2" in text


def test_a_number_that_some_runs_lack_says_so_and_is_not_bold(make_run):
    runs = [make_run("bn", seed) for seed in (0, 1)] + [make_run("bn", 2, corruptions=["fog"]), make_run("none")]
    ((_, rows), _) = tables(latex_text(compare(runs)))
    assert of_column(rows, r"corrupted (\%)") == {"bn": "$75.3$ (2/3)", "none": "$72.0$"}


def test_settings_are_columns_and_a_rule_parts_them(make_run):
    runs = [
        make_run(norm, seed, label_noise_rate=rate, run_id=f"{norm}{rate}{seed}")
        for norm in NORMS[:2] for rate in (0.0, 0.4) for seed in (0, 1, 2)
    ]  # fmt: skip
    text = latex_text(compare(runs))
    ((_, rows), _) = tables(text)
    assert rows[0][:3] == ["norm", "label noise rate", "rank"]
    assert [row[:2] for row in rows[1:]] == [["bn", "0"], ["none", "0"], ["bn", "0.4"], ["none", "0.4"]]
    assert text.count(r"\midrule") == 4  # two blocks in two tables


def test_aggregates_have_a_table(make_run):
    comparison = compare([make_run("bn"), make_run("none")], metrics=["mean_ce:severity=5", "mce"])
    *_, (about, rows) = tables(latex_text(comparison))
    assert rows[0] == ["norm", "runs", r"mean\_ce:severity=5 (\%)", r"mce:baseline=bn (\%)"]
    assert about.startswith("Means over conditions.")


@given(st.text())
def test_any_text_can_be_set(text):
    check_words(escape(text))


@given(st.text(st.sampled_from("-_%&#{}$\\~^<>|abc\n ")))
def test_any_text_of_special_characters_can_be_set(text):
    shown = escape(text)
    check_words(shown)
    assert "--" not in shown  # no ligature to a dash


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("3.20e6", r"3.20 \times 10^{6}"),
        ("1.5e-7", r"1.5 \times 10^{-7}"),
        ("inf", r"\infty"),
        ("-inf", r"-\infty"),
        ("NaN", r"\mathrm{NaN}"),
        ("[+1.24, ...]", r"[+1.24, \ldots]"),
        ("−0.78", "-0.78"),
    ],
)
def test_mathematics(text, shown):
    assert mathematics(text) == shown
    check_words(f"${shown}$")


def test_a_number_may_be_bold_and_have_a_spread():
    assert number("97.5") == "$97.5$"
    assert number("97.5", "0.2", bold=True) == r"$\mathbf{97.5} \pm 0.2$"


def nasty(make_run):
    return compare([make_run(norm, seed, dataset=f"{EVIL}{EVIL}") for norm in (EVIL, "bn") for seed in (0, 1, 2)])


def test_names_cannot_break_a_table(make_run):
    ((about, rows), _) = tables(latex_text(nasty(make_run)))
    assert escape(EVIL) in about
    assert escape(EVIL) in of_column(rows, "rank")


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex here")
def test_pdflatex_sets_it(make_run, tmp_path):
    comparison = compare([make_run(n, s) for n in NORMS for s in (0, 1, 2)], metrics=["mce", "mean_ce:severity=5"])
    log = compile_latex(latex_text(comparison) + latex_text(nasty(make_run)), tmp_path)
    assert "Overfull" not in log  # no table is wider than the text
