"""Runs side by side: grouped, averaged over seeds, and set against a baseline group.

One `Comparison` is the source of every output (terminal, Markdown, CSV, plots), so that they cannot disagree.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from convbench.comparison.aggregates import Aggregate, estimate_aggregates, parse_aggregate, with_baseline
from convbench.comparison.comparability import first_difference, list_conditions, missing_conditions
from convbench.comparison.correctness import ImageAccuracies
from convbench.comparison.quantities import Estimate, Measurement, Quantity, conditions_of, estimate, measure
from convbench.comparison.runs import IDENTITY, Run, facts_of, runs_of
from convbench.errors import NotComparableError, UnknownNameError
from convbench.metrics.corruption_error import Condition
from convbench.rows import Row


@dataclass(frozen=True, kw_only=True)
class Group:
    """The runs of one arm: alike in everything but the seed.

    Args:
        name: its value of the column that the comparison groups by.
        settings: its values of `Comparison.settings`, in that order.
        estimates: every number that at least one of its runs has.
    """

    name: str
    settings: tuple[str, ...]
    runs: tuple[Run, ...]
    estimates: Mapping[Quantity, Estimate]

    def get(self, quantity: Quantity) -> Estimate | None:
        """The estimate of `quantity`, or None where no run has it."""
        return self.estimates.get(quantity)

    def complete(self, quantity: Quantity) -> Estimate | None:
        """The estimate of `quantity` over all runs of the group; None where one of them lacks it."""
        found = self.get(quantity)
        return found if found is not None and found.runs == len(self.runs) else None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Groups of runs and what may be said about them.

    Args:
        by: the column that names the groups.
        settings: further columns in which the groups differ; empty when `by` tells all.
        baseline: the name of the group that the others are set against, within equal settings.
        groups: those of equal settings together, the baseline first (numbers ascend instead).
        conditions: the union of the corrupted conditions of all runs.
        aggregates: those that were asked for by name.
        notes: what a reader must know before believing the numbers.
    """

    by: str
    settings: tuple[str, ...]
    baseline: str
    groups: tuple[Group, ...]
    conditions: tuple[Condition, ...]
    aggregates: tuple[Aggregate, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(run for group in self.groups for run in group.runs)

    @cached_property
    def images(self) -> ImageAccuracies:
        """Which images its runs classified rightly."""
        return ImageAccuracies()

    @cached_property
    def alike(self) -> Mapping[tuple[str, ...], bool]:
        """By settings: whether the runs of these groups were all measured under the same conditions."""
        return {
            settings: first_difference([run for group in groups for run in group.runs]) is None
            for settings, groups in self.blocks().items()
        }

    @property
    def corruptions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(corruption for corruption, _ in self.conditions))

    @property
    def severities(self) -> tuple[int, ...]:
        return tuple(sorted({severity for _, severity in self.conditions}))

    def blocks(self) -> dict[tuple[str, ...], tuple[Group, ...]]:
        """The groups by their settings: inside one block only `by` differs."""
        blocks: dict[tuple[str, ...], tuple[Group, ...]] = {}
        for group in self.groups:
            blocks[group.settings] = (*blocks.get(group.settings, ()), group)
        return blocks

    def label(self, group: Group) -> str:
        """The name of `group`, with the settings that tell it from its namesakes."""
        words = self.describe(group.settings)
        return f"{group.name}, {words}" if words else group.name

    def describe(self, settings: tuple[str, ...]) -> str:
        """Settings in words: "label noise symmetric 0.4, epochs 25"."""
        pairs = dict(zip(self.settings, settings, strict=True))
        if {"label_noise", "label_noise_rate"} <= pairs.keys():
            rate = pairs.pop("label_noise_rate")
            pairs["label_noise"] += "" if pairs["label_noise"] == "none" or rate == "-" else f" {rate}"
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in pairs.items())

    def baseline_of(self, group: Group) -> Group | None:
        """The baseline with the settings of `group`; None where no such run was made."""
        alike = (other for other in self.groups if other.settings == group.settings)
        return next((other for other in alike if other.name == self.baseline), None)

    def difference(self, group: Group, quantity: Quantity) -> float | None:
        """The mean of `group` minus that of its baseline; None for the baseline itself, or where a run lacks it."""
        base = self.baseline_of(group)
        ours, theirs = group.complete(quantity), base.complete(quantity) if base else None
        if base is group or ours is None or theirs is None:
            return None
        return ours.mean - theirs.mean


def compare(
    results: Iterable[Row] | Iterable[Run],
    *,
    by: str = "norm",
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Comparison:
    """Group `results` by a column and estimate every number per group, as mean and standard deviation over runs.

    Runs that differ in more than the seed are never averaged: what else varies among them (a column, or a training
    setting of their config.json) becomes a further column.

    Args:
        by: a column of the rows that describes the run, or a training setting ("epochs").
        baseline: the name of a group; None is `bn` when grouping by norm, else the first run's.
        metrics: aggregates over conditions to add ("mce_alexnet", "mean_ce:severity=5", "mce:baseline=RUN").
        notes: notes to carry along, before those of the comparison.

    Raises:
        UnknownNameError: no run has a column `by`, or there is no metric of this name.
        NotComparableError: there are no results, no group is called `baseline`, or a run contradicts itself.
    """
    asked = [parse_aggregate(text) for text in metrics]
    items = list(results)
    given = [item for item in items if isinstance(item, Run)]
    runs = [*given, *runs_of(item for item in items if isinstance(item, Row))]
    if not runs:
        raise NotComparableError("nothing to compare: no results.")
    facts = facts_of(runs)
    known = {name for fact in facts for name in fact}
    if by not in known:
        raise UnknownNameError("column", by, known)
    settings = _varying(facts, by)
    conditions = conditions_of(runs)
    members: dict[tuple[str, tuple[str, ...]], list[Run]] = {}
    for run, fact in zip(runs, facts, strict=True):
        key = _text(fact.get(by)), tuple(_text(fact.get(name)) for name in settings)
        members.setdefault(key, []).append(run)
    names = [name for name, _ in members]
    if baseline is not None and baseline not in names:
        raise NotComparableError(f"no {by} is called {baseline!r}. There are: {', '.join(sorted(set(names)))}.")
    baseline = baseline or ("bn" if by == "norm" and "bn" in names else names[0])
    aggregates = tuple(dict.fromkeys(with_baseline(one, baseline, names, runs) for one in asked))
    found, undefined = estimate_aggregates(aggregates, members, conditions)
    groups = [
        Group(
            name=key[0], settings=key[1], runs=tuple(of_group), estimates=_estimates(of_group, conditions) | found[key]
        )
        for key, of_group in members.items()
    ]
    rank_of_name = _ranks(dict.fromkeys([baseline, *names]))
    rank_of_settings = [_ranks(dict.fromkeys(column)) for column in zip(*(g.settings for g in groups), strict=True)]
    groups.sort(
        key=lambda group: (
            [rank[value] for rank, value in zip(rank_of_settings, group.settings, strict=True)],
            rank_of_name[group.name],
        )
    )
    return Comparison(
        by=by,
        settings=settings,
        baseline=baseline,
        groups=tuple(groups),
        conditions=conditions,
        aggregates=aggregates,
        notes=(*notes, *_notes(runs, groups, conditions, [one.run for one in aggregates if one.run]), *undefined),
    )


def _varying(facts: Sequence[Mapping[str, Any]], by: str) -> tuple[str, ...]:
    """The facts besides `by` of which two values are known; columns first, then training settings."""
    if by == "run_id":
        return ()  # each run is its own group, and its name says the rest
    names = [*IDENTITY, *(name for name in dict.fromkeys(n for fact in facts for n in fact) if name not in IDENTITY)]
    return tuple(
        name
        for name in names
        if name not in (by, "seed", "run_id") and len({_text(fact[name]) for fact in facts if name in fact}) > 1
    )


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return " ".join(map(_text, value)) or "-"
    return str(value)


def _ranks(values: Iterable[str]) -> dict[str, float]:
    """Each value's place: by size when all are numbers, else as they come."""
    values = list(values)
    try:
        return {value: float(value) for value in values}
    except ValueError:
        return {value: place for place, value in enumerate(values)}


def _estimates(runs: Sequence[Run], conditions: Sequence[Condition]) -> dict[Quantity, Estimate]:
    found: dict[Quantity, list[Measurement]] = {}
    for run in runs:
        for quantity, measurement in measure(run, conditions).items():
            found.setdefault(quantity, []).append(measurement)
    return {quantity: estimate(measurements) for quantity, measurements in found.items()}


def _notes(
    runs: Sequence[Run], groups: Sequence[Group], conditions: Sequence[Condition], baselines: Sequence[Run]
) -> list[str]:
    notes = []
    difference = first_difference([*runs, *baselines])
    if difference:
        notes.append(f"not measured alike: {difference}. Their numbers are not about the same thing.")
    for run in runs:
        missing = missing_conditions(run, conditions)
        if missing:
            notes.append(
                f"{run.run_id} lacks {len(missing)} of {len(conditions)} conditions ({list_conditions(missing)}): "
                "its means over them are withheld."
            )
    for group in groups:
        seeds = [run.seed for run in group.runs if run.seed is not None]
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            notes.append(
                f"{group.name} has several runs with seed {', '.join(map(str, twice))}: "
                "they may differ in a setting that the results do not state."
            )
    return notes
