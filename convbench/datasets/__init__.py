"""Data sets: one file per source; `DATASETS` finds them by name."""

from convbench.datasets.contract import DATASETS, SPLITS, Arrays

__all__ = ["DATASETS", "SPLITS", "Arrays"]
