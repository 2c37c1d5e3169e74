"""The numbers of the layers, one picture per metric, the layers from input to output and all arms overlaid."""

from collections.abc import Sequence

from convbench.gate.outputs.html.arms import legend, lines_of
from convbench.gate.outputs.html.chart import Frame, courses, finite, grid, number_axis
from convbench.gate.outputs.html.markup import Markup, element, joined, scrolled
from convbench.gate.outputs.typography import value_text
from convbench.gate.report import Kind, Report

_STEP, _EDGE, _TOP, _HEIGHT = 17, 44, 10, 210
_EM = 6.0  # pixels of a letter of a layer's name
_LONGEST = 30  # letters of a name that are shown
_LABELS = 60  # names that fit the axis


def spectra(report: Report) -> Markup:
    """One picture per metric; "" where no layer was measured."""
    layers: dict[str, dict[str, int]] = {}  # metric -> layer -> its place
    for judgement in report.judgements:
        for check in judgement.of_kind(Kind.LAYER):
            of_metric = layers.setdefault(check.metric, {})
            of_metric.setdefault(check.layer, len(of_metric))
    pictures = [picture for metric, places in layers.items() if (picture := _picture(report, metric, places))]
    if not pictures:
        return Markup("")
    return joined(
        [
            element("h2", "Layer by layer"),
            element("p", "From input to output. A gap is a layer that an arm does not have.", class_="pale"),
            legend(report),
            *pictures,
        ]
    )


def _picture(report: Report, metric: str, places: dict[str, int]) -> Markup:
    placed = (
        [(places[check.layer], check) for check in judgement.of_kind(Kind.LAYER) if check.metric == metric]
        for judgement in report.judgements
    )
    lines = lines_of(report, placed, lambda check, value: f"{value_text(check, value)}, {check.layer}")
    values = finite(lines)
    if not values:
        return Markup("")
    axis = number_axis(values)
    names = _without_common_start(list(places))
    shown = [name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}" for name in names]
    below = 14 + _EM * max(map(len, shown))
    inner = max(780.0, float(_STEP * (len(places) - 1)))
    frame = Frame(left=_EDGE, top=_TOP, width=inner, height=_HEIGHT, at=range(len(places)))
    width, height = inner + _EDGE + 14, _TOP + _HEIGHT + below
    bottom = _TOP + _HEIGHT + 8
    step = -(-len(places) // _LABELS)
    labels = [
        element(
            "text",
            shown[place],
            class_="tick end",
            transform=f"translate({frame.x(place) + 3:.1f} {bottom}) rotate(-90)",
        )
        for place in range(0, len(places), step)
    ]
    scale = ", logarithmic axis" if axis.log else ""
    title = f"{metric} of {len(places)} layers, {min(values):.3g} to {max(values):.3g}{scale}"
    picture = element(
        "svg", element("title", title), grid(frame, axis), *labels, courses(frame, axis, lines),
        class_="wide", viewBox=f"0 0 {width:.0f} {height:.0f}", role="img",
    )  # fmt: skip
    return element("figure", element("figcaption", f"{metric}{scale}"), scrolled(picture, f"{metric} per layer"))


def _without_common_start(layers: Sequence[str]) -> list[str]:
    """Layer names without the module that all of them lie in ("network.")."""
    start = layers[0].partition(".")[0] + "."
    common = len(layers) > 1 and all(layer.startswith(start) for layer in layers)
    return [layer.removeprefix(start) if common else layer for layer in layers]
