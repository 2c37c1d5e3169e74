"""Lipschitz constants of functions and tensor methods in a traced network, one rule each, by PyTorch's name."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from convbench.lipschitz.activations import activation_slope
from convbench.lipschitz.pooling import max_pool_bound, nonnegative_linear_bound

_NONEXPANSIVE = {
    "amax", "chunk", "clone", "contiguous", "detach", "double", "flatten", "float", "movedim",
    "narrow", "permute", "pixel_shuffle", "pixel_unshuffle", "reshape", "split", "squeeze", "swapaxes", "to",
    "transpose", "type", "unflatten", "unsqueeze", "view",
}  # fmt: skip
_NONNEGATIVE = {"adaptive_avg_pool2d", "avg_pool2d", "expand", "mean", "repeat", "sum"}
_DROPOUTS = {"alpha_dropout", "dropout", "dropout2d", "feature_alpha_dropout"}
_KNOWN_MODULES = ("torch", "_operator", "operator", "builtins")


def operation_name(target: Callable[..., Any] | str) -> str | None:
    """The name by which rules are found: `iadd`, `add_`, `__add__` -> `add`; None for functions not PyTorch's."""
    if not isinstance(target, str):
        module = getattr(target, "__module__", None) or "torch"
        if module.partition(".")[0] not in _KNOWN_MODULES:
            return None
        target = target.__name__
    name = target.strip("_")
    in_place = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "truediv": "div", "concat": "cat"}
    return in_place.get(name, name)


def unary_bound(
    name: str, function: Callable[..., Any], shape: tuple[int, ...], args: Sequence[Any], kwargs: dict[str, Any]
) -> float | None:
    """A Lipschitz constant of x -> function(x, *args, **kwargs), or None where no rule is known.

    Args:
        name: from `operation_name`.
        function: the operation itself, to be evaluated where its coefficients give the constant.
        shape: of x, with a batch axis of one.
        args, kwargs: the other arguments, constants.
    """
    if name in _NONEXPANSIVE:
        return 1.0
    if name in _DROPOUTS:  # the default of these functions is to drop, also at evaluation
        training = kwargs.get("training", args[1] if len(args) > 1 else True)
        return None if training else 1.0
    if name == "getitem":
        index = args[0] if isinstance(args[0], tuple) else (args[0],)
        return 1.0 if all(isinstance(part, int | slice | None | type(...)) for part in index) else None
    if name in _NONNEGATIVE or (name == "pad" and not _pads_constant(args, kwargs)):
        return nonnegative_linear_bound(lambda x: function(x, *args, **kwargs), shape)
    if name == "pad":
        return 1.0
    if name in ("mul", "div"):
        return _scaling_bound(name, args, kwargs)
    if name == "max_pool2d":
        return max_pool_bound(*max_pool_arguments(*args, **kwargs))
    if name in ("leaky_relu", "elu"):
        parameter = kwargs.get("negative_slope", kwargs.get("alpha", args[0] if args else None))
        return activation_slope(name, parameter=parameter)
    return activation_slope(name, approximate=kwargs.get("approximate", "none"))


def max_pool_arguments(
    kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *_: Any, **__: Any
) -> tuple[Any, Any, Any]:
    """What `max_pool_bound` takes, from the arguments of `F.max_pool2d` after its input."""
    return kernel_size, stride, dilation


def _pads_constant(args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    return kwargs.get("mode", args[1] if len(args) > 1 else "constant") == "constant"


def _scaling_bound(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> float | None:
    """Of x * c and x / c for a constant c; the caller accounts for broadcasting of x."""
    if len(args) != 1 or kwargs:
        return None
    factor = torch.as_tensor(args[0], dtype=torch.float64).abs()
    return float(factor.max() if name == "mul" else 1 / factor.min()) if factor.numel() else math.inf
