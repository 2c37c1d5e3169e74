"""Figures of `convbench spectrum`: singular values per layer, norms along the depth, and norms through training."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from convbench.network_spectra import LayerValues, NetworkSpectra, short_names
from convbench.plots.style import legend_outside, line_style, new_figure, tidy_axes
from convbench.spectral.spectrum import Spectrum
from convbench.spectral.tracking import ALONE, COMPOSED

_ACROSS = 4  # panels in a row
_PANELS = 40  # of one figure; a network of more layers shows every n-th
_NAMED = 40  # layer names that fit an axis


def spectra_figure(networks: Sequence[NetworkSpectra]) -> Figure | None:
    """Singular values against their rank, one panel a layer, all networks overlaid; None where there are none.

    Lines are the layer's own values, dotted ones those that it would have with circular padding.
    """
    layers = list(dict.fromkeys(name for network in networks for name in network.values))
    if not layers:
        return None
    shown = layers[:: -(-len(layers) // _PANELS)]
    names, columns = short_names(layers), min(_ACROSS, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = new_figure(max(6.4, 2.7 * columns), 1.9 * rows + 1.1)
    panels = figure.subplots(rows, columns, squeeze=False)
    dotted = alone = False
    for axes, layer in zip(panels.flat, shown, strict=False):
        for place, network in enumerate(networks):
            values = network.values.get(layer)
            if values is not None:
                _draw_values(axes, values, line_style(place).color)
                dotted |= values.surrogate is not None
                alone |= not values.composed
        axes.set_xscale("log")
        axes.set_title(names[layer], loc="left", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.set_ylim(bottom=0)
        tidy_axes(axes)
    for axes in panels.flat[len(shown) :]:
        axes.remove()
    figure.supxlabel("rank of the singular value", fontsize=10)
    figure.supylabel("singular value, at evaluation", fontsize=10)
    handles = _legend(networks)
    handles.append(Line2D([], [], color="0.35", marker=".", markersize=4, label="the layer's own values"))
    if dotted:
        handles.append(Line2D([], [], color="0.35", linestyle=":", label="the same with circular padding"))
    if alone:
        handles.append(Line2D([], [], color="0.35", linestyle="--", label="without normalization"))
    legend_outside(figure, handles, "outside upper center")
    return figure


def depth_figure(networks: Sequence[NetworkSpectra]) -> Figure:
    """Largest singular value of each layer from input to output: with its normalization, and alone (dashed)."""
    layers = list(dict.fromkeys(row.name for network in networks for row in network.rows))
    place_of = {name: place for place, name in enumerate(layers)}
    figure = new_figure(min(14.0, max(6.4, 1.8 + 0.32 * min(len(layers), _NAMED))), 5.0)
    axes = figure.subplots()
    alone = composed = False
    for place, network in enumerate(networks):
        style = line_style(place)
        for dashes, found in (
            ("--", {row.name: row.norm for row in network.rows if row.norm}),
            ("-", {row.name: row.composed for row in network.rows if row.composed}),
        ):
            if not found:
                continue
            alone |= dashes == "--"
            composed |= dashes == "-"
            course = [found[row.name].value if row.name in found else math.nan for row in network.rows]
            axes.plot(
                [place_of[row.name] for row in network.rows], course, color=style.color, linestyle=dashes,
                marker=style.marker, markersize=4.5 if dashes == "-" else 3.5, linewidth=1.6 if dashes == "-" else 1.1,
                markerfacecolor=style.color if dashes == "-" else "white",
            )  # fmt: skip
    step, names = -(-len(layers) // _NAMED), short_names(layers)
    axes.set_xticks(range(0, len(layers), step), [names[name] for name in layers[::step]], rotation=90, fontsize=8)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="y", which="minor", labelsize=7)
    axes.set_xlabel("layer, from input to output")
    axes.set_ylabel("largest singular value")
    axes.set_title("Spectral norm of each layer as applied", loc="left", fontsize=11)
    axes.margins(x=0.02)
    tidy_axes(axes)
    handles = _legend(networks)
    if composed:
        handles.append(Line2D([], [], color="0.35", marker="o", markersize=4, label="with its normalization"))
    if alone:
        white = {"marker": "o", "markersize": 4, "markerfacecolor": "white"}
        handles.append(Line2D([], [], color="0.35", linestyle="--", label="layer alone", **white))
    legend_outside(figure, handles)
    return figure


def training_figure(networks: Sequence[NetworkSpectra]) -> Figure | None:
    """Spectral norms against the epoch: the geometric mean over layers and the range; None where none was tracked."""
    tracked = [(place, network) for place, network in enumerate(networks) if network.tracked]
    metrics = [m for m in (ALONE, COMPOSED) if any(row.metric == m for _, n in tracked for row in n.tracked)]
    if not metrics:
        return None
    figure = new_figure(max(6.4, 5.0 * len(metrics)), 4.4)
    titles = {ALONE: "Layers alone", COMPOSED: "Layers with their normalization"}
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False, sharey=True).flat, metrics, strict=True):
        for place, network in tracked:
            _draw_history(axes, network, metric, place)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="minor", labelsize=7)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("epoch (0 = untrained)")
        axes.set_title(titles[metric], loc="left", fontsize=11)
        tidy_axes(axes)
    figure.axes[0].set_ylabel("spectral norm (geometric mean, range)")
    legend_outside(figure, _legend([network for _, network in tracked], [place for place, _ in tracked]))
    return figure


def _draw_history(axes: Axes, network: NetworkSpectra, metric: str, place: int) -> None:
    by_epoch: dict[int, list[float]] = {}
    for row in network.tracked:
        if row.metric == metric and row.value > 0:
            by_epoch.setdefault(row.epoch, []).append(row.value)
    if not by_epoch:
        return
    style, epochs = line_style(place), sorted(by_epoch)
    means = [math.exp(math.fsum(map(math.log, by_epoch[e])) / len(by_epoch[e])) for e in epochs]
    axes.plot(epochs, means, color=style.color, marker=style.marker, markersize=4.5, linewidth=1.6)
    low, high = ([pick(by_epoch[e]) for e in epochs] for pick in (min, max))
    axes.fill_between(epochs, low, high, color=style.color, alpha=0.12, linewidth=0)


def _draw_values(axes: Axes, values: LayerValues, color: str) -> None:
    dashes = "-" if values.composed else "--"
    if values.surrogate is not None:
        axes.plot(*_staircase(values.surrogate), color=color, linestyle=":", linewidth=1.3)
    axes.plot(*_staircase(values.own), color=color, linestyle=dashes, linewidth=1.5, marker=".", markersize=3)


def _staircase(found: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """Ranks from 1 and values: each entry at its first and last rank, so that a line keeps multiplicities."""
    last = found.multiplicities.cumsum(0).numpy()
    first = last - found.multiplicities.numpy() + 1
    values = found.values.numpy()
    if len(values) > 400:  # more points than pixels
        keep = np.unique(np.geomspace(1, len(values), 400).astype(int) - 1)
        first, last, values = first[keep], last[keep], values[keep]
    return np.stack([first, last], 1).ravel(), values.repeat(2)


def _legend(networks: Sequence[NetworkSpectra], places: Sequence[int] | None = None) -> list[Line2D]:
    styles = [line_style(place) for place in places or range(len(networks))]
    return [
        Line2D([], [], color=style.color, marker=style.marker, markersize=4.5, linewidth=1.6, label=network.label)
        for style, network in zip(styles, networks, strict=True)
    ]
