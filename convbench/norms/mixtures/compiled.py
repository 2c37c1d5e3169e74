"""Loops compiled by numba, where it is installed: `pip install "convbench[compiled]"`.

Without it, or with `CONVBENCH_COMPILED=0` in the environment, the same numbers come from torch's operations, up to
rounding. A loop is compiled when it first runs with arguments of new types, which takes seconds, and kept on disk for
the next process: beside the package, or in the user's cache where that cannot be written.

A module of such loops is imported inside the function that runs them, after `is_available()`: it needs numba, which
takes half a second to import. Loops may call one another.
"""

import contextlib
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convbench.runtime import may_compile

# Sums may be reordered, as vector instructions do; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}


def is_available() -> bool:
    """Whether loops can be compiled here."""
    return may_compile() and _has_numba()


@functools.cache
def _has_numba() -> bool:
    try:
        from numba.core import config
    except (ImportError, OSError):  # not installed, made for another NumPy, or without its library of LLVM
        return False
    return not config.DISABLE_JIT  # pyright: ignore[reportAttributeAccessIssue]  made when numba reads the environment


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled for the types of its arguments when it is first called; it runs without the GIL."""
    import numba

    # Division by zero gives infinity or NaN: as in torch, and without a branch.
    loop = numba.njit(function, fastmath=_FAST, nogil=True, error_model="numpy")
    # Numba looks for changes in the file of the function only, and finds code on disk by the function's name.
    function.__qualname__ += f"-{_version_of_loops()}"
    with contextlib.suppress(RuntimeError):  # no folder for it can be written
        loop._cache = _cache_of(function)  # pyright: ignore[reportAttributeAccessIssue]  as `cache=True` does
    return loop


def _cache_of(function: Callable[..., Any]) -> Any:
    """What `njit(cache=True)` would use, except that a full disk or a file of somebody else's is no error."""
    from numba.core.caching import FunctionCache

    class Cache(FunctionCache):
        def load_overload(self, sig: Any, target_context: Any) -> Any:
            with contextlib.suppress(OSError):
                return super().load_overload(sig, target_context)

        def save_overload(self, sig: Any, data: Any) -> None:
            with contextlib.suppress(OSError):
                super().save_overload(sig, data)

    return Cache(function)


@functools.cache
def _version_of_loops() -> str:
    """A digest of the sources that loops are compiled from, which may call one another."""
    folder = Path(__file__).parent
    sources = sorted([*folder.glob("compiled.py"), *folder.glob("*loop*.py")])
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]
