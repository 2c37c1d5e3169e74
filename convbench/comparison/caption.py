"""What a table must say about itself: the conditions of its numbers, and the meaning of its columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convbench.comparison.aggregates import Aggregate
from convbench.comparison.columns import Column, accuracy_columns, network_columns
from convbench.comparison.comparability import list_conditions, severities_in_words
from convbench.comparison.comparison import Comparison
from convbench.comparison.runs import data_sets
from convbench.config import SEVERITIES
from convbench.metrics.alexnet import CLEAN_ERROR
from convbench.metrics.corruption_error import Condition
from corruptions import GROUPS

_DEFINITIONS = {
    "clean": "accuracy on the images as they are",
    "corrupted": "mean accuracy over {grid}",
    "relative": "corrupted / clean",
    "σ layer": "largest singular value of any convolution or linear layer, as an operator",
    "σ composed": "the same of a convolution with its normalization, where that is affine",
    "Lipschitz ≥": "lower bound of the network's constant, the largest Jacobian norm found at an image",
    "Lipschitz ≤": "upper bound of it, the product over the layers",
}
_AGGREGATES = {
    "mean_corrupted_accuracy": "mean accuracy over {conditions}",
    "mean_ce": "unnormalised mean error, 1 - accuracy, over {conditions}",
    "relative_accuracy": "mean of corrupted / clean accuracy over {conditions}",
    "mce": "mean over the corruptions of Σ error / Σ error of {baseline}, Σ over the severities ({conditions})",
    "relative_mce": "mean over the corruptions of Σ (error - clean error) / the same of {baseline}, Σ over the "
    "severities ({conditions})",
}
_REMADE = ", on generated images: not those of the published archive, which AlexNet saw as JPEG files of quality 85"
_ALEXNET = f"AlexNet as published (clean error {100 * CLEAN_ERROR} %, rounded in the paper)"


def corruptions_in_words(comparison: Comparison) -> str:
    """The only corruption by its name, several by their number."""
    corruptions = comparison.corruptions
    return corruptions[0] if len(corruptions) == 1 else f"{len(corruptions)} corruptions"


def grid(comparison: Comparison) -> str:
    """The conditions behind the mean corrupted accuracy: "15 corruptions × 5 severities"."""
    corruptions, severities = comparison.corruptions, comparison.severities
    if len(corruptions) * len(severities) != len(comparison.conditions):
        return f"{len(comparison.conditions)} conditions ({list_conditions(comparison.conditions)})"
    names = corruptions_in_words(comparison)
    if len(severities) == len(SEVERITIES):
        return f"{names} × {len(severities)} severities"
    return f"{names} at severity {severities_in_words(severities)}"


def conditions(comparison: Comparison) -> str:
    """One sentence: data set, split, images, corruptions and whose constants, seeds, versions, devices."""
    rows = [row for run in comparison.runs for row in run.rows]
    images = sorted({row.n for row in rows if row.metric == "accuracy"})
    parts = [
        "Conditions: " + _join(data_sets(comparison.runs)),
        _join(row.split for row in rows) + " split",
        (f"{images[0]:,}" if len(images) == 1 else f"{images[0]:,} to {images[-1]:,}") + " images a condition"
        if images
        else "no accuracy",
        grid(comparison) if comparison.conditions else "no corruption evaluated",
    ]
    profiles = _join(f"{row.source} by {row.profile}" for row in rows if row.profile)
    parts += [profiles] if profiles else []
    seeds = sorted({run.seed for run in comparison.runs if run.seed is not None})
    parts += [f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"] if seeds else []
    machines = [machine for run in comparison.runs for machine in (_machine(run.record), _machine(run.settings))]
    versions = _join(str(machine.get("versions", {}).get("torch") or "") for machine in machines)
    parts += [f"torch {versions}"] if versions else []
    devices = _join(str(machine.get("device", "")) for machine in machines)
    parts += [devices] if devices else []
    return "; ".join(parts) + "."


def _machine(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Versions and device, of the training (run.json) or of the evaluation (settings.json)."""
    return record.get("conditions", {})


def definitions(comparison: Comparison) -> list[str]:
    """The meaning of each column and mark that the tables use, one line each."""
    columns = [*accuracy_columns(comparison), *network_columns(comparison)]
    lines = [f"{column.heading}: {_define(comparison, column)}" for column in columns]
    lines += [f"{one.name}: {_define_aggregate(comparison, one)}" for one in comparison.aggregates]
    estimates = [
        group.estimates[c.quantity] for group in comparison.groups for c in columns if c.quantity in group.estimates
    ]
    if any(estimate.sd is not None for estimate in estimates):
        lines.append("±: sample standard deviation over runs")
    if any(estimate.interval is not None for estimate in estimates):
        lines.append("[ ]: 95 % Wilson interval of a single run: images only, not retraining")
    if any(e.runs < len(g.runs) for g in comparison.groups for c in columns if (e := g.get(c.quantity))):
        lines.append("(k/n): only k of the n runs have this number")
    return lines


def _define(comparison: Comparison, column: Column) -> str:
    if column.heading.startswith("severity"):
        one = len(comparison.corruptions) == 1
        where = f"accuracy under {comparison.corruptions[0]}" if one else "mean accuracy over the corruptions"
        return f"{where} at {column.heading}"
    return _DEFINITIONS[column.heading].format(grid=grid(comparison))


def _define_aggregate(comparison: Comparison, aggregate: Aggregate) -> str:
    group = f"{comparison.by} {aggregate.baseline} (mean over its runs)"
    baseline = f"the run {aggregate.baseline}" if aggregate.run else group if aggregate.baseline else _ALEXNET
    template = _AGGREGATES[aggregate.metric.removesuffix("_alexnet")]
    over = _spelled_out(aggregate.conditions(comparison.conditions))
    made = any("/" in row.profile for run in comparison.runs for row in run.rows)  # by an engine, also if from a file
    defined = any(aggregate.quantity in group.estimates for group in comparison.groups)
    remade = _REMADE if defined and "images" in aggregate.entry.facts and made else ""
    return template.format(conditions=over, baseline=baseline) + remade


def _spelled_out(conditions: Sequence[Condition]) -> str:
    """Which corruptions and severities, and how many conditions: "fog, snow at severities 1-5, 10 conditions"."""
    if not conditions:
        return "no condition that was evaluated"
    corruptions = tuple(dict.fromkeys(name for name, _ in conditions))
    severities = sorted({severity for _, severity in conditions})
    if len(corruptions) * len(severities) != len(conditions):
        return f"{len(conditions)} conditions ({list_conditions(conditions)})"
    group = next((group for group, members in GROUPS.items() if set(members) == set(corruptions)), "")
    names = f"the {len(corruptions)} {group} corruptions" if group else ", ".join(corruptions)
    where = f"at {'severity' if len(severities) == 1 else 'severities'} {severities_in_words(severities)}"
    return f"{names} {where}, {len(conditions)} condition{'s' if len(conditions) > 1 else ''}"


def _join(words: Iterable[str]) -> str:
    return ", ".join(filter(None, dict.fromkeys(words)))
