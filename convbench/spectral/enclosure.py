"""A spectral norm with the interval that it is proven to lie in."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SpectralNorm:
    """A spectral norm with its enclosure: `lower` <= true norm <= `upper`.

    Args:
        value: the best estimate; it is exact to rounding, or from below to the tolerance asked for.
        lower: certified: ||A v|| / ||v|| of some v, less rounding.
        upper: certified; infinity where no bound is known for this kind of module.
        method: how value and upper bound were obtained.

    Raises:
        ValueError: the value is infinite.
    """

    value: float
    lower: float
    upper: float
    method: str

    def __post_init__(self) -> None:
        if self.value == math.inf:
            raise ValueError("the norm is above 1.8e308, which float64 doesn't hold")
        assert self.lower <= self.value <= self.upper, self

    def divided(self, factor: float) -> "SpectralNorm":
        """Of the operator divided by `factor`, a power of two."""
        return SpectralNorm(self.value / factor, self.lower / factor, self.upper / factor, self.method)
