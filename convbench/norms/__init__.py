"""Normalizations: one file each; `NORMS` finds them by name."""

from convbench.norms.contract import NORMS, Norm, NormalizedConv2d

__all__ = ["NORMS", "Norm", "NormalizedConv2d"]
