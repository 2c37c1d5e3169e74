"""An affine layer at one input size, as its spectral norm is computed: cheaply where it is one convolution."""

import copy
from functools import cached_property

import torch
from torch import nn

from convbench.spectral.convolution import (
    circulant_symbol,
    convolution_upper,
    geometry_of,
    image_size,
    output_size,
)
from convbench.spectral.convolution_operator import ConvolutionOperator
from convbench.spectral.linear_operator import Operator, power_of_two
from convbench.spectral.operator import LinearMap
from convbench.spectral.sieve import Grid
from convbench.spectral.stages import Stage, folded_weight, is_convolution, stages_of
from convbench.spectral.symbol import Symbol
from convbench.spectral.upper import certified_upper

_EXACTLY = 2000  # up to this side an iteration in float64 costs nothing, and ends in an invariant subspace


class LayerOperator:
    """The linear part of a layer at one input size, with what is known of it.

    Args:
        layer: affine in evaluation mode; it isn't changed.
        input_shape: without the batch axis.

    Raises:
        MetricNotDefinedError: the layer isn't affine in evaluation mode.
        ValueError: the input doesn't fit the layer.

    Attributes:
        operator: in float64, with its adjoint.
        iterated: the same in float32, up to a power of two; None where only float64 is known to do.
    """

    def __init__(self, layer: nn.Module, input_shape: tuple[int, ...]) -> None:
        self.operator: Operator
        self.iterated: Operator | None = None
        self._stage: Stage | None = None
        # a weight that is computed is so in float64, and as in evaluation: reading one may change the layer's buffers
        stages = stages_of(copy.deepcopy(layer).to(device="cpu", dtype=torch.float64).eval())
        if len(stages) == 1 and is_convolution(stages[0].module) and len(input_shape) == 3:
            self._stage = stages[0]
            self._init_convolution(input_shape)
        else:
            linear = LinearMap(layer, input_shape)
            self.operator, self._linear = linear, linear

    def _init_convolution(self, input_shape: tuple[int, ...]) -> None:
        assert self._stage is not None
        conv = self._stage.module
        assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
        if input_shape[0] != conv.in_channels:
            raise ValueError(
                f"{type(conv).__name__} can't be applied to an input of shape {input_shape}: it takes "
                f"{conv.in_channels} channels"
            )
        sizes = image_size(input_shape), output_size(conv, image_size(input_shape))
        self._sizes = sizes
        geometry = geometry_of(conv, *sizes)
        weight = folded_weight(self._stage)
        scale = power_of_two(float(weight.abs().max()))
        transposed = isinstance(conv, nn.ConvTranspose2d)
        self.operator = ConvolutionOperator(weight, geometry, conv.groups, transposed)
        if self.smaller_side > _EXACTLY:
            self.iterated = ConvolutionOperator(weight * scale, geometry, conv.groups, transposed, torch.float32)

    @property
    def is_composed(self) -> bool:
        """Whether the layer is more than one convolution, so that its certified bound is a product."""
        return self._stage is None

    @property
    def smaller_side(self) -> int:
        """The number of singular values."""
        return min(self.operator.input_dim, self.operator.output_dim)

    @cached_property
    def circulant(self) -> tuple[Symbol, Grid] | None:
        """Symbol and frequencies that give every singular value; None where the layer isn't a circulant."""
        return None if self._stage is None else circulant_symbol(self._stage, *self._sizes)

    def certified_upper(self, quick: bool = False) -> float:
        """An upper bound by circulants, stage by stage; infinity where a stage has none.

        Args:
            quick: settle for a bound that is up to 1 % above, where that is cheaper.
        """
        if self._stage is None:
            return certified_upper(self._linear.module, self.operator.input_shape)
        return convolution_upper(self._stage, *self._sizes, quick=quick)
