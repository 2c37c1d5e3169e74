"""A convolution whose weight is computed (spectral normalization, ONI, ...) as the plain one with that weight."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils import parametrize

from convbench.norms.oni import NewtonOrthogonalization


def plain_convolution(conv: nn.Conv2d) -> tuple[nn.Conv2d, str]:
    """An `nn.Conv2d` with the weight that `conv` has at evaluation, and what went; `conv` itself where nothing does.

    What goes is a normalization of the weight, by torch's parametrizations or ours: as a normalization of the output
    does, it gives way to the one that comes. Any other computation of the weight, and a convolution with a forward
    pass of its own, stays.
    """
    parts = _parametrizations(conv)
    is_ours_to_remove = bool(parts) and all(map(_is_normalization, parts))
    # A parametrized module is of a class of its own, derived from the class that it was of.
    if not is_ours_to_remove or type(conv).__bases__ != (nn.Conv2d,) or parametrize.is_parametrized(conv, "bias"):
        return conv, ""
    training = conv.training
    with torch.no_grad():
        weight = conv.eval().weight.clone()  # in training the power iteration would move on
    conv.train(training)
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        (conv.stride[0], conv.stride[1]),
        conv.padding if isinstance(conv.padding, str) else (conv.padding[0], conv.padding[1]),
        (conv.dilation[0], conv.dilation[1]),
        conv.groups,
        False,
        conv.padding_mode,
        device="meta",
    )
    learned = any(p.requires_grad for p in conv.get_submodule("parametrizations").parameters())
    plain.weight, plain.bias = nn.Parameter(weight, learned), conv.bias
    return plain.train(training), f"{_named(parts)} of its weight removed"


def weight_computed_by(conv: nn.Conv2d) -> str:
    """What computes the weight of `conv`, in words; empty where it is a plain parameter."""
    if parts := _parametrizations(conv):
        return _named(parts)
    if "weight" in conv._parameters:
        return ""
    return _named(list(conv._forward_pre_hooks.values())) or "code of its own"  # as of torch.nn.utils.spectral_norm


def _parametrizations(conv: nn.Conv2d) -> list[nn.Module]:
    if not parametrize.is_parametrized(conv, "weight"):
        return []
    return list(conv.get_submodule("parametrizations.weight").children())


def _named(parts: Sequence[object]) -> str:
    return " and ".join(type(part).__name__.lstrip("_") for part in parts)


def _is_normalization(part: nn.Module) -> bool:
    torchs = type(part).__module__ == "torch.nn.utils.parametrizations"
    return torchs or isinstance(part, NewtonOrthogonalization)
