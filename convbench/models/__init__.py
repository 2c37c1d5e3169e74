"""Models: one file per family; `MODELS` finds them by name."""

from convbench.models.contract import MODELS

__all__ = ["MODELS"]
