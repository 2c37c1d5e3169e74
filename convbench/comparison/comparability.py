"""May these numbers stand side by side? What differs in how runs were measured, and which conditions are missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from convbench.comparison.runs import Run
from convbench.metrics.corruption_error import Condition

# Of evaluation/settings.json: what decides which images were seen, and by which weights.
_SETTINGS = {
    "examples": "number of examples (examples)",
    "seed": "seed of the corruptions",
    "checkpoint": "checkpoint",
    "data_fingerprint": "fingerprint of the images",
}
_NAMED = 4  # missing corruptions that a note names before it counts


@dataclass(frozen=True)
class Difference:
    """A condition of measurement in which two runs differ."""

    key: str
    first: tuple[str, Any]  # run id, value
    second: tuple[str, Any]

    def __str__(self) -> str:
        (one, value), (other, other_value) = self.first, self.second
        return f"{self.key} is {value!r} in {one} and {other_value!r} in {other}"


def first_difference(runs: Sequence[Run]) -> Difference | None:
    """The first condition of measurement in which a run differs from the first run that states it.

    Compared in this order: data set, split, examples, corruption seed, checkpoint, image fingerprint, then for each
    condition that two runs share its number of examples, source and profile. What only one run states is no
    difference: a CSV alone knows no settings.
    """
    stated: dict[tuple[object, ...], tuple[str, Any]] = {}
    for key, words in _keys(runs):
        for run in runs:
            value = _value(run, key)
            if value is None:
                continue
            first = stated.setdefault(key, (run.run_id, value))
            if first[1] != value:
                return Difference(words, first, (run.run_id, value))
    return None


def _keys(runs: Sequence[Run]) -> Iterable[tuple[tuple[object, ...], str]]:
    yield ("row", "dataset"), "data set"
    yield ("row", "split"), "split"
    for name, words in _SETTINGS.items():
        yield ("settings", name), words
    conditions = dict.fromkeys(
        (row.corruption, row.severity) for run in runs for row in run.rows if row.metric == "accuracy"
    )
    for corruption, severity in conditions:
        where = "clean" if corruption == "none" else f"{corruption} severity {severity}"
        for name, words in (("n", "number of examples"), ("source", "source"), ("profile", "profile")):
            yield ("condition", corruption, severity, name), f"{words} ({where})"


def _value(run: Run, key: tuple[object, ...]) -> Any:
    if key[0] == "row":
        return getattr(run.rows[0], str(key[1]))
    if key[0] == "settings":
        return run.settings.get(str(key[1]))
    _, corruption, severity, name = key
    for row in run.rows:
        if (row.metric, row.attack, row.corruption, row.severity) == ("accuracy", "", corruption, severity):
            return getattr(row, str(name))
    return None


def missing_conditions(run: Run, conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """Those of `conditions` for which `run` has no accuracy."""
    has = {(row.corruption, row.severity) for row in run.rows if row.metric == "accuracy" and not row.attack}
    return tuple(condition for condition in conditions if condition not in has)


def list_conditions(conditions: Iterable[Condition]) -> str:
    """Conditions in words: "fog 1, 2 and 5; snow 3"; more than a few corruptions are counted."""
    named = [
        f"{corruption} {_ranges([severity for _, severity in group])}"
        for corruption, group in groupby(conditions, key=lambda condition: condition[0])
    ]
    more = len(named) - _NAMED
    return "; ".join(named[:_NAMED]) + (f"; and {more} more corruptions" if more > 0 else "")


def _ranges(severities: list[int]) -> str:
    if len(severities) > 2 and severities == list(range(severities[0], severities[-1] + 1)):
        return f"{severities[0]}-{severities[-1]}"
    return ", ".join(map(str, severities))
