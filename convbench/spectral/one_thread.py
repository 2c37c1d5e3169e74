"""Small matrices one after the other: the threads of two libraries would only wait for each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401  # its BLAS must be loaded before the controller looks for it
import torch
from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch, and the BLAS of NumPy and SciPy, on one thread inside the block.

    A layer's norm is thousands of products and factorizations of microseconds, from both libraries in turn. On two
    cores with two threads each took twice as long as with one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _controller().limit(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
