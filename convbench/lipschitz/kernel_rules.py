"""Modules as kernels, where they are convolutions of images that are continued by zeros."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from convbench.lipschitz.kernels import Kernel, channel_identity
from convbench.models.standardize import Standardize
from convbench.spectral.stages import Stage, folded_weight, is_convolution

LARGEST_KERNEL = 2**20  # entries of one kernel, 8 MB: the norms of larger ones take tens of seconds
Shape = tuple[int, int, int]


def module_kernel(module: nn.Module, shape: Shape, result: Shape) -> Kernel | None:
    """The linear part of `module` as a kernel, from images `shape` = (C, H, W) to `result`; None where it has none.

    Batch normalizations are not among them: as factors per channel they need no kernel of their own.
    """
    if isinstance(module, nn.Conv2d) and is_convolution(module):
        return _convolution_kernel(module) if module.padding_mode == "zeros" else None
    if isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward and shape[1:] == (1, 1):
        return Kernel(module.weight.detach()[:, :, None, None])
    if isinstance(module, Standardize):
        inverse = torch.diag(1 / module.std.double().flatten())
        return Kernel((inverse.sum(1, keepdim=True) if shape[0] != result[0] else inverse)[:, :, None, None])
    if isinstance(module, nn.AvgPool2d) and _pair(module.padding) == (0, 0) and not module.ceil_mode:
        k, s = _pair(module.kernel_size), _pair(module.stride)
        return average_kernel(shape[0], k, s, module.divisor_override)
    if isinstance(module, nn.AdaptiveAvgPool2d) and result[1:] == (1, 1):
        return average_kernel(shape[0], shape[1:])
    if isinstance(module, nn.ConstantPad3d) and not any(module.padding[:4]) and min(module.padding[4:]) >= 0:
        eye = torch.eye(shape[0], dtype=torch.float64)
        return Kernel(nn.functional.pad(eye, (0, 0, module.padding[4], module.padding[5]))[:, :, None, None])
    return None


def average_kernel(
    channels: int, window: tuple[int, int], stride: tuple[int, int] = (1, 1), divisor: int | None = None
) -> Kernel | None:
    """The mean over windows, channel by channel; None where the kernel would be too large."""
    area = window[0] * window[1]
    if channels**2 * area > LARGEST_KERNEL:
        return None
    return Kernel((channel_identity(channels).taps / (divisor or area)).repeat(1, 1, *window), stride=stride)


def _convolution_kernel(conv: nn.Conv2d) -> Kernel | None:
    weight = folded_weight(Stage(conv))
    dilation, size = _pair(conv.dilation), _pair(conv.kernel_size)
    spans = [d * (k - 1) for d, k in zip(dilation, size, strict=True)]
    if conv.out_channels * conv.in_channels * (spans[0] + 1) * (spans[1] + 1) > LARGEST_KERNEL:
        return None
    taps = weight.new_zeros(conv.out_channels, conv.in_channels, spans[0] + 1, spans[1] + 1)
    rows, columns = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    for group in range(conv.groups):
        part, seen = slice(group * rows, (group + 1) * rows), slice(group * columns, (group + 1) * columns)
        taps[part, seen, :: dilation[0], :: dilation[1]] = weight[part]
    if conv.padding == "same":  # PyTorch puts the odd pixel after
        before = (spans[0] // 2, spans[1] // 2)
    else:
        before = (0, 0) if conv.padding == "valid" else _pair(cast(Any, conv.padding))
    return Kernel(taps, (-before[0], -before[1]), _pair(conv.stride))


def _pair(sizes: int | Sequence[int]) -> tuple[int, int]:
    return (sizes, sizes) if isinstance(sizes, int) else (sizes[0], sizes[1])
