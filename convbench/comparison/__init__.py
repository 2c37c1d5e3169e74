"""Runs side by side: load them, compare them, and show the comparison. Imports no torch."""

from convbench.comparison.comparison import Comparison, Group, compare
from convbench.comparison.quantities import Estimate, Quantity
from convbench.comparison.runs import LoadedRuns, Run, load_runs, runs_of

__all__ = ["Comparison", "Estimate", "Group", "LoadedRuns", "Quantity", "Run", "compare", "load_runs", "runs_of"]
