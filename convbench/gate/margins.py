"""How much worse a number may get, and whether it counts for the gate."""

from collections.abc import Mapping
from dataclasses import dataclass

from convbench.gate.policy import DEFAULT_MARGINS, Policy
from convbench.gate.report import Kind
from convbench.metrics.corruption_error import CLEAN, Condition

# The numbers of images that count without being asked for; mean_ce is 1 - mean_corrupted_accuracy, and one number is
# not gated twice. Of the bounds the upper ones count: a lower bound that rises may only have been searched better.
_GATED = {Kind.AGGREGATE: ("accuracy", "mean_corrupted_accuracy", "ece", "mce"), Kind.NETWORK: ("lipschitz_upper",)}
_ASKED_FOR = {Kind.CONDITION: "conditions", Kind.LAYER: "layers"}  # by --gate


@dataclass(frozen=True)
class Margin:
    """The change for the worse that is allowed, None where nobody said; whether it is gated, and by the user's wish."""

    size: float | None
    gated: bool
    asked_for: bool = False


def margin_of(policy: Policy, kind: Kind, metric: str, condition: Condition = CLEAN) -> Margin:
    """The margin of a number; what the user says of it makes it count.

    Looked up in this order, the first hit wins: for a condition the pattern that fits it and says most
    ("accuracy:corruption=glass_blur,severity=5", either of the two alone, or both); the name of the metric, and its
    longest prefix ("lipschitz_upper" of "lipschitz_upper_product"), among the user's margins; the same among the
    defaults. The largest norm of all layers has the margin of one layer's.
    """
    gated = _ASKED_FOR[kind] in policy.gate if kind in _ASKED_FOR else is_prefix_of(_GATED.get(kind, ()), metric)
    pattern = _best_pattern(policy.margins, metric, condition) if kind is Kind.CONDITION else None
    if pattern is not None:
        return Margin(policy.margins[pattern], True, True)
    said = _longest_prefix(policy.margins, metric)
    if said is not None:
        # A margin of "accuracy" is that of the clean one, and the size for conditions without counting them.
        asked_for = kind is not Kind.CONDITION
        return Margin(policy.margins[said], gated or asked_for, asked_for)
    default = _longest_prefix(DEFAULT_MARGINS, metric)
    return Margin(DEFAULT_MARGINS[default] if default is not None else None, gated)


def is_prefix_of(names: tuple[str, ...], metric: str) -> bool:
    """Whether one of `names` is `metric` or what it starts with, up to "_" or ":"."""
    return any(metric == name or metric.startswith((f"{name}_", f"{name}:")) for name in names)


def pattern_of(key: str) -> tuple[str, dict[str, str]] | None:
    """The metric and the options of a key for conditions; None of one that names a metric alone.

    "accuracy:corruption=fog,severity=5" -> ("accuracy", {"corruption": "fog", "severity": "5"}).
    """
    metric, _, tail = key.partition(":")
    options = {name: value for name, _, value in (item.partition("=") for item in tail.split(","))} if tail else {}
    return (metric, options) if options and options.keys() <= {"corruption", "severity"} else None


def fits(key: str, metric: str, condition: Condition) -> bool:
    """Whether `key` is a pattern that `metric` under `condition` fits."""
    found = pattern_of(key)
    if found is None or found[0] != metric:
        return False
    corruption, severity = condition
    there = {"corruption": corruption, "severity": str(severity)}
    return all(there[name] == value for name, value in found[1].items())


def _best_pattern(margins: Mapping[str, float], metric: str, condition: Condition) -> str | None:
    fitting = [key for key in margins if fits(key, metric, condition)]
    return max(fitting, key=lambda key: key.count("="), default=None)


def _longest_prefix(margins: Mapping[str, float], metric: str) -> str | None:
    names = (metric, metric.removeprefix("largest_"))
    fitting = [key for key in margins if pattern_of(key) is None and any(is_prefix_of((key,), n) for n in names)]
    return max(fitting, key=len, default=None)
