"""The HTML report as text: what it says, that it is well formed, small, alone, and that no name becomes markup."""

import base64
import hashlib
import math
import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.gate.outputs.html import text
from convbench.gate.outputs.html.background import MEANINGS
from convbench.gate.outputs.html.heat_map import STEPS, depth
from convbench.gate.outputs.html.interval_plot import interval_plot, reach_of
from convbench.gate.outputs.html.markup import element, escaped
from convbench.gate.outputs.typography import typeset
from convbench.gate.report import Verdict
from tests.gate import reports

HIDDEN = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff"
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"


class Tree(HTMLParser):
    """The page as a reader's browser would nest it; an end tag that doesn't fit is an error."""

    EMPTY = ("meta", "link", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.mark.parametrize("situation", reports.SITUATIONS)
def test_every_situation_gives_a_well_formed_page(situation):
    report = reports.SITUATIONS[situation]()
    tree = Tree(text(report))
    words = " ".join(tree.words)
    assert f"Gate {'passed' if report.passed else 'failed'}" in words
    assert report.verdict.value in words
    assert tree.count("h1") == tree.count("main") == 1
    assert all(label in words for label in ("How to read it", report.baseline.label))
    assert all(attributes.get("scope") or attributes.get("aria-label") for tag, attributes in tree.tags if tag == "th")
    assert tree.count("caption") == tree.count("table")
    # Each picture says in words what it shows.
    pictures = [
        at for at, (tag, attributes) in enumerate(tree.tags) if tag == "svg" and "aria-hidden" not in attributes
    ]
    assert all(tree.tags[at + 1][0] == "title" and tree.tags[at][1]["role"] == "img" for at in pictures)
    ids = [attributes["id"] for _, attributes in tree.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in tree.tags if tag == "a"]
    assert links == [f"#{name}" for name in ids if name not in ("conditions", "layer-table")]  # each section, in order


def test_the_page_holds_every_number_of_the_report():
    report = reports.regressed()
    words = Tree(text(report)).words
    for shown in ("74.02 %", "73.24 %", "−0.78 pp", "[−0.98, −0.57]", "0.5 pp", "3.10e6", "+3.2 %", "10 %", "+0.002"):
        assert shown in words
    assert words.count("glass_blur") == 5  # rows of the table of conditions
    assert words.count("glass blur") == 2  # a panel and a row of the heat map
    assert {"mean corrupted accuracy", "One run an arm: images only; says nothing about retraining noise."} <= set(
        words
    )


def test_no_name_becomes_markup():
    check = replace(reports.condition(), corruption=EVIL, method=EVIL, reason=EVIL)
    layer = replace(reports.layer(), layer=EVIL, metric=EVIL)
    clean = replace(reports.clean(), reason=EVIL, verdict=Verdict.BROKEN)
    side = replace(reports.side(EVIL), run_ids=(EVIL,), facts={EVIL: EVIL}, record={EVIL: {EVIL: [EVIL]}})
    judgement = reports.judgement(clean, check, layer, notes=(EVIL,))
    report = reports.report(replace(judgement, candidate=side), baseline=side, fingerprint={EVIL: EVIL}, version=EVIL)
    tree = Tree(text(report))
    assert tree.count("script") == 1  # our own
    assert tree.count("img") == 0
    assert not [name for _, attributes in tree.tags for name in attributes if name.startswith("on")]
    assert any(EVIL in words for words in tree.words)


def test_the_page_is_alone():
    page = text(reports.several())
    assert not re.search(r"https?:|url\(|@import|<iframe|<img|\bsrc=|fetch\(|XMLHttp|eval\(|innerHTML", page)
    assert [value for value in re.findall(r'href="([^"]*)"', page) if value != "data:," and value[0] != "#"] == []
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src &#x27;none&#x27;" in policy
    for tag in ("style", "script"):
        (source,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        assert base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() in policy
    assert "style=" not in page  # the policy forbids it


def test_95_conditions_of_5_candidates_stay_below_a_megabyte_and_a_half():
    one = reports.regressed().judgements[0]
    arms = [replace(one, candidate=reports.side(f"cifar10-resnet20-convnorm-s{seed}-0badcafe")) for seed in range(5)]
    assert len(text(reports.report(*arms)).encode()) < 1_500_000


def test_a_note_on_all_candidates_is_said_once_and_of_one_by_its_name():
    checks = [reports.clean()]
    both = [reports.judgement(*checks, label=f"pr-{i}", notes=("of all", f"of {i}")) for i in (1, 2)]
    words = "".join(Tree(text(reports.report(*both))).words)
    assert words.count("of all") == 1
    assert "pr-1: of 1" in words
    assert "pr-2: of 2" in words


def test_equal_reports_give_equal_pages():
    assert text(reports.several()) == text(reports.several())


def test_every_verdict_is_explained():
    assert list(MEANINGS) == list(Verdict)


@given(st.floats(-30, 30))
def test_the_colour_of_a_change_is_odd_and_its_steps_are_the_legends(points):
    assert depth(-points) == -depth(points)
    assert abs(depth(points)) == sum(abs(points) >= step for step in STEPS)
    assert (depth(points) > 0) is (points >= STEPS[0])


@pytest.mark.parametrize(
    ("plain", "set_"),
    [
        ("-0.78 [-0.98, -0.57] pp", "−0.78 [−0.98, −0.57] pp"),
        ("74.02 -> 73.24 (-0.78)", "74.02 → 73.24 (−0.78)"),
        ("1e-17", "1e-17"),
        ("severity 1-5, sha-1", "severity 1-5, sha-1"),
        ("72.80 -> -", "72.80 → –"),
        ("-", "–"),
        ("-inf", "-inf"),
    ],
)
def test_typeset(plain, set_):
    assert typeset(plain) == set_


@given(st.text(st.characters(exclude_characters="\r")))  # a carriage return is a line end to an HTML parser
def test_markup_escapes_text_and_attributes_and_keeps_what_is_markup(words):
    made = element("p", words, title=words)
    read = HTMLParserOf(made)
    assert read.title == read.text == escaped_back(words)
    assert escaped(made) is made
    assert "<p" not in element("b", words)[3:]


def escaped_back(words):
    """What a reader sees of `words`."""
    return "".join(
        "\ufffd" if (unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\r") or c in HIDDEN else c for c in words
    )


def test_a_name_that_no_file_can_hold_is_shown_as_far_as_it_can():
    name = "run\udcff\x1b[31m\u202egnp"
    page = text(reports.report(reports.judgement(reports.clean(), label=name)))
    assert "run\ufffd\ufffd[31m\ufffdgnp" in page.encode().decode()


class HTMLParserOf(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.text, self.title = "", ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.title = dict(attrs)["title"]

    def handle_data(self, data):
        self.text += data


def numbers_in(markup: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf'\b{name}="([-\d.]+)"', markup)]


def test_worse_is_left_whatever_the_direction_of_the_metric():
    fell = reports.aggregate(change=-0.01, low=-0.02, high=-0.005, higher_is_better=True)
    rose = replace(fell, change=0.01, low=0.005, high=0.02, higher_is_better=False)
    first, second = (interval_plot(check, reach_of([check])) for check in (fell, rose))
    assert numbers_in(first, "cx") == numbers_in(second, "cx")
    (dot,) = numbers_in(first, "cx")
    assert dot == pytest.approx(75 - 69 / 2, abs=0.06)  # half way to the end of the reach, 0.02
    (zero,) = numbers_in(first, "x1")
    assert dot < zero == 75
    # The shaded margin of 0.005 ends at zero: a quarter of the reach.
    (left, width) = (numbers_in(first, name)[-1] for name in ("x", "width"))
    assert (left, width) == (pytest.approx(75 - 69 / 4, abs=0.06), pytest.approx(69 / 4, abs=0.06))


def test_an_open_interval_reaches_the_edge_and_no_change_is_no_picture():
    floor = reports.clean(change=0.017, low=0.012, high=None, margin=None)
    path = re.search(r'd="M([\d.]+) \d+v8m0-4H([\d.]+)', interval_plot(floor, 0.02))
    assert path is not None
    assert float(path[2]) == 144  # the right edge
    for nothing in (None, math.nan, math.inf):
        assert interval_plot(replace(floor, change=nothing), 1.0) == ""
    assert reach_of([replace(floor, change=0.0, low=None, high=None)]) == 1.0
