"""The arms of a report in its pictures: one colour and one marker each, and the numbers that they have."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from convbench.gate.outputs.html.markup import Markup, element
from convbench.gate.report import Check, Report

_COLOURS = 6  # of candidates in style.css; then they come again, with another marker
_MARKERS = (
    "M-3-3h6v6h-6z",
    "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z",
    "M0-4L4 3H-4z",
    "M0-4.5L4 0L0 4.5L-4 0z",
    "M0 4L4-3H-4z",
)


@dataclass(frozen=True)
class Line:
    """One arm's numbers in a picture, by their place on its axis."""

    label: str
    place: int  # 0 is the baseline
    points: Mapping[int, tuple[float, str]]  # place on the x axis -> value, and it in words


def marker(place: int, x: float, y: float, *title: Markup) -> Markup:
    """The marker of the arm at `place` (0: the baseline)."""
    shape = _MARKERS[place and 1 + (place - 1) % (len(_MARKERS) - 1)]
    return element("path", *title, class_="marker", d=shape, transform=f"translate({x:.1f} {y:.1f})")


def arm_class(place: int) -> str:
    """The class that gives an arm its colour."""
    return f"arm arm-{place and 1 + (place - 1) % _COLOURS}"


def legend(report: Report) -> Markup:
    """What colour and marker each arm has."""
    labels = [report.baseline.label, *(judgement.candidate.label for judgement in report.judgements)]
    items = []
    for place, label in enumerate(labels):
        sample = element(
            "svg", element("path", class_="course", d="M0 8H28"), marker(place, 14, 8),
            class_=arm_class(place), viewBox="0 0 28 16", aria_hidden="true",
        )  # fmt: skip
        items.append(element("li", sample, " ", label, " (baseline)" if place == 0 else ""))
    return element("ul", *items, class_="legend")


def lines_of(
    report: Report, placed: Iterable[Iterable[tuple[int, Check]]], words: Callable[[Check, float], str]
) -> list[Line]:
    """The course of every arm; one without any number is left out.

    Args:
        placed: for each candidate its checks with their places on the horizontal axis.
        words: a number of a check in words.
    """
    # The baseline's numbers stand in the checks of every candidate: the first that has one counts.
    baseline: dict[int, tuple[float, str]] = {}
    lines = []
    for number, (judgement, checks) in enumerate(zip(report.judgements, placed, strict=True), start=1):
        candidate: dict[int, tuple[float, str]] = {}
        for place, check in checks:
            if check.baseline is not None:
                baseline.setdefault(place, (check.baseline, words(check, check.baseline)))
            if check.candidate is not None:
                candidate.setdefault(place, (check.candidate, words(check, check.candidate)))
        lines.append(Line(judgement.candidate.label, number, candidate))
    return [line for line in [Line(report.baseline.label, 0, baseline), *lines] if line.points]
