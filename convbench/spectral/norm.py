"""The spectral norm of a layer: the largest singular value of the linear operator that it applies.

That operator depends on padding, stride, dilation, groups and input size. The norm of the reshaped kernel, which many
papers print, is another number (`kernel_matrix_norm`): 20 to 55 % smaller on common layers, and no bound.
"""

from torch import Tensor, nn

from convbench.errors import UnknownNameError
from convbench.spectral.circulant import ROUNDING
from convbench.spectral.dense import DENSE_LIMIT, matrix_norm
from convbench.spectral.enclosure import SpectralNorm
from convbench.spectral.layer_operator import LayerOperator
from convbench.spectral.methods import METHODS, automatic_method, fitting_methods
from convbench.spectral.one_thread import one_thread
from convbench.spectral.operator import check_finite, full_input_shape
from convbench.spectral.stages import batch_norm_gain, is_batch_norm

__all__ = ["AUTO", "BUDGETS", "SpectralNorm", "kernel_matrix_norm", "spectral_norm", "spectral_upper"]

AUTO = "auto"
BUDGETS = {"exact": 1e-6, "fast": 1e-3}  # the tolerance of the value


@one_thread()
def spectral_norm(
    layer: nn.Module,
    input_size: tuple[int, ...],
    tol: float | None = None,
    *,
    method: str = AUTO,
    budget: str = "exact",
    dense_limit: int = DENSE_LIMIT,
) -> SpectralNorm:
    """The spectral norm of an affine layer as applied at one input size, in evaluation mode.

    max over x of ||f(x) - f(0)||_2 / ||x||_2; the given layer isn't changed.

    Args:
        layer: `nn.Conv2d` (every stride, padding, padding mode, dilation and groups), `nn.ConvTranspose2d`,
            `nn.Linear`, `nn.BatchNorm2d`, or any module that is affine in evaluation mode, such as a convolution
            followed by batch normalization.
        input_size: (H, W) of the input; (C, H, W) where the layer doesn't tell its channels. A linear layer ignores it.
        tol: relative tolerance of the value; else that of the budget.
        method: a name of `convbench.spectral.methods.METHODS`, or "auto", the cheapest with the tightest enclosure.
        budget: "exact" (1e-6), or "fast" (1e-3, and an upper bound that may be 1 % looser).
        dense_limit: operators whose smaller side is at most this are written down.

    Raises:
        MetricNotDefinedError: the layer isn't affine in evaluation mode.
        UnknownNameError: no such method or budget.
        ValueError: a weight is NaN or infinite, the input doesn't fit the layer, or the method doesn't.

    Where the value is iterated, the upper bound is that of a circulant that contains the convolution
    (`convbench.spectral.circulant`), usually within 1 % for inputs of 14 pixels or more.
    """
    if method not in (AUTO, *METHODS):
        raise UnknownNameError("method", method, (AUTO, *METHODS))
    if budget not in BUDGETS:
        raise UnknownNameError("budget", budget, BUDGETS)
    check_finite(layer)
    tol = BUDGETS[budget] if tol is None else tol
    if method == AUTO:
        known = _matrix_or_diagonal(layer, tol, dense_limit)
        if known is not None:
            return known
    operator = LayerOperator(layer, full_input_shape(layer, input_size))
    name = automatic_method(operator, dense_limit) if method == AUTO else method
    try:
        return METHODS[name](operator, tol)
    except ValueError as error:
        possible = ", ".join(fitting_methods(operator))
        raise ValueError(
            f"method '{name}' can't treat this {type(layer).__name__}: {error}. Possible here: {possible}"
        ) from None


@one_thread()
def spectral_upper(layer: nn.Module, input_size: tuple[int, ...], *, dense_limit: int = DENSE_LIMIT) -> float:
    """The `upper` of `spectral_norm` alone, without the iteration for the value; arguments and errors as there."""
    check_finite(layer)
    known = _matrix_or_diagonal(layer, BUDGETS["exact"], dense_limit)
    if known is not None:
        return known.upper
    operator = LayerOperator(layer, full_input_shape(layer, input_size))
    name = automatic_method(operator, dense_limit)
    return operator.certified_upper() if name == "lanczos" else METHODS[name](operator, BUDGETS["exact"]).upper


def kernel_matrix_norm(layer: nn.Module) -> float:
    """||W.reshape(C_out, -1)||_2, the norm of the reshaped kernel that papers quote; not the norm of the layer.

    A transposed convolution's kernel is reshaped with its output channels as rows, as PyTorch's spectral
    normalization does. Miyato et al. 2018, arXiv:1802.05957, section 2.1.
    """
    check_finite(layer)
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if isinstance(layer, nn.ConvTranspose2d):
        weight = weight.transpose(0, 1)
    return matrix_norm(weight.flatten(1))[0]


def _matrix_or_diagonal(layer: nn.Module, tol: float, dense_limit: int) -> SpectralNorm | None:
    """Of a linear layer or a batch normalization, which need no operator; None for anything else."""
    if isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward:
        value, upper, method = matrix_norm(layer.weight, tol, dense_limit)
        return SpectralNorm(value, value * (1 - ROUNDING), upper, method)
    if is_batch_norm(layer):
        gain = float(batch_norm_gain(layer).abs().max())
        return SpectralNorm(gain, gain * (1 - ROUNDING), gain * (1 + ROUNDING), "diagonal")
    return None
