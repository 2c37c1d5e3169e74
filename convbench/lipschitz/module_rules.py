"""Lipschitz constants of modules, one rule each; a module without a rule has none, never a guess."""

import math
from typing import Any

import torch
from torch import nn

from convbench.lipschitz.activations import activation_slope, slope_range
from convbench.lipschitz.mixture_bound import mixture_slope_bound
from convbench.lipschitz.pooling import max_pool_bound, nonnegative_linear_bound
from convbench.models.standardize import Standardize
from convbench.norms import ConvNorm2d, MixtureNorm2d
from convbench.norms.mode import ModeNorm2d
from convbench.spectral.norm import spectral_upper
from convbench.spectral.stages import is_batch_norm, is_convolution

Shape = tuple[int, ...]

_NONEXPANSIVE = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    nn.Flatten,
    nn.Unflatten,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ChannelShuffle,
    nn.ConstantPad1d,  # also ZeroPad: a constant has no slope, negative padding crops
    nn.ConstantPad2d,
    nn.ConstantPad3d,
)
_NONNEGATIVE = (
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.ReflectionPad2d,
    nn.ReplicationPad2d,
    nn.CircularPad2d,
    nn.UpsamplingNearest2d,
    nn.UpsamplingBilinear2d,
)
_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.CELU: "celu",
    nn.ELU: "elu",
    nn.GELU: "gelu",
    nn.Hardshrink: "hardshrink",
    nn.Hardsigmoid: "hardsigmoid",
    nn.Hardswish: "hardswish",
    nn.Hardtanh: "hardtanh",
    nn.LeakyReLU: "leaky_relu",
    nn.LogSigmoid: "logsigmoid",
    nn.Mish: "mish",
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SELU: "selu",
    nn.Sigmoid: "sigmoid",
    nn.SiLU: "silu",
    nn.Softmax: "softmax",
    nn.Softmin: "softmin",
    nn.Softplus: "softplus",
    nn.Softshrink: "softshrink",
    nn.Softsign: "softsign",
    nn.Tanh: "tanh",
    nn.Tanhshrink: "tanhshrink",
}
_OWN = (Standardize, MixtureNorm2d, ModeNorm2d, ConvNorm2d, nn.GroupNorm, nn.InstanceNorm2d)


def has_own_rule(module: nn.Module) -> bool:
    """Whether a rule covers `module` whole, so that a trace needn't look inside it."""
    return isinstance(module, _OWN) or is_convolution(module) or is_batch_norm(module)


def module_bound(module: nn.Module, input_shape: Shape) -> float | None:
    """A Lipschitz constant of `module` in evaluation mode for inputs of the given shape (with the batch axis).

    Args:
        module: float64, on the CPU, in evaluation mode.

    Returns:
        The constant (L2); infinity where there is none; None where no rule is known.

    A mixture of several components has none unless they share variances and weights: else the slope of the posteriors
    grows without limit along the boundary between two components (`convbench.lipschitz.mixture_bound`). Nor has a mode
    normalization of several modes: its gate sees the mean of each channel only, and its slope is multiplied by the rest
    of the image.
    """
    if isinstance(module, Standardize):
        return standardize_bound(module)
    if isinstance(module, MixtureNorm2d) and module.components > 1:
        return mixture_slope_bound(module)
    if isinstance(module, ModeNorm2d) and module.modes > 1:
        return math.inf
    if isinstance(module, nn.GroupNorm | nn.InstanceNorm2d | nn.LayerNorm):
        return image_norm_bound(module)
    if is_affine_layer(module):
        size = input_shape[1:] if len(input_shape) == 4 else input_shape[-1:]
        return spectral_upper(module, size)
    name = _ACTIVATIONS.get(type(module))
    if name is not None:
        return activation_slope(name, **_activation_options(module))
    if isinstance(module, nn.PReLU):
        return max(1.0, float(module.weight.detach().abs().max()))
    if isinstance(module, nn.MaxPool2d):
        return max_pool_bound(module.kernel_size, module.stride, module.dilation)
    if type(module) in _NONNEGATIVE:
        return nonnegative_linear_bound(module, input_shape)
    return 1.0 if isinstance(module, _NONEXPANSIVE) else None


def module_slopes(module: nn.Module) -> tuple[float, float] | None:
    """The smallest and the largest slope of an elementwise activation; None for any other module."""
    if isinstance(module, nn.PReLU):
        weight = module.weight.detach()
        return min(1.0, float(weight.min())), max(1.0, float(weight.max()))
    name = _ACTIVATIONS.get(type(module))
    return None if name is None else slope_range(name, **_activation_options(module))


def _activation_options(module: nn.Module) -> dict[str, Any]:
    parameter = getattr(module, "negative_slope", getattr(module, "alpha", None))
    return {"parameter": parameter, "approximate": getattr(module, "approximate", "none")}


def is_affine_layer(module: nn.Module) -> bool:
    """Whether the spectral norm of `module` is its Lipschitz constant."""
    return (
        type(module).forward is nn.Linear.forward
        or isinstance(module, ConvNorm2d)
        or is_convolution(module)
        or is_batch_norm(module)
    )


def standardize_bound(module: Standardize) -> float:
    """max_c 1/std_c; for one grey channel repeated, sqrt(sum_c 1/std_c^2)."""
    inverse = 1 / module.std.double()
    repeated = module.in_channels != module.model_channels
    return float(torch.linalg.vector_norm(inverse) if repeated else inverse.max()) * (1 + 1e-12)


def image_norm_bound(module: nn.GroupNorm | nn.InstanceNorm2d | nn.LayerNorm) -> float | None:
    """max_c |gamma_c| / sqrt(eps) for a normalization by the moments of the image itself.

    The Jacobian of a group of n values is diag(gamma) (I - 11^T / n - zz^T / n) / sqrt(var + eps), where z is what
    leaves the normalization: the matrix between lies between 0 and I, and var is 0 on a flat image. The bound is
    attained there, and far above the slope at any picture.
    """
    if getattr(module, "track_running_stats", False):
        return None
    gamma = 1.0 if module.weight is None else float(module.weight.detach().abs().max())
    return gamma / math.sqrt(module.eps) * (1 + 1e-12)
