"""The terminal's text: 80 columns, colours only where asked, every character showable. Golden files hold the layout.

After a wanted change of the layout, write the golden files again with
    CONVBENCH_WRITE_GOLDEN=1 python -m pytest tests/gate/outputs/test_terminal.py
and read the difference.
"""

import os
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from convbench.gate.outputs.terminal import text
from convbench.gate.report import Verdict
from tests.gate.reports import SITUATIONS, aggregate, bound, calibration, condition, judgement, regressed, report

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("situation", SITUATIONS)
def test_golden(situation):
    path = GOLDEN / f"{situation}.txt"
    shown = text(SITUATIONS[situation]())
    if os.environ.get("CONVBENCH_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown)
    assert shown == path.read_text()


def first_line(words: str) -> str:
    return words.split("\n")[0]


def test_the_first_line_is_the_verdict_and_says_unpaired():
    shown = text(regressed())
    assert shown.startswith("REGRESSED: mean corrupted accuracy 74.02 -> 73.24 (-0.78 [-0.98, -0.57] pp,\nmargin 0.5).")
    assert first_line(text(SITUATIONS["unpaired"]())).startswith("SUSPECT (unpaired: weaker): ")
    assert "unpaired" not in shown


def test_held_is_a_tilde_as_in_benchstat():
    lines = text(regressed()).splitlines()
    assert next(line for line in lines if line.startswith("clean accuracy")).endswith("  ~")
    assert not any(line.endswith("HELD") for line in lines)


def test_what_is_not_gated_stands_in_brackets():
    shown = text(report(judgement(aggregate(gated=False), bound(gated=False))))
    assert "(REGRESSED)" in shown
    assert "( ): not gated" in shown
    assert "(~)" not in shown
    assert "not gated" not in text(report(judgement(aggregate(), bound(gated=False))))


def test_what_was_not_judged_is_no_tilde():
    nll = calibration(metric="nll", margin=None, gated=False, change=0.4, candidate=0.431)
    (line,) = [line for line in text(report(judgement(aggregate(), nll))).splitlines() if line.startswith("nll")]
    assert line.split()[-2:] == ["-", "-"]


def test_at_most_a_dozen_conditions_the_worst_first():
    many = [condition(f"c{place}", 1, change=-0.02 - place / 1000) for place in range(30)]
    shown = re.findall(r"^c(\d+)@1", text(report(judgement(*many))), re.MULTILINE)
    assert shown == [str(place) for place in range(29, 17, -1)]


def test_colours_only_where_asked(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, styled = text(regressed()), text(regressed(), styled=True, encoding="utf-8")
    assert "\x1b" not in plain
    assert "\x1b[1;31mREGRESSED" in styled
    bare = re.sub(r"\x1b\[[0-9;]*m", "", styled)
    assert [line.rstrip() for line in bare.replace("─", "-").split("\n")] == plain.split("\n")
    assert "─" not in text(regressed(), styled=True, encoding="cp1252")


def test_names_that_the_terminal_cannot_show():
    one = report(judgement(aggregate(), label="modèle-漢"))
    assert "modèle-漢" in text(one, encoding="utf-8")
    assert "modèle-\\u6f22" in text(one, encoding="latin-1")
    assert "mod\\xe8le-\\u6f22" in text(one)
    assert "conditions, \\xe9" in text(report(judgement(condition(metric="é"))))


def test_markup_and_terminal_codes_of_names_do_nothing():
    shown = text(report(judgement(aggregate(metric="[red]x[/red]\x1b[2J"), label="[bold]:smile:")), styled=True)
    assert "[red]x[/red]?[2J" in shown
    assert "[bold]:smile:" in shown


@pytest.mark.parametrize("width", [20, 40, 79, 80, 200])
def test_no_line_is_wider_than_the_terminal(width):
    names = ["漢字" * 30, "a" * 200, "a b " * 30]
    checks = [aggregate(metric=name, reason=name) for name in names] + [condition(name) for name in names]
    for one in (report(judgement(*checks, label=names[0], notes=tuple(names))), regressed()):
        shown = text(one, width=width, encoding="utf-8")
        assert max(map(cell_len, shown.split("\n"))) <= min(width, 80)


def test_numbers_do_not_fold_at_80_columns():
    wide = aggregate(
        baseline=0.5, candidate=0.3, change=-0.2, low=-0.2134, high=-0.1834, verdict=Verdict.UNDERPOWERED, gated=False
    )
    shown = text(report(judgement(wide, bound(baseline=1.234e-12, candidate=3.456e-12, change=1.8))))
    assert "50.00 -> 30.00  -20.00 [-21.34, -18.34]" in shown
    assert "1.23e-12 -> 3.46e-12" in shown
    assert "(UNDERPOWERED)" in shown
