"""What an iteration needs of a linear operator, and operators brought to a size whose squares float64 holds."""

import math
from typing import Protocol

from torch import Tensor

_LARGEST_EXPONENT = 1000  # of a factor; 2^1024 is no float64
_HARMLESS = 100  # up to 2^±100 fourth powers, and sums of them, neither overflow nor vanish


class Operator(Protocol):
    """The shape of the input of a linear operator A, A x and A^T y for batches, and about how large A is."""

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def input_dim(self) -> int:
        """Number of input entries."""
        return math.prod(self.input_shape)

    @property
    def output_dim(self) -> int:
        """Number of output entries."""
        return math.prod(self.output_shape)

    def forward(self, x: Tensor) -> Tensor:
        """A x: `(N, *input_shape)` -> `(N, *output_shape)`."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y: `(N, *output_shape)` -> `(N, *input_shape)`."""
        ...

    def magnitude(self) -> float:
        """About the size of the entries of A, to a few orders of magnitude; 0 of the zero operator."""
        ...


class _Scaled(Operator):
    """`factor` times an operator."""

    def __init__(self, operator: Operator, factor: float) -> None:
        self.input_shape, self.output_shape = operator.input_shape, operator.output_shape
        self._operator, self._factor = operator, factor

    def forward(self, x: Tensor) -> Tensor:
        return self._operator.forward(x) * self._factor

    def adjoint(self, y: Tensor) -> Tensor:
        return self._operator.adjoint(y) * self._factor

    def magnitude(self) -> float:
        return self._operator.magnitude() * self._factor


def power_of_two(magnitude: float) -> float:
    """The power of two that takes `magnitude` into [1/2, 1), as far as float64 has one; 1 for 0."""
    exponent = -math.frexp(magnitude)[1]
    return math.ldexp(1.0, max(-_LARGEST_EXPONENT, min(exponent, _LARGEST_EXPONENT)))


def near_one(operator: Operator) -> tuple[Operator, float]:
    """The operator times a power of two, and that power: what it is multiplied with is exact.

    The Gram matrix of A has the squares of its entries: beyond 1e154 they overflow in float64, and below 1e-162 they
    vanish, which would prove the norm to be 0. Operators that are far from both are given back as they are.

    Raises:
        ValueError: entries so large that A x overflows before it is scaled.
    """
    magnitude = operator.magnitude()
    if magnitude > math.ldexp(1.0, _LARGEST_EXPONENT):
        raise ValueError(f"its entries reach {magnitude:.3g}, where sums of products overflow float64")
    factor = power_of_two(magnitude)
    if math.ldexp(1.0, -_HARMLESS) <= factor <= math.ldexp(1.0, _HARMLESS):
        return operator, 1.0
    return _Scaled(operator, factor), factor
