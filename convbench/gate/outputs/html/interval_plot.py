"""An interval of a change as a small picture: worse to the left, better to the right, the margin shaded."""

import math
from collections.abc import Iterable

from convbench.gate.outputs.html.markup import Markup, element
from convbench.gate.outputs.typography import change_text, interval_text, margin_text
from convbench.gate.report import Check

_HEIGHT, _EDGE = 18, 6


def reach_of(checks: Iterable[Check]) -> float:
    """The size of change at which the picture of `checks` ends, on both sides of no change; 1 where all are 0."""
    sizes = [
        abs(size)
        for check in checks
        for size in (check.change, check.low, check.high, 1.5 * (check.margin or 0))
        if size is not None and math.isfinite(size)
    ]
    return max(sizes, default=0.0) or 1.0


def interval_plot(check: Check, reach: float, *, width: int = 150) -> Markup:
    """The change of `check` and its interval on an axis from -`reach` to `reach`, `width` pixels; "" without a change.

    An interval that is open on one side ends at the edge.
    """
    if check.change is None or not math.isfinite(check.change):
        return Markup("")
    better = 1 if check.higher_is_better else -1
    middle = _HEIGHT / 2

    def x(change: float) -> float:
        share = max(-1.0, min(1.0, better * change / reach))
        return width / 2 + share * (width / 2 - _EDGE)

    parts = []
    if check.margin is not None:
        left = x(-better * check.margin)
        parts.append(element("rect", class_="within", x=left, y=0, width=width / 2 - left, height=_HEIGHT))
    parts.append(element("line", class_="zero", x1=width / 2, x2=width / 2, y1=0, y2=_HEIGHT))
    if check.low is not None or check.high is not None:
        ends = (-reach if check.low is None else check.low, reach if check.high is None else check.high)
        first, last = sorted(map(x, ends))
        parts.append(element("path", class_="whisker", d=f"M{first:.1f} {middle - 4:.0f}v8m0-4H{last:.1f}m0-4v8"))
    parts.append(element("circle", class_="dot", cx=x(check.change), cy=middle, r=3.5))
    allowed = "" if check.margin is None else f", margin {margin_text(check)}"
    title = element("title", f"{change_text(check)}, interval {interval_text(check)}{allowed}")
    return element(
        "svg", title, *parts, class_=f"interval {check.verdict.value.lower()}", width=width, height=_HEIGHT,
        viewBox=f"0 0 {width} {_HEIGHT}", role="img",
    )  # fmt: skip
