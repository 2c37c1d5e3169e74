"""Mixture normalization by a mixture that stays: each position by itself, differentiable through the posteriors."""

import torch
from torch import Tensor

from convbench.norms.gaussian_mixture import Mixture, log_joint
from convbench.norms.mixture_transform import posteriors
from convbench.norms.position_layout import block_images, layout_of


def normalize_by_mixture(
    x: Tensor, mixture: Mixture, mean_c: Tensor, std_c: Tensor, scale_kc: Tensor, bias_c: Tensor
) -> Tensor:
    """`sum_k p(k | x) * scale_k * (x - mean_k) + bias`, for a mixture of (x - mean) / std.

    Without a gradient to keep, a CPU works through it in blocks. All operations are out of place, as the transforms
    of `torch.func` want them.
    """
    layout = layout_of(x)
    square_kc, linear_kc, constant_k = log_joint(mixture)
    square_kc, linear_kc = square_kc / std_c.square(), linear_kc / std_c
    offset_kc = bias_c - scale_kc * (mixture.mean_kc * std_c)  # sum_k p(k | x) = 1: it carries the bias

    def normalized(block: Tensor) -> Tensor:
        xs = layout.view(block) - layout.per_channel(mean_c)
        logits = layout.project(square_kc, xs.square()) + layout.project(linear_kc, xs)
        resp = posteriors(layout, logits, constant_k)
        y = torch.addcmul(layout.expand(offset_kc, resp), layout.expand(scale_kc, resp), xs)
        return layout.restore(y, block).to(x.dtype)

    if torch.is_grad_enabled() or torch.compiler.is_compiling():  # a loop would fix the batch size of the graph
        return normalized(x)
    y = torch.empty_like(x, memory_format=layout.memory_format)
    images = block_images(x)
    for block, part in zip(x.split(images), y.split(images), strict=True):
        part.copy_(normalized(block))
    return y
