"""Bounds as natural logarithms: products of hundreds of layers leave the range of floating-point numbers."""

import math
from collections.abc import Iterable

from convbench.errors import MetricNotDefinedError

ZERO = -math.inf  # the logarithm of 0
_LARGEST = math.log(1.7e308)
_ROUNDING = 1e-12  # of a few hundred additions of logarithms below 1,000, each off by 1e-13 at most


def log_of(value: float) -> float:
    """log(value) for a value of at least 0."""
    return math.log(value) if value > 0 else ZERO


def log_product(a: float, b: float) -> float:
    """log(x y) from log x and log y; a constant function before or after an unbounded one gives 0, not NaN."""
    return ZERO if ZERO in (a, b) else a + b


def log_sum(terms: Iterable[float]) -> float:
    """log(x + y + ...) from the logarithms."""
    terms = list(terms)
    largest = max(terms, default=ZERO)
    if math.isinf(largest):
        return largest
    return largest + math.log(sum(math.exp(term - largest) for term in terms))


def log_hypot(terms: Iterable[float]) -> float:
    """log sqrt(x^2 + y^2 + ...) from the logarithms."""
    return log_sum(2 * term for term in terms) / 2


def bound_of(log_bound: float) -> float:
    """The bound itself, rounded up.

    Raises:
        MetricNotDefinedError: it is finite, and larger than the largest floating-point number.
    """
    if math.isfinite(log_bound) and log_bound > _LARGEST:
        power = math.ceil(log_bound / math.log(10))
        raise MetricNotDefinedError(f"the bound is finite, but too large for a number: about 1e{power}")
    return 0.0 if log_bound == ZERO else math.exp(log_bound) * (1 + _ROUNDING)
