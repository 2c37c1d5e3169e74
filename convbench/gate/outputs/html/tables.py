"""The tables: the gate, the worst conditions, and all conditions and layers to sort and to filter."""

import math
from collections.abc import Callable, Sequence

from convbench.gate.outputs.html.banner import badge
from convbench.gate.outputs.html.interval_plot import interval_plot, reach_of
from convbench.gate.outputs.html.markup import Markup, caption, element, joined, scrolled
from convbench.gate.outputs.sentences import called, counts, detectable, gate
from convbench.gate.outputs.typography import change_text, interval_text, margin_text, p_text, value_text
from convbench.gate.outputs.wording import amount
from convbench.gate.report import Check, Judgement, Kind, Report

_WORST = 12
_EXPLAINING = ((Kind.CONDITION, "condition", "conditions"), (Kind.LAYER, "number of a layer", "numbers of layers"))
Column = tuple[str, Callable[[Check], object], bool]  # heading, its cell, whether it is a number


def gate_table(report: Report) -> Markup:
    """Every aggregate, bound and floor: both sides, the change with its interval, the margin and the verdict."""
    headings = (
        ("number", ""), ("verdict", ""), ("baseline", "number"), ("candidate", "number"), ("change", "number"),
        ("95 % interval", "number"), (_ends(), ""), ("margin", "number"),
    )  # fmt: skip
    bodies = []
    for judgement in report.judgements:
        rows = [_gate_row(check) for check in gate(judgement)]
        if len(report.judgements) > 1:
            label = element("th", judgement.candidate.label, colspan=len(headings), scope="rowgroup")
            rows.insert(0, element("tr", label, class_="group"))
        bodies.append(element("tbody", *rows))
    words = caption("The picture shows the interval of the change; shaded is what the margin allows.")
    table = element("table", words, _head(headings), *bodies)
    return joined([element("h2", "The gate"), scrolled(table, "gate"), _counts(report)])


def _gate_row(check: Check) -> Markup:
    return element(
        "tr",
        element("th", called(check), *_reason(check), scope="row"),
        element("td", badge(check.verdict), *[element("small", "not gated")] * (not check.gated)),
        *(element("td", value_text(check, n, unit=True), class_="number") for n in (check.baseline, check.candidate)),
        element("td", change_text(check), class_="number"),
        element("td", interval_text(check), class_="number"),
        element("td", interval_plot(check, reach_of([check]))),
        element("td", margin_text(check), class_="number"),
    )


def _counts(report: Report) -> Markup:
    """How many conditions and layers have each verdict, and what the run could have seen."""
    lines = []
    for judgement in report.judgements:
        parts = [
            counts(checks, one, many) + "." for kind, one, many in _EXPLAINING if (checks := judgement.of_kind(kind))
        ]
        parts += filter(None, [detectable(judgement)])
        whose = f"{judgement.candidate.label}: " if len(report.judgements) > 1 else ""
        lines += [element("p", whose, " ".join(parts), class_="pale")] if parts else []
    return joined(lines)


def worst_conditions(report: Report) -> Markup:
    """The conditions with the worst verdicts and changes, on one scale; "" without conditions."""
    found = [(judgement, check) for judgement in report.judgements for check in judgement.of_kind(Kind.CONDITION)]
    drawn = [(j, c) for j, c in found if c.metric == "accuracy" and c.change is not None and math.isfinite(c.change)]
    drawn.sort(key=lambda pair: (pair[1].verdict.rank, -pair[1].worsening))
    drawn = drawn[:_WORST]
    if not drawn:
        return Markup("")
    reach = reach_of(check for _, check in drawn)
    several = len(report.judgements) > 1
    headings = [
        ("condition", ""), *[("candidate", "")] * several, ("verdict", ""), (_ends("wide-ends"), ""),
        ("change", "number"),
        ("95 % interval", "number"),
    ]  # fmt: skip
    rows = [
        element(
            "tr",
            element("th", _where(check), scope="row"),
            *[element("td", judgement.candidate.label, class_="name")] * several,
            element("td", badge(check.verdict)),
            element("td", interval_plot(check, reach, width=260)),
            element("td", change_text(check), class_="number"),
            element("td", interval_text(check), class_="number"),
        )
        for judgement, check in drawn
    ]
    ends = amount(drawn[0][1], reach)
    words = caption(f"All pictures from −{ends} to +{ends}; each interval is for its condition alone.")
    table = element("table", words, _head(headings), element("tbody", *rows))
    return joined([element("h2", "The worst conditions"), scrolled(table, "worst conditions")])


def condition_table(report: Report) -> Markup:
    """All conditions; "" where there are none."""
    columns: list[Column] = [
        ("corruption", lambda check: check.corruption, False),
        ("severity", lambda check: check.severity, True),
        *_metric_column(report, Kind.CONDITION),
        ("verdict", lambda check: badge(check.verdict), False),
        ("baseline", lambda check: value_text(check, check.baseline), True),
        ("candidate", lambda check: value_text(check, check.candidate), True),
        ("change", lambda check: change_text(check, unit=False), True),
        ("95 % interval", interval_text, True),
        ("p" if report.policy.correction == "none" else f"p ({report.policy.correction})", p_text, True),
        ("lost", lambda check: check.lost, True),
        ("gained", lambda check: check.gained, True),
        ("images", lambda check: check.n, True),
    ]
    words = (
        "Accuracies in percent, changes in percentage points. Lost: images that only the baseline classified rightly; "
        "gained: only the candidate."
    )
    return _sortable(report, Kind.CONDITION, "conditions", "All conditions", words, columns)


def layer_table(report: Report) -> Markup:
    """All numbers of layers; "" where there are none."""
    columns: list[Column] = [
        ("layer", lambda check: check.layer, False),
        *_metric_column(report, Kind.LAYER),
        ("verdict", lambda check: badge(check.verdict), False),
        ("baseline", lambda check: value_text(check, check.baseline), True),
        ("candidate", lambda check: value_text(check, check.candidate), True),
        ("change", lambda check: change_text(check), True),
        ("95 % interval", interval_text, True),
        ("margin", margin_text, True),
    ]
    words = "The numbers of each layer, from input to output. Nothing here has a p-value: a margin alone decides."
    return _sortable(report, Kind.LAYER, "layer-table", "All layers", words, columns)


def _metric_column(report: Report, kind: Kind) -> list[Column]:
    metrics = {check.metric for judgement in report.judgements for check in judgement.of_kind(kind)}
    return [("metric", lambda check: check.metric, False)] if len(metrics) > 1 else []


def _sortable(report: Report, kind: Kind, name: str, title: str, words: str, columns: Sequence[Column]) -> Markup:
    pairs = [(judgement, check) for judgement in report.judgements for check in judgement.of_kind(kind)]
    if not pairs:
        return Markup("")
    several = len(report.judgements) > 1
    headings = [(heading, "number" if is_number else "") for heading, _, is_number in columns]
    headings[1:1] = [("candidate", "")] * several
    table = element(
        "table", caption(words), _head(headings),
        element("tbody", *(_row(judgement, check, columns, several) for judgement, check in pairs)),
        id=name, class_="sortable",
    )  # fmt: skip
    heading = element("summary", element("h2", f"{title} ({len(pairs):,})"))
    return element("details", heading, scrolled(table, title, "tall"), open=True)


def _row(judgement: Judgement, check: Check, columns: Sequence[Column], several: bool) -> Markup:
    cells = [element("th", columns[0][1](check), scope="row")]
    cells += [element("td", judgement.candidate.label, class_="name")] * several
    for heading, cell, is_number in columns[1:]:
        rank = check.verdict.rank if heading == "verdict" else None
        cells.append(element("td", cell(check), class_="number" if is_number else None, data_value=rank))
    return element("tr", *cells)


def _ends(wide: str = "") -> Markup:
    """The heading of pictures: what lies on which side."""
    return element("span", element("span", "← worse"), element("span", "better →"), class_=f"ends {wide}".rstrip())


def _head(columns: Sequence[tuple[object, str]]) -> Markup:
    """Headings with their class: "", or "number", whose cells stand right."""
    cells = (element("th", heading, scope="col", class_=of_class or None) for heading, of_class in columns)
    return element("thead", element("tr", *cells))


def _reason(check: Check) -> list[Markup]:
    return [element("small", check.reason)] if check.reason else []


def _where(check: Check) -> str:
    return f"{check.corruption.replace('_', ' ')} {check.severity}"
