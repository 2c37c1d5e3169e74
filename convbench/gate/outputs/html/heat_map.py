"""How the accuracy changed under every condition: corruptions down, severities across, one table a candidate."""

import math
from collections.abc import Sequence

from convbench.gate.outputs.html.markup import Markup, caption, element, joined, scrolled
from convbench.gate.outputs.typography import change_text, interval_text
from convbench.gate.report import Check, Judgement, Kind, Report, Scale, Verdict

# Percentage points from which a change is drawn deeper; fixed, so that two reports can be laid side by side.
STEPS = (0.25, 1.0, 2.0, 4.0, 8.0)


def heat_map(report: Report) -> Markup:
    """One table a candidate, with the scale of colours; "" where no condition was measured."""
    tables = [table for judgement in report.judgements if (table := _table(judgement))]
    if not tables:
        return Markup("")
    return joined([
        element("h2", "Change under every condition"),
        element("p", "Accuracy, candidate minus baseline, in percentage points. A framed cell is REGRESSED or SUSPECT; "
                "MISSING and NEW conditions have no change.", class_="pale"),
        _scale(),
        element("div", *tables, class_="maps"),
    ])  # fmt: skip


def depth(points: float) -> int:
    """The colour of a change in percentage points: -5 much worse ... 0 none ... 5 much better."""
    size = sum(abs(points) >= step for step in STEPS)
    return int(math.copysign(size, points))


def _table(judgement: Judgement) -> Markup:
    cells = {
        (check.corruption, check.severity): check
        for check in judgement.of_kind(Kind.CONDITION)
        if check.metric == "accuracy" and check.scale is Scale.POINTS and check.severity != "all"
    }
    if not cells:
        return Markup("")
    severities = sorted({int(severity) for _, severity in cells})
    head = element(
        "tr", element("th", "corruption", scope="col"),
        *(element("th", severity, scope="col", aria_label=f"severity {severity}") for severity in severities),
    )  # fmt: skip
    rows = [
        element(
            "tr", element("th", name.replace("_", " "), scope="row"), *(_cell(cells.get((name, s))) for s in severities)
        )
        for name in dict.fromkeys(name for name, _ in cells)
    ]
    return scrolled(
        element(
            "table",
            caption(judgement.candidate.label, " by severity"),
            element("thead", head),
            element("tbody", *rows),
            class_="heat",
        ),
        f"change of {judgement.candidate.label} under every condition",
    )


def _cell(check: Check | None) -> Markup:
    if check is None:
        return element("td")
    if check.change is None or not math.isfinite(check.change):
        return element("td", check.verdict.value, class_="none")
    marked = " marked" if check.verdict in (Verdict.REGRESSED, Verdict.SUSPECT, Verdict.BROKEN) else ""
    words = f"{check.verdict.value}, interval {interval_text(check)}"
    return element(
        "td", _tenths(100 * check.change),
        class_=f"{_colour(depth(100 * check.change))}{marked}", title=f"{change_text(check)}: {words}",
    )  # fmt: skip


def _tenths(points: float) -> str:
    text = f"{points:+.1f}".replace("-", "−")
    return "0.0" if text.endswith("0.0") and len(text) == 4 else text


def _colour(deep: int) -> str:
    return f"worse-{-deep}" if deep < 0 else f"better-{deep}" if deep else "same"


def _scale() -> Markup:
    """The legend: from much worse to much better."""
    return element("ol", *_legend_items(STEPS), class_="colours")


def _legend_items(steps: Sequence[float]) -> list[Markup]:
    items = []
    for deep in range(-len(steps), len(steps) + 1):
        edge = steps[abs(deep) - 1] if deep else steps[0]
        words = f"< ±{edge:g}" if deep == 0 else f"{'≤ −' if deep < 0 else '≥ +'}{edge:g}"
        items.append(element("li", words, class_=_colour(deep)))
    return items
