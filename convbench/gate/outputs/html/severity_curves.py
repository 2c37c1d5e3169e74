"""Accuracy against severity, one small panel per corruption, all on the same axes."""

from collections.abc import Sequence

from convbench.gate.outputs.html.arms import Line, legend, lines_of
from convbench.gate.outputs.html.chart import Axis, Frame, courses, finite, grid, share_axis
from convbench.gate.outputs.html.markup import Markup, element, joined
from convbench.gate.outputs.typography import value_text
from convbench.gate.report import Check, Judgement, Kind, Report

_WIDTH, _HEIGHT = 180, 132
_FEW = 4  # panels that may be large


def severity_curves(report: Report) -> Markup:
    """The panels with their legend; "" where no corruption was measured."""
    of_arms = [_by_corruption(judgement) for judgement in report.judgements]
    names = dict.fromkeys(name for of_arm in of_arms for name in of_arm if name != "none")
    if not names:
        return Markup("")
    found = {int(check.severity) for of_arm in of_arms for checks in of_arm.values() for check in checks}
    severities = sorted(found | {0})
    place = {severity: place for place, severity in enumerate(severities)}
    panels = {}
    for name in names:
        chosen = ([*of_arm.get("none", ()), *of_arm.get(name, ())] for of_arm in of_arms)
        panels[name] = lines_of(report, ([(place[int(c.severity)], c) for c in checks] for checks in chosen), _words)
    values = [value for lines in panels.values() for value in finite(lines)]
    if not values:
        return Markup("")
    axis = share_axis(values)
    drawn = [_panel(name, severities, lines, axis) for name, lines in panels.items()]
    return joined(
        [
            element("h2", "Accuracy against severity"),
            element("p", "Accuracy in percent; severity 0 is clean. All panels have the same axes.", class_="pale"),
            legend(report),
            element("div", *drawn, class_="panels few" if len(drawn) <= _FEW else "panels"),
        ]
    )


def _by_corruption(judgement: Judgement) -> dict[str, list[Check]]:
    """The accuracies under one condition each, the clean one under "none"."""
    found: dict[str, list[Check]] = {}
    for check in judgement.of_kind(Kind.AGGREGATE, Kind.CONDITION):
        if check.metric == "accuracy" and check.severity != "all":
            found.setdefault(check.corruption, []).append(check)
    return found


def _words(check: Check, value: float) -> str:
    where = "clean" if check.corruption == "none" else f"severity {check.severity}"
    return f"{value_text(check, value, unit=True)} {where}"


def _panel(name: str, severities: Sequence[int], lines: Sequence[Line], axis: Axis) -> Markup:
    frame = Frame(left=26, top=8, width=_WIDTH - 36, height=_HEIGHT - 28, at=severities)
    ends = "; ".join(f"{line.label} {line.points[max(line.points)][1]}" for line in lines)
    labels = [
        element("text", severity, class_="tick middle", x=frame.x(place), y=_HEIGHT - 6)
        for place, severity in enumerate(severities)
    ]
    picture = element(
        "svg", element("title", f"Accuracy under {name}: {ends}"), grid(frame, axis), *labels,
        courses(frame, axis, lines), viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img",
    )  # fmt: skip
    return element("figure", element("figcaption", name.replace("_", " ")), picture)
