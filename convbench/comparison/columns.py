"""The columns of the summary tables, how an estimate reads in a cell, and which cells are the best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from convbench.comparison.comparison import Comparison, Group
from convbench.comparison.quantities import (
    ALL,
    CLEAN,
    CORRUPTED,
    LARGEST_BARE,
    LARGEST_COMPOSED,
    LIPSCHITZ_LOWER,
    LIPSCHITZ_UPPER,
    RELATIVE,
    Estimate,
    Quantity,
    corruption_mean,
    higher_is_better,
    severity_mean,
)

MISSING = "n/a"
_TWO_DECIMALS = 1000  # images from which hundredths of a percent mean something: one image is 0.1 % or less


@dataclass(frozen=True)
class Column:
    """One column: its heading, its quantity and whether it is a share (shown in percent)."""

    heading: str
    quantity: Quantity
    percent: bool = True

    def text(self, group: Group) -> str:
        """The cell of `group`: mean with ± or interval, or with "(k/n)" where only k of its n runs have the number."""
        estimate = group.get(self.quantity)
        if estimate is None:
            return MISSING
        if estimate.runs < len(group.runs):
            return f"{self.mean(estimate)} ({estimate.runs}/{len(group.runs)})"
        return percent(estimate) if self.percent else plain(estimate)

    def mean(self, estimate: Estimate) -> str:
        """The mean alone, with the digits that this column shows."""
        return mean_percent(estimate) if self.percent else number(estimate.mean)


def accuracy_columns(comparison: Comparison) -> list[Column]:
    """Clean accuracy, and the means over corruptions where corruptions were evaluated."""
    columns = [Column("clean", CLEAN)]
    if comparison.conditions:
        columns.append(Column("corrupted", CORRUPTED))
        severest = comparison.severities[-1]
        if len(comparison.severities) > 1:
            columns.append(Column(f"severity {severest}", severity_mean(severest)))
        columns.append(Column("relative", RELATIVE))
    return _present(comparison, columns)


def network_columns(comparison: Comparison) -> list[Column]:
    """Spectral norms and Lipschitz bounds, those that any group has."""
    return _present(
        comparison,
        [
            Column("σ layer", LARGEST_BARE, percent=False),
            Column("σ composed", LARGEST_COMPOSED, percent=False),
            Column("Lipschitz ≥", LIPSCHITZ_LOWER, percent=False),
            Column("Lipschitz ≤", LIPSCHITZ_UPPER, percent=False),
        ],
    )


def aggregate_columns(comparison: Comparison) -> list[Column]:
    """The aggregates that were asked for, by their names with options and baseline."""
    return [Column(aggregate.name, aggregate.quantity) for aggregate in comparison.aggregates]


def term_tables(comparison: Comparison) -> dict[str, list[Column]]:
    """By title: the term of each corruption of a mean corruption error (an extra one has none), and their mean."""
    return {
        f"{aggregate.term(ALL).metric} per corruption, %": [
            *(Column(name, aggregate.term(name)) for name in comparison.corruptions),
            Column("mean", aggregate.quantity),
        ]
        for aggregate in comparison.aggregates
        if aggregate.has_terms and any(aggregate.quantity in group.estimates for group in comparison.groups)
    }


def detail_columns(comparison: Comparison) -> list[Column]:
    """What the second table shows: each corruption and all of them, or the severities of the only one."""
    corruptions = comparison.corruptions
    if len(corruptions) == 1:
        return [Column(f"severity {s}", Quantity("accuracy", corruptions[0], s)) for s in comparison.severities]
    return [*(Column(name, corruption_mean(name)) for name in corruptions), Column(ALL, CORRUPTED)]


def detail_title(comparison: Comparison) -> str:
    """The heading of the second table."""
    corruptions = comparison.corruptions
    return f"accuracy under {corruptions[0]}, %" if len(corruptions) == 1 else "accuracy per corruption, %"


def _present(comparison: Comparison, columns: list[Column]) -> list[Column]:
    # Means over conditions stay even where every run's is withheld: the reader looks for them, and a note says why.
    return [
        column
        for column in columns
        if column.percent or any(group.get(column.quantity) is not None for group in comparison.groups)
    ]


def mean_percent(estimate: Estimate, share: float | None = None) -> str:
    """The mean of a share (or another `share`) in percent, with as many decimals as its examples allow: "97.2"."""
    return f"{100 * (estimate.mean if share is None else share):.{_decimals(estimate)}f}"


def percent_interval(estimate: Estimate, interval: tuple[float, float]) -> str:
    """An interval of a share in percent: "[94.9, 98.5]"."""
    return f"[{mean_percent(estimate, interval[0])}, {mean_percent(estimate, interval[1])}]"


def _decimals(estimate: Estimate) -> int:
    return 2 if estimate.n >= _TWO_DECIMALS else 1


def percent(estimate: Estimate) -> str:
    """A share in percent: "97.22 ±0.31" over runs, "97.2 [94.9, 98.5]" for one run with its interval."""
    text = mean_percent(estimate)
    if estimate.sd is not None:
        return f"{text} ±{mean_percent(estimate, estimate.sd)}"
    if estimate.interval is not None:
        return f"{text} {percent_interval(estimate, estimate.interval)}"
    return text


def plain(estimate: Estimate) -> str:
    """A positive number of any size: "2.41 ±0.12", "1.23e7 ±4e6"."""
    text = number(estimate.mean)
    if estimate.sd is None:
        return text
    if 0.01 <= abs(estimate.mean) < 1000 and estimate.sd < 1000:
        return f"{text} ±{estimate.sd:.2f}"
    return f"{text} ±{_scientific(estimate.sd, 0)}"


def number(value: float) -> str:
    """`value` with three significant digits, in scientific notation where it is very large or very small."""
    if not math.isfinite(value) or value == 0:
        return "inf" if value == math.inf else f"{value:g}"
    return f"{value:.2f}" if 0.01 <= abs(value) < 1000 else _scientific(value, 2)


def points(difference: float | None) -> str:
    """A difference of shares in percentage points, signed; "" where there is none."""
    return "" if difference is None else f"{100 * difference:+.2f}".replace("-", "−")


def best(groups: Sequence[Group], column: Column) -> set[int]:
    """Which of `groups` have the best value of `column`: all that read the same; none where all do.

    A group of which a run lacks the number does not take part. The direction is the metric's own, as registered; a
    metric without one has no best.
    """
    upward = higher_is_better(column.quantity.metric)
    found = {
        place: estimate
        for place, group in enumerate(groups)
        if (estimate := group.complete(column.quantity)) is not None and not math.isnan(estimate.mean)
    }
    if upward is None or len(found) < 2:
        return set()
    top = (max if upward else min)(found.values(), key=lambda estimate: estimate.mean)
    # Two cells that show the same digits must not differ in their mark.
    chosen = {place for place, estimate in found.items() if column.mean(estimate) == column.mean(top)}
    return chosen if len(chosen) < len(found) else set()


def _scientific(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{mantissa}e{int(exponent)}"
