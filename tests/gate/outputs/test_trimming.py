"""Rows are left out in their order, are counted, and none that fits is left out."""

import re

from hypothesis import given
from hypothesis import strategies as st

from convbench.gate.outputs.trimming import Rows, fitted

lines = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=30), max_size=30)
rows = st.builds(Rows, lines=lines, what=st.just("things"), rank=st.integers(0, 2), head=st.just(("HEAD",)))
documents = st.lists(st.sampled_from(["text", "é", ""]) | rows, max_size=6)


def left_out(text: str) -> int:
    return sum(
        int(count.replace(",", "")) for count in re.findall(r"^\.\.\. left out .*: ([\d,]+) of", text, re.MULTILINE)
    )


@given(document=documents, limit=st.integers(0, 3000))
def test_the_limit_holds_and_every_row_is_accounted_for(document, limit):
    text = fitted(document, limit)
    if text is None:
        return
    assert len(text.encode()) <= limit
    fixed = [part for part in document if isinstance(part, str)]
    count = sum(len(part.lines) for part in document if isinstance(part, Rows))
    heads, notes = text.split("\n").count("HEAD"), len(re.findall(r"^\.\.\. ", text, re.MULTILINE))
    assert text.count("\n") == len(fixed) + count - left_out(text) + heads + 2 * notes


def numbered(count: int, rank: int, what: str = "things") -> Rows:
    return Rows(lines=[f"{what} {number:04}" for number in range(count)], what=what, rank=rank, head=("HEAD", "----"))


def test_everything_where_there_is_space():
    assert fitted(["a", numbered(2, 0), "b"], 100) == "a\nHEAD\n----\nthings 0000\nthings 0001\nb\n"


@given(limit=st.integers(500, 4000))
def test_a_higher_rank_goes_first_and_one_more_row_would_not_fit(limit):
    text = fitted(["a", numbered(100, 0, "first"), numbered(100, 1, "later")], limit)
    assert text is not None
    shown = {what: re.findall(rf"^{what} (\d+)$", text, re.MULTILINE) for what in ("first", "later")}
    for found in shown.values():
        assert found == [f"{number:04}" for number in range(len(found))], "the first rows are kept"
    if len(shown["first"]) < 100:
        assert not shown["later"]
    if sum(map(len, shown.values())) < 200:
        assert len(text) > limit - len("HEAD\n----\nthings 0000\n") - 4, "no space is wasted (but for a shorter number)"


@given(limit=st.integers(600, 3000))
def test_tables_of_one_rank_share_the_space(limit):
    text = fitted([numbered(100, 0, "first"), numbered(100, 0, "later")], limit)
    counts = [len(re.findall(rf"^{what} \d+$", text, re.MULTILINE)) for what in ("first", "later")]
    assert counts[0] == counts[1]


def test_none_where_even_the_text_is_too_long():
    assert fitted(["a" * 100, numbered(3, 0)], 100) is None
    assert fitted([], 0) == ""
