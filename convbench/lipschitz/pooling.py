"""Lipschitz constants of poolings and of other operations whose coefficients are not negative, at their true sizes."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Sizes = int | Sequence[int]


def nonnegative_linear_bound(function: Callable[[Tensor], Tensor], input_shape: tuple[int, ...]) -> float:
    """A bound for a linear function with coefficients >= 0: ||A||_2 <= sqrt(||A||_1 ||A||_inf).

    With such coefficients A 1 are the row sums and A^T 1 the column sums. It is exact for averages over windows that
    don't overlap: 1/k for k x k windows, 1/sqrt(H W) for the global average.

    Args:
        function: average pooling, mean, sum, padding by repetition, interpolation without negative weights.
        input_shape: with a batch axis of one.
    """
    with torch.enable_grad():
        ones = torch.ones(input_shape, dtype=torch.float64, requires_grad=True)
        rows = function(ones)
        columns = torch.autograd.grad(rows.sum(), ones)[0]
    return math.sqrt(float(rows.detach().amax()) * float(columns.amax())) * (1 + 1e-12)


def max_pool_bound(kernel_size: Sizes, stride: Sizes | None, dilation: Sizes) -> float:
    """The root of the largest number of windows that share a pixel: product over axes of sqrt(ceil(k / s)).

    |max(x) - max(y)| over a window is at most the largest |x - y| in it; the squares are then summed over windows.
    With a dilation that shares no factor with the stride the count is the same.

    Args:
        kernel_size, stride, dilation: of the pooling; a missing stride is the kernel size.
    """
    kernel_size = _pair(kernel_size)
    stride = kernel_size if not stride else _pair(stride)  # torch's functions use an empty list for "as the kernel"
    windows = 1
    for k, s, d in zip(kernel_size, stride, _pair(dilation), strict=True):
        windows *= math.ceil(k / (s // math.gcd(s, d)))
    return math.sqrt(windows)


def _pair(sizes: Sizes) -> tuple[int, ...]:
    return (sizes, sizes) if isinstance(sizes, int) else tuple(sizes)
