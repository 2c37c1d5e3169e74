"""May these numbers stand side by side? What differs in how runs were measured, and which conditions are missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from convbench.comparison.runs import Run, data_sets
from convbench.metrics.corruption_error import Condition

# Of evaluation/settings.json: what decides which images were seen, and by which weights. Not `examples`, which has two
# ways to ask for all images: the number of examples in the rows and the fingerprint say what was seen.
_SETTINGS = {
    "corruption_seed": "seed of the corruptions",
    "checkpoint": "checkpoint",
    "data_fingerprint": "fingerprint of the images",
    "lipschitz_examples": "number of examples of the Lipschitz bounds",
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

    Compared in this order: data set, split, the evaluation settings, then for each condition that two runs share its
    number of examples, source and profile. What only one run states is no difference: a CSV alone
    knows no settings. Two folders of the same images are one data set, wherever they lie.
    """
    stated = [(run.run_id, _stated(run, name)) for run, name in zip(runs, data_sets(runs), strict=True)]
    for key in dict.fromkeys(key for _, conditions in stated for key in conditions):
        (first, value), *others = ((run_id, conditions[key]) for run_id, conditions in stated if key in conditions)
        for other, other_value in others:
            if other_value != value:
                return Difference(key, (first, value), (other, other_value))
    return None


def _stated(run: Run, data_set: str) -> dict[str, Any]:
    """The conditions of measurement that `run` states, by their words in a message."""
    stated = {"data set": data_set, "split": run.rows[0].split}
    stated |= {words: run.settings[name] for name, words in _SETTINGS.items() if name in run.settings}
    # Two archives of one kind, say one published and one made anew.
    prints: dict[str, str] = run.settings.get("archive", {}).get("fingerprints", {})
    stated |= {f"fingerprint of the archive's {name}": value for name, value in prints.items()}
    for row in run.rows:
        if row.metric == "accuracy" and not row.attack:
            where = "clean" if row.corruption == "none" else f"{row.corruption} severity {row.severity}"
            stated |= {
                f"number of examples ({where})": row.n,
                f"source ({where})": row.source,
                f"profile ({where})": row.profile,
            }
    return stated


def missing_conditions(run: Run, conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """Those of `conditions` for which `run` has no accuracy."""
    has = {(row.corruption, row.severity) for row in run.rows if row.metric == "accuracy" and not row.attack}
    return tuple(condition for condition in conditions if condition not in has)


def list_conditions(conditions: Iterable[Condition]) -> str:
    """Conditions in words: "fog 1-5; snow 3"; corruptions beyond a few are counted."""
    named = [
        f"{corruption} {severities_in_words([severity for _, severity in group])}"
        for corruption, group in groupby(conditions, key=lambda condition: condition[0])
    ]
    more = len(named) - _NAMED
    return "; ".join(named[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def severities_in_words(severities: Sequence[int]) -> str:
    """Ascending severities: "1-5", or "1, 3"."""
    if len(severities) > 2 and list(severities) == list(range(severities[0], severities[-1] + 1)):
        return f"{severities[0]}-{severities[-1]}"
    return ", ".join(map(str, severities))
