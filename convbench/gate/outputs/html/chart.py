"""Courses of several arms over one horizontal axis of places, as SVG with nothing but lines, markers and words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convbench.gate.outputs.html.arms import Line, arm_class, marker
from convbench.gate.outputs.html.markup import Markup, element, joined

_TICK = 4
_LOG_FROM = 20.0  # largest over smallest value from which a linear axis hides the small ones


@dataclass(frozen=True)
class Axis:
    """A vertical axis from `low` to `high`, its ticks with their words; logarithmic where `log`."""

    low: float
    high: float
    ticks: Mapping[float, str]
    log: bool = False

    def share(self, value: float) -> float:
        """Where `value` lies, 0 at the bottom and 1 at the top."""
        low, high, value = map(math.log10, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return (value - low) / (high - low)


def share_axis(values: Sequence[float]) -> Axis:
    """An axis of shares in percent that ends at multiples of 10 or 20 %."""
    step = 0.1 if max(values) - min(values) <= 0.4 else 0.2
    first, last = math.floor(min(values) / step + 1e-9), math.ceil(max(values) / step - 1e-9)
    last = max(last, first + 1)
    places = [place * step for place in range(first, last + 1)]
    return Axis(places[0], places[-1], {place: f"{100 * place:.0f}" for place in places})


def number_axis(values: Sequence[float]) -> Axis:
    """An axis from 0, or logarithmic where positive values are far apart."""
    positive = [value for value in values if value > 0]
    low, high = min(values), max(values)
    if len(positive) == len(values) and high / low > _LOG_FROM:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        step = -(-(last - first) // 8)  # a tick for each decade, where there are few
        ticks = {10.0**power: f"{10.0**power:g}" for power in range(first, last + 1, step)}
        return Axis(10.0**first, 10.0**last, ticks, log=True)
    low, high = min(0.0, low), max(0.0, high)
    step = _nice((high - low) / 4 or 0.25)
    first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), 1)
    return Axis(first * step, last * step, {place * step: f"{place * step:g}" for place in range(first, last + 1)})


def _nice(size: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `size`."""
    power = 10.0 ** math.floor(math.log10(size))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= size * (1 - 1e-9))


@dataclass(frozen=True)
class Frame:
    """The rectangle of a chart in its picture, in pixels, and where its places lie on the horizontal axis.

    Args:
        at: the value of each place, ascending.
    """

    left: float
    top: float
    width: float
    height: float
    at: Sequence[float]

    def x(self, place: int) -> float:
        span = self.at[-1] - self.at[0]
        return self.left + self.width * ((self.at[place] - self.at[0]) / span if span else 0.5)

    def y(self, axis: Axis, value: float) -> float:
        return self.top + self.height * (1 - axis.share(value))


def grid(frame: Frame, axis: Axis) -> Markup:
    """The ticks of the vertical axis with their lines."""
    parts = []
    for value, words in axis.ticks.items():
        y = frame.y(axis, value)
        parts.append(element("path", class_="grid", d=f"M{frame.left:.1f} {y:.1f}h{frame.width:.1f}"))
        parts.append(element("text", words, class_="tick end", x=frame.left - _TICK, y=y + 3))
    return joined(parts)


def courses(frame: Frame, axis: Axis, lines: Sequence[Line]) -> Markup:
    """The lines; a place that an arm has not breaks its line, and what is not finite is not drawn.

    Lines that lie on each other stay visible: the baseline's is dashed and over the others, its markers hollow and
    under them.
    """
    paths, markers = [], []
    for line in lines:
        path, points, before = [], [], None
        for place, (value, words) in sorted(line.points.items()):
            if not _drawable(value) or (axis.log and value <= 0):
                continue
            x, y = frame.x(place), frame.y(axis, value)
            path.append(f"{'L' if before == place - 1 else 'M'}{x:.1f} {y:.1f}")
            points.append(marker(line.place, x, y, element("title", f"{line.label}: {words}")))
            before = place
        paths.append(element("path", class_=f"course {arm_class(line.place)}", d="".join(path)))
        markers.append(element("g", *points, class_=arm_class(line.place)))
    baseline_last = sorted(range(len(lines)), key=lambda place: lines[place].place == 0)
    return joined([*(paths[place] for place in baseline_last), *markers])


def finite(lines: Sequence[Line]) -> list[float]:
    """The values of `lines` that can be drawn."""
    return [value for line in lines for value, _ in line.points.values() if _drawable(value)]


def _drawable(value: float) -> bool:
    # Beyond these sizes powers of ten leave the range of floats.
    return math.isfinite(value) and (value == 0 or 1e-300 < abs(value) < 1e300)
