"""Limits as they were written -> numbers by metric: names, units and directions checked against what was measured."""

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from convbench.comparison.quantities import conditions_of, higher_is_better, measure
from convbench.errors import ConfigError, UnknownNameError
from convbench.gate.arms import Arm
from convbench.gate.filter import parse_filter
from convbench.gate.policy import DEFAULT_MARGINS, Policy
from convbench.gate.report import Report, Scale
from convbench.gate.rules import Limit, Rules
from convbench.gate.scales import scale_of
from convbench.metrics import CORRUPTION_METRICS, NETWORK_METRICS, PREDICTION_METRICS
from convbench.metrics.corruption_error import Condition

ALIASES = {
    "clean_acc": "accuracy",
    "clean_accuracy": "accuracy",
    "mean_corrupted_acc": "mean_corrupted_accuracy",
}
_CELL = "cell"  # "cell:corruption=fog" is the accuracy there


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What limits may name."""

    metrics: tuple[str, ...]
    conditions: tuple[Condition, ...]
    under_corruption: frozenset[str]

    def called(self, name: str) -> list[str]:
        """The metrics that `name` covers: its own, and those that go on after it ("mce" covers mce_alexnet)."""
        return [metric for metric in self.metrics if metric == name or metric.startswith((name + "_", name + ":"))]


def policy_of(rules: Rules, arms: Sequence[Arm]) -> Policy:
    """The policy that `rules` mean for `arms`, whose conditions are filtered already.

    Raises:
        ConfigError: an unknown metric or condition, the wrong direction or unit, a pattern that matches nothing.
    """
    runs = [evidence.run for arm in arms for evidence in arm.evidence]
    conditions = conditions_of(runs)
    names = dict.fromkeys(q.metric for run in runs for q in measure(run, conditions))
    measured = _Measured(
        metrics=tuple(names | dict.fromkeys(CORRUPTION_METRICS.names())),
        conditions=conditions,
        under_corruption=frozenset(row.metric for run in runs for row in run.rows if row.severity),
    )
    margins: dict[str, float] = {}
    for limit in _least_specific_first(rules.margins):
        metric, amount = _margin(limit, measured)
        for key in _keys(limit, metric, measured):
            margins[key] = amount
    floors = dict(_floor(limit, measured) for limit in rules.floors)
    return rules.policy(margins, floors)


def require_used(rules: Rules, report: Report) -> None:
    """Refuse a limit that no number of `report` was held against: it would guard nothing, unseen.

    Raises:
        ConfigError: the limit, and the metrics that there are.
    """
    checked = dict.fromkeys(check.metric for judgement in report.judgements for check in judgement.checks)
    for limit in (*rules.margins, *rules.floors):
        name = _split(limit)[0]
        if not any(metric == name or metric.startswith((name + "_", name + ":")) for metric in checked):
            raise ConfigError(
                f"{limit.where} {limit.key}={limit.amount}: nothing was compared by {name}; "
                f"numbers compared: {', '.join(checked)}."
            )


def _least_specific_first(limits: Iterable[Limit]) -> list[Limit]:
    """The order in which limits are put down, the last one wins: files, then flags; in each, single conditions last."""
    return sorted(limits, key=lambda limit: (limit.where.startswith("--"), _specificity(limit)))


def _specificity(limit: Limit) -> int:
    return sum(1 if set("*?[-") & set(value) else 2 for value in _split(limit)[1].values())


def _split(limit: Limit) -> tuple[str, dict[str, str]]:
    """The metric of a limit, and its corruption and severity where it says one."""
    name, _, tail = limit.key.partition(":")
    options = {}
    for item in filter(None, tail.split(",")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not value:
            raise ConfigError(f"{limit.where} {limit.key}: write options as corruption=NAME,severity=NUMBER.")
        options[key] = value
    if name == _CELL and options.keys() & {"corruption", "severity"}:
        name = "accuracy"
    name = ALIASES.get(name, name)
    if options and not options.keys() <= {"corruption", "severity"}:
        return (f"{name}:{tail}", {})  # an option of the metric's own: "mce:baseline=bn"
    return name, options


def _known(limit: Limit, measured: _Measured) -> tuple[str, list[str]]:
    """The metric's name and the metrics that it covers, at least one."""
    name, options = _split(limit)
    covered = measured.called(name)
    if covered and options and name not in measured.under_corruption:
        raise ConfigError(
            f"{limit.where} {limit.key}: {name} has no value for one condition; those that do: "
            f"{', '.join(sorted(measured.under_corruption))}."
        )
    if covered or name.partition(":")[0] in CORRUPTION_METRICS:
        return name, covered or [name.partition(":")[0]]
    if name in PREDICTION_METRICS or name in NETWORK_METRICS or name in DEFAULT_MARGINS:
        raise ConfigError(f"{limit.where} {limit.key}: neither side has {name}; they have {_list(measured.metrics)}.")
    raise UnknownNameError(f"metric of {limit.where}", name, {*measured.metrics, *DEFAULT_MARGINS, *ALIASES})


def _margin(limit: Limit, measured: _Measured) -> tuple[str, float]:
    name, covered = _known(limit, measured)
    directions = {higher_is_better(metric) for metric in covered}
    if directions == {None}:
        raise ConfigError(f"{limit.where} {limit.key}: neither end of {name} is better, so it has no margin.")
    wrong = {"--max-drop": False, "--max-rise": True}.get(limit.where)
    if wrong in directions:
        right, better = ("--max-drop", "higher") if wrong else ("--max-rise", "lower")
        raise ConfigError(
            f"{limit.where} {limit.key}: {name} is better the {better}: write {right} {limit.key}={limit.amount}."
        )
    amount = _amount(limit, scale_of(covered[0]))
    if amount < 0:
        raise ConfigError(f"{limit.where} {limit.key}: a margin is at least 0, got {limit.amount}.")
    return name, amount


def _floor(limit: Limit, measured: _Measured) -> tuple[str, float]:
    name, covered = _known(limit, measured)
    if _split(limit)[1] or covered != [name]:
        names = [metric for metric in measured.metrics if higher_is_better(metric)]
        raise ConfigError(f"{limit.where} {limit.key}: give one metric of {', '.join(names)}.")
    if not higher_is_better(name):
        raise ConfigError(f"{limit.where} {limit.key}: a least value is for metrics that are better the higher.")
    floor = _amount(limit, scale_of(name))
    if scale_of(name) is Scale.POINTS and not 0 <= floor <= 1:
        raise ConfigError(f"{limit.where} {limit.key}: give percent, 0 to 100, got {limit.amount}.")
    return name, floor


def _amount(limit: Limit, scale: Scale) -> float:
    """The number of a limit: percentage points become shares, percent become ratios."""
    at = f"{limit.where} {limit.key}={limit.amount}"
    match = re.fullmatch(r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(%|pp)?", limit.amount)
    try:
        value = float(match[1]) if match else math.nan
    except ValueError:
        value = math.nan
    if match is None or not math.isfinite(value):
        raise ConfigError(f'{at}: the amount must be a number, as 0.5, or of a bound in percent, as "5%".')
    unit = match[2]
    if scale is Scale.RATIO:
        if unit != "%":
            raise ConfigError(f"{at}: numbers of the network are compared as ratios, write percent: {match[1]}%.")
        return value / 100
    if scale is Scale.PLAIN:
        if unit:
            raise ConfigError(f"{at}: this metric is compared in its own unit, write a plain number.")
        return value
    if unit == "%" and limit.where not in ("--min",) and not limit.where.endswith(", min"):
        raise ConfigError(f"{at}: accuracies are compared in percentage points, write {match[1]} without %.")
    return value / 100


def _keys(limit: Limit, metric: str, measured: _Measured) -> list[str]:
    """The keys of the policy that a limit stands for: the metric, or each condition that its pattern matches."""
    options = _split(limit)[1]
    if not options:
        return [metric]
    found = [condition for condition in measured.conditions if _matches(limit, options, condition)]
    if not found:
        corruptions, severities = ({str(c[i]) for c in measured.conditions} for i in (0, 1))
        raise ConfigError(
            f"{limit.where} {limit.key} matches no condition; there are corruptions {_list(sorted(corruptions))}, "
            f"severities {_list(sorted(severities))}."
        )
    return [f"{metric}:corruption={corruption},severity={severity}" for corruption, severity in found]


def _matches(limit: Limit, options: dict[str, str], condition: Condition) -> bool:
    # The same words mean the same here as in a filter: globs, groups, ranges.
    expression = " ".join(f'{key}:"{value}"' for key, value in options.items())
    try:
        return parse_filter(expression).holds(condition)
    except ConfigError as error:
        raise ConfigError(f"{limit.where} {limit.key}: {error}") from None


def _list(names: Collection[str]) -> str:
    return ", ".join(names) or "none"
