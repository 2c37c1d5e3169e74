"""A spectral norm with the interval that it is proven to lie in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SpectralNorm:
    """A spectral norm with its enclosure: `lower` <= true norm <= `upper`.

    Args:
        value: the best estimate; it is exact to rounding, or from below to the tolerance asked for.
        lower: certified: ||A v|| / ||v|| of some v, less rounding.
        upper: certified; infinity where no bound is known for this kind of module.
        method: how value and upper bound were obtained.
    """

    value: float
    lower: float
    upper: float
    method: str

    def __post_init__(self) -> None:
        assert self.lower <= self.value <= self.upper, self
