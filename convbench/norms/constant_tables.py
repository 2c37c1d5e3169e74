"""Tables that are constants of their arguments: made once, and constants of a compiled graph too."""

from collections.abc import Callable, Hashable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

_P = ParamSpec("_P")
_T = TypeVar("_T", Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor])
_KEPT = 256


def constant_table(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """`function`, called once for each of its arguments (up to 256 of them); its results must not be changed.

    It must depend on nothing but its arguments (no weights), so that it can't go stale. A table is made outside of
    inference mode, so that one that was made while evaluating serves a training later. `torch.compile` takes it as a
    constant; `torch.export` traces how it is made, since what it would keep there stands for no numbers.
    """
    kept: dict[Hashable, _T] = {}

    @wraps(function)
    def table(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        key = (args, tuple(kwargs.items()))
        found = kept.get(key)
        if found is None:
            with torch.inference_mode(False):
                found = function(*args, **kwargs)
            tensors = (found,) if isinstance(found, Tensor) else found
            if all(type(tensor) is Tensor for tensor in tensors):  # under a fake mode they hold no numbers
                if len(kept) == _KEPT:
                    kept.clear()
                kept[key] = found
        return found

    # What `torch.compiler.assume_constant_result` does; that would import the compiler, 1.2 s before every command.
    table._dynamo_marked_constant = True  # pyright: ignore[reportAttributeAccessIssue]  read by the compiler
    return table
