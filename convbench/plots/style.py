"""How the figures look: colours and markers of groups, a legend that hides no data, and how they are saved."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from convbench.errors import ConfigError
from convbench.files import write_atomically

Point = tuple[float, float, float | None]  # x, mean, standard deviation

DPI = 150
# Okabe and Ito's palette, told apart with any colour vision; yellow is left out, it vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")  # 11 and 7 share no divisor: 77 combinations


@dataclass(frozen=True)
class LineStyle:
    """The colour and the marker of one group, the same in every figure."""

    color: str
    marker: str


def line_style(place: int) -> LineStyle:
    """The style of the group at `place` of the comparison."""
    return LineStyle(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)])


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` × `height` inches with its own canvas: no pyplot, no display."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy_axes(axes: Axes) -> None:
    """Recede everything that is not data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def draw_band(axes: Axes, points: Sequence[Point], color: str) -> None:
    """Shade mean ± sd where both are known."""
    spread = [(x, mean, sd) for x, mean, sd in points if sd is not None]
    if spread:
        axes.fill_between(
            [x for x, _, _ in spread],
            [mean - sd for _, mean, sd in spread],
            [mean + sd for _, mean, sd in spread],
            color=color,
            alpha=0.15,
            linewidth=0,
        )


def legend_outside(
    figure: Figure,
    handles: Sequence[Line2D],
    loc: Literal["outside lower center", "outside upper center"] = "outside lower center",
) -> None:
    """A legend under or over the axes, where it covers no line."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    per_line = max(1, min(len(handles), int(figure.get_figwidth() * 11 / (longest + 8))))
    figure.legend(handles=list(handles), loc=loc, ncols=per_line, frameon=False, fontsize=9)


def save_figure(figure: Figure, path: Path | str) -> None:
    """Write `figure` whole or not at all, as .png (150 dpi) or .svg by the suffix of `path`.

    Equal figures give equal bytes: no date, no version, no random ids.

    Raises:
        ConfigError: another suffix.
        ConvbenchError: the file system refused.
    """
    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    if kind not in ("png", "svg"):
        raise ConfigError(f"a figure is written as .png or .svg, not {path.name!r}.")
    content = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "convbench"}):
        figure.savefig(content, format=kind, dpi=DPI, metadata=metadata)
    write_atomically(path, content.getvalue())
