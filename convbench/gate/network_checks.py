"""Numbers of the network itself: bounds and norms, compared by their ratio, with a margin and without a test."""

import math
import statistics
from collections.abc import Iterable

from convbench.comparison.quantities import Quantity, higher_is_better
from convbench.gate.arm_numbers import ENOUGH_RUNS
from convbench.gate.margins import Margin
from convbench.gate.pair import Pair, named_check, without_change
from convbench.gate.report import Check, Kind, Verdict
from convbench.gate.verdicts import verdict_of, verdict_of_ratio
from convbench.metrics import NETWORK_METRICS
from convbench.statistics.welch import welch_interval

_ROUNDING = 1e-3  # relative; of bounds that float32 and iterations to a tolerance came to along different paths
_LOWER, _UPPER = "_lower", "_upper"  # in the name of every bound: lipschitz_upper_product, spectral_norm_upper


def network_checks(pair: Pair) -> list[Check]:
    """The checks of the bounds of the whole network, and of the largest norms of its layers."""
    return [_check(pair, Kind.NETWORK, quantity) for quantity in _quantities(pair) if not quantity.layer]


def layer_checks(pair: Pair) -> list[Check]:
    """The checks of each layer's numbers; layers are the same where they have the same name.

    The ends of a certificate are told by the number between them, unless something is wrong with one.
    """
    quantities = [quantity for quantity in _quantities(pair) if quantity.layer]
    told = {(quantity.metric, quantity.layer) for quantity in quantities}

    def is_told(check: Check) -> bool:
        between = check.metric.removesuffix(_LOWER).removesuffix(_UPPER)
        return between != check.metric and (between, check.layer) in told

    checks = [_check(pair, Kind.LAYER, quantity) for quantity in quantities]
    return [check for check in checks if check.verdict in (Verdict.BROKEN, Verdict.MISSING) or not is_told(check)]


def _quantities(pair: Pair) -> Iterable[Quantity]:
    both = dict.fromkeys([*pair.baseline.quantities, *pair.candidate.quantities])
    return (q for q in both if q.metric.removeprefix("largest_") in NETWORK_METRICS)


def _check(pair: Pair, kind: Kind, quantity: Quantity) -> Check:
    direction = higher_is_better(quantity.metric)
    good = direction or False
    margin = pair.margin(kind, quantity)
    if direction is None:
        margin = Margin(None, False)
    base, candidate = pair.baseline.values(quantity), pair.candidate.values(quantity)
    if not base or not candidate:
        return without_change(pair, kind, quantity, margin, good)
    broken = _what_is_broken(pair, quantity, candidate)
    means = pair.baseline.mean(quantity), pair.candidate.mean(quantity)
    change, interval, method = None, None, "ratio"
    if _all_positive(base) and _all_positive(candidate):
        means = _geometric_mean(base), _geometric_mean(candidate)
        change = means[1] / means[0] - 1
        if not pair.single:
            method = "ratio of geometric means over runs"
        if min(pair.runs) >= ENOUGH_RUNS:
            ends = welch_interval([math.log(x) for x in base], [math.log(x) for x in candidate], pair.policy.alpha)
            interval = math.expm1(ends[0]), math.expm1(ends[1])
            method += ", Welch's interval of their logarithms"
    verdict, reason = broken or _verdict(pair, margin, base, candidate, change, interval, good)
    if direction is None and not broken:
        verdict, reason = Verdict.HELD, "neither end is better by itself"
    low, high = interval or (None, None)
    return named_check(
        pair,
        kind,
        quantity,
        higher_is_better=good,
        baseline=means[0],
        candidate=means[1],
        change=change,
        low=low,
        high=high,
        margin=margin.size,
        method=method,
        verdict=verdict,
        # A certificate that cannot be true is no detail; other numbers may have reasons to be NaN.
        gated=margin.gated or (broken is not None and _UPPER in quantity.metric),
        reason=reason,
    )


def _verdict(
    pair: Pair,
    margin: Margin,
    base: list[float],
    candidate: list[float],
    change: float | None,
    interval: tuple[float, float] | None,
    higher_is_better: bool,
) -> tuple[Verdict, str]:
    if interval is not None and change is not None:
        return verdict_of(
            change, interval, None, margin=margin.size, higher_is_better=higher_is_better, policy=pair.policy
        )
    if change is not None:
        return verdict_of_ratio(-change if higher_is_better else change, margin.size), ""
    return _without_ratio(base, candidate, higher_is_better)


def _without_ratio(base: list[float], candidate: list[float], higher_is_better: bool) -> tuple[Verdict, str]:
    """The verdict where a number has no logarithm: 0 (a constant network), infinity, NaN."""
    if any(map(math.isnan, base)):
        return Verdict.NEW, "not a number in the baseline"
    before, after = sum(base) / len(base), sum(candidate) / len(candidate)
    if math.isinf(before) and math.isinf(after):
        return Verdict.HELD, "infinite on both sides"
    if before == after:
        return Verdict.HELD, ""
    worse = (after < before) == higher_is_better
    if math.isinf(after) or math.isinf(before):
        reason = "infinite, finite in the baseline" if math.isinf(after) else "finite, infinite in the baseline"
        return (Verdict.REGRESSED if worse else Verdict.IMPROVED), reason
    return (Verdict.SUSPECT if worse else Verdict.IMPROVED), "no ratio: a number is 0"


def _what_is_broken(pair: Pair, quantity: Quantity, values: list[float]) -> tuple[Verdict, str] | None:
    """BROKEN and why, where the candidate's number cannot be what it is called."""
    if any(map(math.isnan, values)):
        return Verdict.BROKEN, "not a number"
    if _LOWER in quantity.metric and any(map(math.isinf, values)):
        return Verdict.BROKEN, "infinite"  # only a bound from above may say that it knows nothing
    what, is_upper, _ = quantity.metric.partition(_UPPER)
    if is_upper:
        for of_run in pair.candidate.measured:
            for other, lower in of_run.items():
                below = of_run[quantity].value * (1 + _ROUNDING) < lower.value
                if below and other.layer == quantity.layer and other.metric.startswith(what + _LOWER):
                    return Verdict.BROKEN, f"below the lower bound {lower.value:.4g} ({other.metric})"
    return None


def _geometric_mean(values: list[float]) -> float:
    return values[0] if len(values) == 1 else statistics.geometric_mean(values)  # of one it would round


def _all_positive(values: list[float]) -> bool:
    return all(math.isfinite(value) and value > 0 for value in values)
