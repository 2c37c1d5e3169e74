"""Aggregates over corruption conditions: mean accuracy, mean error, and relative mCE against a baseline.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
ICLR 2019 (https://arxiv.org/abs/1903.12261), section 4. Their mCE divides by AlexNet's errors on ImageNet; nothing
here does: `mean_ce` has no divisor, and `relative_mce` has the baseline that the caller names.

A condition is (corruption, severity); clean is ("none", 0). Nothing is averaged over fewer conditions than asked.
"""

from collections.abc import Collection, Mapping

from convbench.errors import MetricNotDefinedError, NotComparableError

Condition = tuple[str, int]
CLEAN: Condition = ("none", 0)


def mean_corrupted_accuracy(accuracy: Mapping[Condition, float], conditions: Collection[Condition]) -> float:
    """The mean accuracy over `conditions`: (1/|S|) * sum over (c, s) in S of accuracy[c, s].

    Args:
        accuracy: accuracy in [0, 1] per condition; more conditions than asked may be there.
        conditions: what to average over, at least one.

    Raises:
        NotComparableError: a condition is missing.
    """
    if not conditions:
        raise NotComparableError("a mean needs at least one condition; none was evaluated.")
    return sum(_of(accuracy, condition) for condition in conditions) / len(conditions)


def mean_ce(accuracy: Mapping[Condition, float], conditions: Collection[Condition]) -> float:
    """The unnormalised mean corruption error over `conditions`: 1 - mean corrupted accuracy, in [0, 1].

    Raises:
        NotComparableError: a condition is missing.
    """
    return 1 - mean_corrupted_accuracy(accuracy, conditions)


def relative_mce(
    accuracy: Mapping[Condition, float],
    baseline: Mapping[Condition, float],
    conditions: Collection[Condition],
) -> float:
    """How much more than the baseline a network loses under corruption: 1 is the same loss, less is better.

    (1/|C|) * sum over corruptions c of  sum_s (E[c,s] - E[clean]) / sum_s (E_base[c,s] - E_base[clean]),
    with the error E = 1 - accuracy; the relative mCE of the paper with `baseline` for AlexNet, as a fraction.

    Raises:
        NotComparableError: a condition, or clean, is missing on one of the two sides.
        MetricNotDefinedError: a corruption does not cost the baseline any accuracy, so there is no ratio.
    """
    ratios = []
    for corruption in dict.fromkeys(name for name, _ in conditions):
        severities = [severity for name, severity in conditions if name == corruption]
        lost, lost_by_baseline = (
            sum(_of(side, CLEAN) - _of(side, (corruption, severity)) for severity in severities)
            for side in (accuracy, baseline)
        )
        if lost_by_baseline <= 0:
            raise MetricNotDefinedError(f"no relative mCE: {corruption} does not lower the accuracy of the baseline.")
        ratios.append(lost / lost_by_baseline)
    if not ratios:
        raise NotComparableError("a mean needs at least one condition; none was evaluated.")
    return sum(ratios) / len(ratios)


def _of(accuracy: Mapping[Condition, float], condition: Condition) -> float:
    if condition not in accuracy:
        corruption, severity = condition
        raise NotComparableError(f"no accuracy for {corruption} at severity {severity}: no mean over fewer.")
    return accuracy[condition]
