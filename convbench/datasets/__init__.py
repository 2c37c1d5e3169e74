"""Data sets: one file per source; `DATASETS` finds them by name, `load_dataset` reads one split."""

from convbench.datasets.contract import DATASETS, SPLITS, Arrays
from convbench.datasets.loading import load_dataset

__all__ = ["DATASETS", "SPLITS", "Arrays", "load_dataset"]
