"""The spectral norm of a layer: the largest singular value of the linear operator that it applies.

That operator depends on padding, stride, dilation, groups and input size. The norm of the reshaped kernel, which many
papers print, is another number (`kernel_matrix_norm`): 20 to 55 % smaller on common layers, and no bound.
"""

from dataclasses import dataclass

import torch
from torch import nn

from convbench.spectral.circulant import ROUNDING
from convbench.spectral.convolution import exact_norm, image_size
from convbench.spectral.dense import DENSE_LIMIT, dense_norm, matrix_norm
from convbench.spectral.lanczos import golub_kahan_norm
from convbench.spectral.operator import LinearMap, check_finite
from convbench.spectral.stages import batch_norm_gain, is_batch_norm, is_convolution, stages_of
from convbench.spectral.upper import certified_upper


@dataclass(frozen=True)
class SpectralNorm:
    """A spectral norm with its enclosure: `lower` <= true norm <= `upper`.

    Args:
        value: the best estimate; it is exact to rounding, or from below to the tolerance asked for.
        lower: certified: a singular value of a compression of the operator, less rounding.
        upper: certified; infinity where no bound is known for this kind of module.
        method: how value and upper bound were obtained.
    """

    value: float
    lower: float
    upper: float
    method: str

    def __post_init__(self) -> None:
        assert self.lower <= self.value <= self.upper, self


def spectral_norm(
    layer: nn.Module, input_size: tuple[int, ...], tol: float = 1e-6, *, dense_limit: int = DENSE_LIMIT
) -> SpectralNorm:
    """The spectral norm of an affine layer as applied at one input size, in evaluation mode.

    max over x of ||f(x) - f(0)||_2 / ||x||_2, in float64; the given layer isn't changed.

    Args:
        layer: `nn.Conv2d` (every stride, padding, padding mode, dilation and groups), `nn.ConvTranspose2d`,
            `nn.Linear`, `nn.BatchNorm2d`, or any module that is affine in evaluation mode, such as a convolution
            followed by batch normalization.
        input_size: (H, W) of the input; (C, H, W) where the layer doesn't tell its channels. A linear layer ignores it.
        tol: relative tolerance of the value.
        dense_limit: operators whose smaller side is at most this are solved exactly.

    Raises:
        MetricNotDefinedError: the layer isn't affine in evaluation mode.
        ValueError: a weight is NaN or infinite, or the input doesn't fit the layer.

    Where the value is iterated (Golub-Kahan-Lanczos), the upper bound is that of a circulant that contains the
    convolution (`convbench.spectral.circulant`), usually within 1 % for inputs of 14 pixels or more.
    """
    check_finite(layer)
    if isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward:
        value, upper, method = matrix_norm(layer.weight, tol, dense_limit)
        return SpectralNorm(value, value * (1 - ROUNDING), upper, method)
    if is_batch_norm(layer):
        return _exact(float(batch_norm_gain(layer).abs().max()), "diagonal")
    operator = LinearMap(layer, _input_shape(layer, input_size))
    exact = _exact_norm(operator, dense_limit)
    if exact is not None:
        return exact
    value, converged = golub_kahan_norm(operator, tol)
    upper = certified_upper(operator.module, operator.input_shape)
    method = "Lanczos, circulant" if converged else "Lanczos (tolerance not reached), circulant"
    return SpectralNorm(value, value * (1 - ROUNDING), upper, method)


def spectral_upper(layer: nn.Module, input_size: tuple[int, ...], *, dense_limit: int = DENSE_LIMIT) -> float:
    """The `upper` of `spectral_norm` alone, without the iteration for the value; arguments and errors as there."""
    check_finite(layer)
    if is_batch_norm(layer) or isinstance(layer, nn.Linear):
        return spectral_norm(layer, input_size, dense_limit=dense_limit).upper
    operator = LinearMap(layer, _input_shape(layer, input_size))
    exact = _exact_norm(operator, dense_limit)
    return certified_upper(operator.module, operator.input_shape) if exact is None else exact.upper


def kernel_matrix_norm(layer: nn.Module) -> float:
    """||W.reshape(C_out, -1)||_2, the norm of the reshaped kernel that papers quote; not the norm of the layer.

    A transposed convolution's kernel is reshaped with its output channels as rows, as PyTorch's spectral
    normalization does. Miyato et al. 2018, arXiv:1802.05957, section 2.1.
    """
    check_finite(layer)
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    if isinstance(layer, nn.ConvTranspose2d):
        weight = weight.transpose(0, 1)
    return matrix_norm(weight.flatten(1))[0]


def _exact_norm(operator: LinearMap, dense_limit: int) -> SpectralNorm | None:
    """From the symbol or from the Gram matrix, where one of them is exact and small enough."""
    stages = stages_of(operator.module)
    if len(stages) == 1 and is_convolution(stages[0].module):
        value = exact_norm(stages[0], image_size(operator.input_shape), image_size(operator.output_shape))
        if value is not None:
            return _exact(value, "symbol")
    if min(operator.input_dim, operator.output_dim) <= dense_limit:
        return _exact(dense_norm(operator), "dense")
    return None


def _exact(value: float, method: str) -> SpectralNorm:
    return SpectralNorm(value, value * (1 - ROUNDING), value * (1 + ROUNDING), method)


def _input_shape(layer: nn.Module, input_size: tuple[int, ...]) -> tuple[int, ...]:
    if len(input_size) == 3:
        return tuple(input_size)
    for module in layer.modules():
        for name in ("in_channels", "num_features"):
            if isinstance(getattr(module, name, None), int):
                return (getattr(module, name), *input_size)
    raise ValueError(f"{type(layer).__name__} doesn't tell its input channels; give the input size as (C, H, W)")
