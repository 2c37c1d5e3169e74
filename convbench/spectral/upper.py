"""Certified upper bounds of affine modules, stage by stage."""

import math

import torch
from torch import nn

from convbench.spectral.circulant import ROUNDING
from convbench.spectral.convolution import convolution_upper, exact_norm
from convbench.spectral.dense import matrix_norm
from convbench.spectral.stages import Stage, batch_norm_gain, is_convolution, stages_of


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
        sizes = (input_shape[-2:], output_shape[-2:])
        exact = exact_norm(stage, *sizes)
        return convolution_upper(stage, *sizes) if exact is None else exact * (1 + ROUNDING)
    if is_batch_norm(module):
        return float(batch_norm_gain(module).abs().max()) * (1 + ROUNDING)
    if type(module).forward is nn.Linear.forward:
        return matrix_norm(module.weight)[1]
    return math.inf
