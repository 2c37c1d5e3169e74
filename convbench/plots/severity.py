"""Accuracy against severity: the mean over corruptions, and one panel per corruption."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from convbench.comparison import Comparison, Group, Quantity, caption
from convbench.comparison.quantities import CLEAN, severity_mean
from convbench.plots.style import Point, draw_band, legend_outside, line_style, new_figure, tidy_axes

_ACROSS = 5  # panels in a row: 15 corruptions make 3 × 5


def severity_figure(comparison: Comparison) -> Figure | None:
    """Mean accuracy over the corruptions against severity, 0 = clean; one line a group, ± sd over runs as a band.

    None where no corruption was evaluated.
    """
    if not comparison.conditions:
        return None
    figure = new_figure(6.4, 4.4)
    axes = figure.subplots()
    course = [(severity, severity_mean(severity)) for severity in (0, *comparison.severities)]
    handles = _draw(axes, comparison, course)
    _label_severities(axes, comparison)
    axes.set_xlabel("severity (0 = clean)")
    axes.set_ylabel("accuracy, %")
    band = ", ± sd over runs" if any(len(group.runs) > 1 for group in comparison.groups) else ""
    axes.set_title(f"Mean accuracy over {caption.corruptions_in_words(comparison)}{band}", loc="left", fontsize=11)
    legend_outside(figure, handles)
    return figure


def corruption_figure(comparison: Comparison) -> Figure | None:
    """Accuracy against severity in one panel per corruption, all on the same axes; None for fewer than two."""
    corruptions = comparison.corruptions
    if len(corruptions) < 2:
        return None
    columns = min(_ACROSS, len(corruptions))
    rows = math.ceil(len(corruptions) / columns)
    figure = new_figure(max(6.4, 2.2 * columns), 1.9 * rows + 0.9)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    handles: list[Line2D] = []
    for place, corruption in enumerate(corruptions):
        axes = panels[place // columns, place % columns]
        severities = [severity for name, severity in comparison.conditions if name == corruption]
        course = [(0, CLEAN), *((s, Quantity("accuracy", corruption, s)) for s in severities)]
        handles = _draw(axes, comparison, course, size=3.5)
        axes.set_title(corruption.replace("_", " "), loc="left", fontsize=9)
        axes.tick_params(labelsize=8)
        _label_severities(axes, comparison)
    for axes in panels.flat[len(corruptions) :]:
        axes.remove()
    for column in range(columns):
        # With sharex only the last row has numbers; where the last row is not full, the panel above shows them.
        lowest = panels[(len(corruptions) - 1 - column) // columns, column]
        lowest.tick_params(labelbottom=True)
    figure.supxlabel("severity (0 = clean)", fontsize=10)
    figure.supylabel("accuracy, %", fontsize=10)
    legend_outside(figure, handles, "outside upper center")  # under the panels is their common label
    return figure


def _draw(axes: Axes, comparison: Comparison, course: list[tuple[int, Quantity]], size: float = 5.5) -> list[Line2D]:
    """Draw the course of each group over the severities that it has; the lines, for a legend."""
    handles = []
    for place, group in enumerate(comparison.groups):
        style = line_style(place)
        points = _points(group, course)
        (line,) = axes.plot(
            [severity for severity, _, _ in points],
            [mean for _, mean, _ in points],
            color=style.color, marker=style.marker, markersize=size, linewidth=1.6, label=comparison.label(group),
        )  # fmt: skip
        draw_band(axes, points, style.color)
        handles.append(line)
    tidy_axes(axes)
    return handles


def _points(group: Group, course: list[tuple[int, Quantity]]) -> list[Point]:
    found = ((severity, group.get(quantity)) for severity, quantity in course)
    return [
        (severity, 100 * estimate.mean, None if estimate.sd is None else 100 * estimate.sd)
        for severity, estimate in found
        if estimate is not None
    ]


def _label_severities(axes: Axes, comparison: Comparison) -> None:
    axes.set_xticks([0, *comparison.severities])
