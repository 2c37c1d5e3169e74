"""May a candidate's numbers be held against the baseline's? Checked before any number is looked at."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from convbench.comparison.comparability import first_difference
from convbench.comparison.runs import Run
from convbench.errors import NotComparableError
from convbench.gate.arms import Arm

# Metric -> the versions of convbench in which its definition changed: numbers from before and after do not compare.
DEFINITION_CHANGES: Mapping[str, tuple[str, ...]] = {}

# Of evaluation/settings.json: what decides which images were seen, and how.
_CHECKED = {
    "data_fingerprint": "the images and their order",
    "corruption_seed": "the seed of the corruptions",
    "checkpoint": "which weights of the training",
    "lipschitz_examples": "the number of examples of the Lipschitz bounds",
}
# Of its conditions: what moves single images across a decision boundary, and no more.
_WARNED = ("device", "precision", "batch_size")
_FINGERPRINT = ("dataset", "split", "n", *_CHECKED, "corruption_source", "corruption_profile")


@dataclass(frozen=True, kw_only=True)
class Comparability:
    """What all sides share, and what a reader must know beside it.

    Args:
        fingerprint: the conditions of measurement: data, images and their order, corruptions, profile, seed ...
        notes: what could not be checked, and differences that do not forbid a comparison.
    """

    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def check_comparable(baseline: Arm, candidate: Arm) -> Comparability:
    """Refuse arms that were measured under different conditions; say what could not be checked.

    Compared in this order: data set, split, images and their order, seed of the corruptions, weights (best or last),
    examples of the bounds, archives; for each condition that two runs share its number of images, source and profile;
    the settings of attacks; the definitions of metrics. What only one run states is no difference.

    Raises:
        NotComparableError: the first key that differs, with both values.
    """
    runs = _labelled(baseline) + _labelled(candidate)
    difference = first_difference([_called(label, run) for label, run in runs])
    if difference is not None:
        raise NotComparableError(f"not comparable: {difference}. Measure both sides alike.")
    _require_equal_attacks(runs)
    _require_equal_definitions(runs)
    return Comparability(fingerprint=_fingerprint(runs), notes=(*_unchecked(runs), *_warnings(runs)))


def _labelled(arm: Arm) -> list[tuple[str, Run]]:
    """The runs of `arm` with what a message calls them."""
    if len(arm.evidence) == 1:
        return [(arm.label, arm.evidence[0].run)]
    return [(f"{arm.label} ({evidence.run.run_id})", evidence.run) for evidence in arm.evidence]


def _called(label: str, run: Run) -> Run:
    """`run` under the user's name for it: a network that was trained again has the id of the first one."""
    return replace(run, rows=(replace(run.rows[0], run_id=label), *run.rows[1:]))


def _require_equal_attacks(runs: Sequence[tuple[str, Run]]) -> None:
    """The robust accuracies of one attack at two strengths are two numbers, not a change."""
    first: dict[str, tuple[str, set[str]]] = {}
    for label, run in runs:
        of_run: dict[str, set[str]] = {}
        for attack in {row.attack for row in run.rows if row.attack}:
            of_run.setdefault(attack.partition(":")[0], set()).add(attack)
        for name, settings in sorted(of_run.items()):
            other, others = first.setdefault(name, (label, settings))
            if not settings & others:
                raise NotComparableError(
                    f"not comparable: attack {name} is {sorted(others)[0]!r} in {other}, {sorted(settings)[0]!r} in "
                    f"{label}. Measure both sides alike."
                )


def _require_equal_definitions(runs: Sequence[tuple[str, Run]]) -> None:
    stated = [(label, _version_of(run), run) for label, run in runs]
    for metric, changes in DEFINITION_CHANGES.items():
        found: tuple[str, str, int] | None = None
        for label, version, run in stated:
            if not version or not any(row.metric == metric for row in run.rows):
                continue
            age = sum(_ordered(change) <= _ordered(version) for change in changes)
            if found is not None and found[2] != age:
                raise NotComparableError(
                    f"not comparable: the definition of {metric} is that of convbench {found[1]!r} in {found[0]}, of "
                    f"{version!r} in {label}. Evaluate both sides with one convbench."
                )
            found = found or (label, version, age)


def _version_of(run: Run) -> str:
    versions = run.settings.get("conditions", {}).get("versions", {})
    return str(versions.get("convbench") or "")


def _ordered(version: str) -> tuple[int, ...]:
    """A version as numbers: "0.10.0rc1" -> (0, 10, 0)."""
    return tuple(map(int, re.findall(r"[0-9]+", re.split(r"[^0-9.]", version)[0])))


def _fingerprint(runs: Sequence[tuple[str, Run]]) -> dict[str, Any]:
    """What the first run that states it says of each condition of measurement."""
    found: dict[str, Any] = {}
    for _, run in runs:
        columns = {"dataset": run.rows[0].dataset, "split": run.rows[0].split}
        for key, value in (columns | dict(run.settings)).items():
            if key in _FINGERPRINT and value != "":
                found.setdefault(key, value)
        corrupted = next((row for row in run.rows if row.severity and not row.attack), None)
        if corrupted is not None:
            found.setdefault("corruption_source", corrupted.source)
            found.setdefault("corruption_profile", corrupted.profile)
    return {key: found[key] for key in _FINGERPRINT if key in found}


def _unchecked(runs: Sequence[tuple[str, Run]]) -> list[str]:
    silent = {key: list(dict.fromkeys(label for label, run in runs if key not in run.settings)) for key in _CHECKED}
    by_labels: dict[str, list[str]] = {}
    for key, labels in silent.items():
        if labels:
            by_labels.setdefault(" and ".join(labels), []).append(_CHECKED[key])
    return [f"not checked, because {labels} does not say: {', '.join(what)}." for labels, what in by_labels.items()]


def _warnings(runs: Sequence[tuple[str, Run]]) -> list[str]:
    """One line on conditions that differ and may move single images."""
    different: list[str] = []
    stated = [(label, run.settings.get("conditions", {})) for label, run in runs]
    for key in _WARNED:
        different += _differs(key.replace("_", " "), [(label, of_run.get(key)) for label, of_run in stated])
    versions = [(label, of_run.get("versions", {})) for label, of_run in stated]
    for package in dict.fromkeys(name for _, of_run in versions for name in of_run):
        different += _differs(package, [(label, of_run.get(package)) for label, of_run in versions])
    if not different:
        return []
    return [f"measured under different {'; '.join(different)}: single images may differ by rounding."]


def _differs(what: str, values: Sequence[tuple[str, Any]]) -> list[str]:
    stated = [(label, value) for label, value in values if value is not None]
    for label, value in stated:
        if value != stated[0][1]:
            return [f"{what} ({stated[0][1]} in {stated[0][0]}, {value} in {label})"]
    return []
