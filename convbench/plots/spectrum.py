"""The largest singular value of every layer, in the order of the layers: bare, and with its normalization."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from convbench.comparison import Comparison, Group, Quantity
from convbench.plots.style import Point, draw_band, legend_outside, line_style, new_figure, tidy_axes

BARE, COMPOSED = "spectral_norm", "spectral_norm_composed"
_LOG_FROM = 20.0  # largest over smallest value from which a linear axis hides the small ones
_LABELS = 45  # layer names that fit the axis


def spectrum_figure(comparison: Comparison) -> Figure | None:
    """Spectral norm per layer; one line a group, solid with the normalization, dashed without.

    One panel for each network architecture (list of layers). None where no spectral norm was measured.
    """
    panels: dict[tuple[str, ...], list[int]] = {}
    for place, group in enumerate(comparison.groups):
        layers = layers_of(group)
        if layers:
            panels.setdefault(layers, []).append(place)
    if not panels:
        return None
    longest = min(_LABELS, max(map(len, panels)))
    figure = new_figure(min(14.0, max(6.4, 1.5 + 0.32 * longest)), 4.4 * len(panels) + 0.6)
    drawn: dict[int, Line2D] = {}
    for axes, (layers, places) in zip(figure.subplots(len(panels), 1, squeeze=False).flat, panels.items(), strict=True):
        for place in places:
            drawn[place] = _draw(axes, comparison.groups[place], layers, place)
            drawn[place].set_label(comparison.label(comparison.groups[place]))
        _finish(axes, layers)
        if len(panels) > 1:
            models = dict.fromkeys(run.rows[0].model for place in places for run in comparison.groups[place].runs)
            axes.set_title(", ".join(models), loc="right", fontsize=10)
    figure.axes[0].set_title("Largest singular value of each layer", loc="left", fontsize=11)
    legend_outside(figure, [*(drawn[place] for place in sorted(drawn)), *_legend_of_dashes(comparison)])
    return figure


def layers_of(group: Group) -> tuple[str, ...]:
    """The layers with a spectral norm, in the order of the rows; a composition stands at its convolution."""
    return tuple(dict.fromkeys([*_named(group, BARE), *_place_of_compositions(group).values()]))


def _named(group: Group, metric: str) -> list[str]:
    return [quantity.layer for quantity in group.estimates if quantity.layer and quantity.metric == metric]


def _place_of_compositions(group: Group) -> dict[str, str]:
    """Composition -> the layer it stands at: "stem.0", the convolution "stem.0.conv" and its normalization, at that."""
    bare = _named(group, BARE)
    return {
        name: next((layer for layer in bare if f"{layer}.".startswith(f"{name}.")), name)
        for name in _named(group, COMPOSED)
    }


def _draw(axes: Axes, group: Group, layers: Sequence[str], place: int) -> Line2D:
    """Draw both lines of a group; the one that names it in the legend."""
    style = line_style(place)
    named = Line2D([], [], color=style.color, marker=style.marker, markersize=4.5, linewidth=1.6)
    compositions = {layer: name for name, layer in _place_of_compositions(group).items()}
    for metric, dashes, width in ((BARE, "--", 1.1), (COMPOSED, "-", 1.6)):
        names = [compositions.get(layer, "") if metric == COMPOSED else layer for layer in layers]
        found = [(x, group.get(Quantity(metric, layer=name))) for x, name in enumerate(names)]
        # A layer without the number breaks the line: nothing was measured in between.
        points: list[Point] = [(x, e.mean, e.sd) if e else (x, math.nan, None) for x, e in found]
        if all(math.isnan(mean) for _, mean, _ in points):
            continue
        axes.plot(
            [x for x, _, _ in points], [mean for _, mean, _ in points], color=style.color, marker=style.marker,
            markersize=4.5 if metric == COMPOSED else 3.5, linewidth=width, linestyle=dashes,
            markerfacecolor=style.color if metric == COMPOSED else "white",
        )  # fmt: skip
        draw_band(axes, points, style.color)
    return named


def _legend_of_dashes(comparison: Comparison) -> list[Line2D]:
    metrics = {quantity.metric for group in comparison.groups for quantity in group.estimates}
    legend = []
    if COMPOSED in metrics:
        legend.append(Line2D([], [], color="0.35", marker="o", markersize=4, label="with its normalization"))
    if BARE in metrics:
        legend.append(
            Line2D([], [], color="0.35", linestyle="--", marker="o", markersize=4, markerfacecolor="white",
                   label="layer alone")
        )  # fmt: skip
    return legend


def _finish(axes: Axes, layers: Sequence[str]) -> None:
    values = (value for line in axes.get_lines() for value in np.asarray(line.get_ydata(), dtype=float))
    positive = [value for value in values if 0 < value < math.inf]
    if positive and max(positive) / min(positive) > _LOG_FROM:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    step = -(-len(layers) // _LABELS)
    axes.set_xticks(range(0, len(layers), step), _without_common_start(layers)[::step], rotation=90, fontsize=8)
    axes.set_xlabel("layer, from input to output")
    axes.set_ylabel("largest singular value")
    axes.margins(x=0.02)
    tidy_axes(axes)


def _without_common_start(layers: Sequence[str]) -> list[str]:
    """Layer names without the module that all of them lie in ("network.")."""
    start = layers[0].partition(".")[0] + "."
    common = len(layers) > 1 and all(layer.startswith(start) for layer in layers)
    return [layer.removeprefix(start) if common else layer for layer in layers]
