"""Normalizations: one file each; `NORMS` finds them by name."""

from convbench.norms.contract import NORMS, Norm, NormalizedConv2d, penalties
from convbench.norms.convnorm import ConvNorm2d
from convbench.norms.convnorm_linear import convnorm_linear
from convbench.norms.mixture import MixtureNorm2d
from convbench.norms.official_convnorm import from_official

__all__ = [
    "NORMS",
    "ConvNorm2d",
    "MixtureNorm2d",
    "Norm",
    "NormalizedConv2d",
    "convnorm_linear",
    "from_official",
    "penalties",
]
