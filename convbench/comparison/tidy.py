"""A comparison as a tidy table: one row per group and number, for pandas, R or a spreadsheet."""

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict

from convbench.comparison.aggregates import Aggregate
from convbench.comparison.comparison import Comparison, Group
from convbench.comparison.evidence import IMAGES, Interval
from convbench.comparison.quantities import ALL, CLEAN, Quantity
from convbench.comparison.standings import Standing, standings
from convbench.errors import MetricNotDefinedError, NotComparableError
from convbench.metrics.corruption_error import OFFICIAL, Condition, relative_mce

NUMBERS = (
    "metric",
    "corruption",
    "severity",
    "layer",
    "mean",
    "sd",
    "lower",
    "upper",
    "interval_over",
    "runs",
    "n",
    "rank_best",
    "rank_worst",
    "delta",
    "delta_pp",
    "delta_lower",
    "delta_upper",
)


def tidy_columns(comparison: Comparison) -> tuple[str, ...]:
    """The header of `tidy_text`: what names the group, then the numbers."""
    return (comparison.by, *comparison.settings, "baseline", *NUMBERS)


def tidy_text(comparison: Comparison) -> str:
    """CSV with one row per group × metric × corruption × severity (× layer).

    `mean`, `sd` (sample standard deviation over runs) and `delta` (mean minus the baseline's) are in the metric's
    own unit, shares in [0, 1]; `delta_pp` is `delta` in percentage points, for accuracies. `lower` and `upper` are
    the 95 % interval of the mean over what `interval_over` says (seeds, or images only, which says nothing about
    retraining), `delta_lower` and `delta_upper` that of `delta`, for this pair alone. `rank_best` to `rank_worst` are
    the places that the evidence leaves open among groups of equal settings, for clean and mean numbers (see
    `standings`). `all` in `corruption` or `severity` is the mean over all of them, of an mce over
    the official ones; the terms of an mce (`ce...`) are empty for the extra corruptions. A number that is undefined or
    withheld has no row.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(tidy_columns(comparison))
    found = _standings(comparison)
    for group in comparison.groups:
        base = comparison.baseline_of(group)
        names = (group.name, *group.settings, comparison.baseline if base else "")
        for quantity, estimate in group.estimates.items():
            cells = _numbers(comparison, group, quantity, found.get((group.name, group.settings, quantity)))
            cells |= {"mean": estimate.mean, "sd": estimate.sd, "runs": estimate.runs, "n": estimate.n}
            writer.writerow((*names, *_in_order(quantity, cells)))
        standard = Aggregate("relative_mce", baseline=comparison.baseline).quantity
        relative = None if standard in group.estimates else _relative_mce(comparison, group, base)
        if relative is not None:
            n = min(group.estimates[CLEAN].n, group.estimates[Quantity("mean_ce", ALL, ALL)].n)
            cells = {"mean": relative, "runs": len(group.runs), "n": n}
            writer.writerow((*names, *_in_order(standard, cells)))
        for aggregate in comparison.aggregates:
            if aggregate.has_terms and aggregate.quantity in group.estimates:
                extra = [name for name in comparison.corruptions if name not in OFFICIAL]
                writer.writerows((*names, *_in_order(aggregate.term(name), {})) for name in extra)
    return text.getvalue()


def _standings(comparison: Comparison) -> dict[tuple[str, tuple[str, ...], Quantity], Standing]:
    """By group and number; ranked are the numbers of the whole network that are clean or means over all corruptions."""
    quantities = dict.fromkeys(quantity for group in comparison.groups for quantity in group.estimates)
    return {
        (standing.group.name, settings, quantity): standing
        for settings, groups in comparison.blocks().items()
        for quantity in quantities
        for standing in standings(
            comparison, groups, quantity, ranked=not quantity.layer and quantity.corruption in ("none", ALL)
        )
    }


def _numbers(comparison: Comparison, group: Group, quantity: Quantity, standing: Standing | None) -> dict[str, object]:
    """What evidence says of one number, by column; what is not known is left out."""
    delta = comparison.difference(group, quantity)
    cells: dict[str, object] = {"delta": delta}
    if delta is not None and quantity.metric.endswith("accuracy"):
        cells["delta_pp"] = 100 * delta
    if standing is None:
        # Some runs of the group lack it; of a single other one the interval in its rows stands.
        interval = group.estimates[quantity].interval
        return cells | (_ends(interval) | {"interval_over": IMAGES} if interval else {})
    if standing.interval:
        cells |= _ends(standing.interval) | {"interval_over": standing.over}
    if standing.rank:
        cells |= dict(zip(("rank_best", "rank_worst"), standing.rank, strict=True))
    if standing.change:
        cells |= {f"delta_{name}": end for name, end in _ends(standing.change.interval).items()}
    return cells


def _ends(interval: Interval) -> dict[str, object]:
    return dict(zip(("lower", "upper"), interval, strict=True))


def _in_order(quantity: Quantity, cells: Mapping[str, object]) -> list[object]:
    """The cells under `NUMBERS`, empty where there is no value."""
    names = asdict(quantity)
    found = [names.get(name, cells.get(name)) for name in NUMBERS]
    return ["" if cell is None else cell for cell in found]


def _relative_mce(comparison: Comparison, group: Group, base: Group | None) -> float | None:
    """Of the mean accuracies: relative mCE is linear in them, so this is the mean over the runs too."""
    mean = Quantity("mean_ce", ALL, ALL)
    if base is None or group.complete(mean) is None or base.complete(mean) is None:
        return None
    try:
        return relative_mce(_accuracies(group), comparison.conditions, baseline=_accuracies(base))
    except (MetricNotDefinedError, NotComparableError):
        return None


def _accuracies(group: Group) -> dict[Condition, float]:
    return {
        (quantity.corruption, int(quantity.severity)): estimate.mean
        for quantity, estimate in group.estimates.items()
        if quantity.metric == "accuracy"
    }
