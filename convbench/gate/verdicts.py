"""The rules: from a change, its interval and its p-value to one word."""

from convbench.gate.policy import Policy
from convbench.gate.report import Verdict

_SLACK = 1e-12  # a drop of exactly the margin, as floats have it, reaches the margin


def verdict_of(
    change: float,
    interval: tuple[float, float] | None,
    p: float | None,
    *,
    margin: float | None,
    higher_is_better: bool,
    policy: Policy,
) -> tuple[Verdict, str]:
    """The verdict on a change, and the reason where the numbers do not say it.

    With w = the change for the worse, m = the margin, and "significant" = p < alpha, or without p the interval excludes
    0:

        REGRESSED       w >= m and significant; under --strict the whole interval is above m as well
        SUSPECT         w >= m otherwise
        IMPROVED        the whole interval is below 0, and significant
        HELD            the interval excludes anything above 2 m
        UNDERPOWERED    it does not

    So what --strict fails fails without it, and the correction for many tests counts under both. Without a margin there
    is no "by how much": certainly worse is SUSPECT, certainly better IMPROVED, anything else HELD.

    Args:
        change, interval: candidate against baseline, signed as they are; the interval None where there is none.
        p: adjusted for many tests; None without a test.
    """
    worse = -change if higher_is_better else change
    if interval is None:
        return _without_interval(worse, margin)
    low, high = (-interval[1], -interval[0]) if higher_is_better else interval
    significant = p < policy.alpha if p is not None else (low > 0 or high < 0)
    if margin is None:
        if worse > 0 and significant:
            return Verdict.SUSPECT, "worse; no margin says whether it matters"
        return (Verdict.IMPROVED if high < 0 and significant else Verdict.HELD), ""
    if worse > 0 and worse >= margin - _SLACK:
        certain = low > margin if policy.strict else True
        return (Verdict.REGRESSED if significant and certain else Verdict.SUSPECT), ""
    if high < 0 and significant:
        return Verdict.IMPROVED, ""
    return (Verdict.HELD if high <= 2 * margin + _SLACK else Verdict.UNDERPOWERED), ""


def _without_interval(worse: float, margin: float | None) -> tuple[Verdict, str]:
    if margin is None:
        return Verdict.HELD, "neither margin nor interval"
    if worse > 0 and worse >= margin - _SLACK:
        return Verdict.SUSPECT, "no interval says whether it is chance"
    return Verdict.UNDERPOWERED, "no interval says what it excludes"


def verdict_of_ratio(worse: float, margin: float | None) -> Verdict:
    """The verdict on a number of the network, which has no sampling error: `worse` is its relative rise.

    REGRESSED above the margin, IMPROVED at a fall of more than it, else HELD; without a margin always HELD.
    """
    if margin is None or abs(worse) <= margin + _SLACK:
        return Verdict.HELD
    return Verdict.REGRESSED if worse > 0 else Verdict.IMPROVED
