"""A report for github-action-benchmark: the numbers of which less is better (tool `customSmallerIsBetter`)."""

from convbench.gate.outputs.gha_benchmark import listed
from convbench.gate.report import Report


def text(report: Report) -> str:
    """JSON list of the aggregates and numbers of the network of which less is better (ECE, errors, bounds)."""
    return listed(report, higher_is_better=False)
