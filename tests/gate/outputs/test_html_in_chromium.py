"""The HTML report in a real browser: nothing overflows or complains, it sorts, and it can be read in any light.

To look at it yourself: CONVBENCH_PICTURES=folder python -m pytest tests/gate/outputs/test_html_in_chromium.py
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convbench.gate.outputs.html import text
from convbench.gate.report import Kind
from tests.gate import reports
from tests.gate.outputs.chromium import BINARY, browse

pytestmark = pytest.mark.skipif(BINARY is None, reason="no chromium or chromium-browser here")
SITUATIONS = ("regressed", "several", "broken")

# The contrast ratio of WCAG 2.2 (1.4.3) of all words that are shown, the lowest first: at least 4.5 for normal text.
CONTRAST = """
(() => {
  const light = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const solid = (text) => text.startsWith("rgb") && (rgb(text)[3] ?? 1) > 0;
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const words = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!words || element.closest("script, style, title") || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    let behind = element;
    while (behind && !solid(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
    const back = behind ? rgb(getComputedStyle(behind).backgroundColor) : [255, 255, 255];
    const ink = rgb(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [luminance(ink), luminance(back)].sort((x, y) => y - x);
    found.set(`${ink} on ${back}: ${words.slice(0, 30)}`, (a + 0.05) / (b + 0.05));
  }
  return [...found].sort((x, y) => x[1] - y[1]);
})()
"""
CHANGES = "[...document.querySelectorAll('#conditions tbody tr')].map((r) => r.cells[5].textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browse(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    for situation in SITUATIONS:
        (folder / f"{situation}.html").write_text(text(reports.SITUATIONS[situation]()), encoding="utf-8")
    return {situation: folder / f"{situation}.html" for situation in SITUATIONS}


@pytest.mark.parametrize(
    ("situation", "width", "dark"),
    [
        ("regressed", 1280, False),
        ("regressed", 1280, True),
        ("regressed", 360, False),
        ("several", 360, True),
        ("broken", 360, True),
    ],
)
def test_it_fits_is_readable_and_asks_for_nothing(page, files, situation, width, dark):
    page.complaints.clear()
    page.requests.clear()
    page.show(files[situation], width=width, dark=dark)
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    contrasts = page.value(CONTRAST)
    assert len(contrasts) > 50
    assert contrasts[0][1] >= 4.5, contrasts[:5]
    if os.environ.get("CONVBENCH_PICTURES"):
        name = f"{situation}-{width}-{'dark' if dark else 'light'}.png"
        (Path(os.environ["CONVBENCH_PICTURES"]) / name).write_bytes(page.picture(whole=True))
    pixels = np.asarray(Image.open(io.BytesIO(page.picture())).convert("L"))
    assert bool(np.median(pixels) < 60) is dark
    assert not page.complaints
    assert [request for request in page.requests if not request.startswith(("file:", "about:", "data:"))] == []


def test_a_link_can_say_how_a_table_is_sorted(page, files):
    checks = reports.regressed().judgements[0].of_kind(Kind.CONDITION)
    ascending = [round(100 * check.change, 2) for check in sorted(checks, key=lambda check: check.change)]
    for direction, wanted in (("ascending", ascending), ("descending", ascending[::-1])):
        page.show(files["regressed"], width=1280, fragment=f"#sort=conditions.5.{direction}")
        assert [float(shown.replace("−", "-")) for shown in page.value(CHANGES)] == wanted
        assert page.value("document.querySelector('#conditions [aria-sort]').ariaSort") == direction
    page.show(files["regressed"], width=1280, fragment="#sort=conditions.2.ascending")
    verdicts = page.value("[...document.querySelectorAll('#conditions tbody tr')].map((r) => r.cells[2].textContent)")
    assert verdicts == ["REGRESSED"] * 4 + ["SUSPECT"] * 7 + ["HELD"] * 84  # the worst first, not by the alphabet


def test_what_is_unknown_sorts_last_in_both_directions(page, files):
    for direction in ("ascending", "descending"):
        page.show(files["broken"], width=1280, fragment=f"#sort=conditions.3.{direction}")
        names = page.value("[...document.querySelectorAll('#conditions tbody th')].map((cell) => cell.textContent)")
        assert names == ["fog", "snow"]  # the baseline lacks snow


def test_an_address_that_names_nothing_does_nothing(page, files):
    for fragment in ("#sort=nothing.1.ascending", "#sort=conditions.99.ascending", "#sort=gate.0.ascending", "#gate"):
        page.complaints.clear()
        page.show(files["regressed"], width=1280, fragment=fragment)
        assert page.value("document.querySelector('[aria-sort]')") is None
        assert not page.complaints


def test_the_keyboard_reaches_the_headings_and_sorts(page, files):
    page.show(files["regressed"], width=1280)
    page.value("document.querySelector('#conditions th:nth-child(4) button').focus()")
    page.press("Tab")
    focused = "document.activeElement"
    assert page.value(f"{focused}.parentElement.cellIndex") == 4
    assert (
        page.value(f"getComputedStyle({focused}).outlineStyle + getComputedStyle({focused}).outlineWidth") == "solid2px"
    )
    for direction in ("ascending", "descending"):
        page.press("Enter", "\r")
        assert page.value(f"{focused}.parentElement.ariaSort") == direction
        assert page.value("location.hash") == f"#sort=conditions.4.{direction}"


def test_words_and_verdicts_filter(page, files):
    page.show(files["regressed"], width=360)
    section = "document.querySelector('#conditions').closest('details')"
    shown = f"[...{section}.querySelectorAll('tbody tr')].filter((row) => row.checkVisibility()).length"
    enter = f"(words) => {{ const box = {section}.querySelector('input'); box.value = words; " \
            "box.dispatchEvent(new Event('input')); }"  # fmt: skip
    for words, wanted in {"": 95, "FOG": 5, "fog 5": 1, "blur 3": 5, "suspect blur": 5, "nothing": 0}.items():
        page.value(f"({enter})({words!r})")
        assert page.value(shown) == wanted, words
        assert page.value(f"{section}.querySelector('[role=status]').textContent") == f"{wanted} of 95"
    page.value(f"({enter})('')")
    page.value(f"(() => {{ const box = {section}.querySelector('select'); box.value = 'REGRESSED'; "
               "box.dispatchEvent(new Event('change')); })()")  # fmt: skip
    assert page.value(shown) == 4


def test_without_scripts_everything_is_there_and_nothing_is_dead(page, files):
    page.show(files["several"], width=360, script=False)
    assert page.value("[...document.querySelectorAll('tr')].every((row) => row.checkVisibility())")
    assert page.value("document.querySelectorAll('button, input, select').length") == 0
    assert page.value("document.querySelectorAll('#conditions tbody tr').length") == 95 + 19
