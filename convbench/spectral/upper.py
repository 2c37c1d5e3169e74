"""Certified upper bounds of affine modules, stage by stage."""

import math

import torch
from torch import nn

from convbench.norms.convnorm import ConvNorm2d
from convbench.spectral.circulant import ROUNDING
from convbench.spectral.convnorm import preconditioned_norm, smoothing_convolution
from convbench.spectral.convolution import convolution_upper, exact_norm, image_size
from convbench.spectral.dense import matrix_norm
from convbench.spectral.stages import Stage, batch_norm_gain, is_batch_norm, is_convolution, stages_of


@torch.no_grad()
def certified_upper(module: nn.Module, input_shape: tuple[int, ...]) -> float:
    """An upper bound of the norm of an affine module: the product of the bounds of its stages.

    Args:
        module: float64, on the CPU, in evaluation mode.
        input_shape: without the batch axis.

    Returns:
        The bound; infinity where a stage is of a kind that has none.
    """
    x = torch.zeros(1, *input_shape, dtype=torch.float64)
    total = 1.0
    for stage in stages_of(module):
        y = stage.module(x)
        total *= stage_upper(stage, tuple(x.shape[1:]), tuple(y.shape[1:]))
        x = y
    return total


def stage_upper(stage: Stage, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> float:
    """An upper bound of one stage's norm between inputs and outputs of the given shapes, or infinity."""
    module = stage.module
    if is_convolution(module):
        sizes = (image_size(input_shape), image_size(output_shape))
        exact = exact_norm(stage, *sizes)
        return convolution_upper(stage, *sizes) if exact is None else exact.upper
    if is_batch_norm(module):
        return float(batch_norm_gain(module).abs().max()) * (1 + ROUNDING)
    if isinstance(module, ConvNorm2d):
        return convnorm_upper(module, input_shape, output_shape)
    if isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward:
        return matrix_norm(module.weight)[1]
    return math.inf


def convnorm_upper(layer: ConvNorm2d, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> float:
    """max over the torus of ||diag(V) K(w)||_2, times the bound of r with the batch normalization folded in.

    Crop and stride between the two have norm 1. Two to three times the true norm is usual: r undoes in part what V
    does, and the product can't see it.
    """
    total = preconditioned_norm(layer, (input_shape[-2], input_shape[-1])) * (1 + ROUNDING)
    rest = [part for part in (smoothing_convolution(layer), layer.bn) if part is not None]
    for stage in stages_of(nn.Sequential(*rest)):
        total *= stage_upper(stage, output_shape, output_shape)
    return total
