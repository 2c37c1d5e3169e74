"""The smallest singular value of a layer, where it is within reach."""

import torch
from torch import nn

from convbench.errors import MetricNotDefinedError, UnknownNameError
from convbench.spectral.convolution import image_size
from convbench.spectral.extremes import smallest_value
from convbench.spectral.operator import LinearMap, check_finite, full_input_shape, matrix_of
from convbench.spectral.spectrum import is_dense
from convbench.spectral.stages import is_convolution, stages_of
from convbench.spectral.symbol_spectrum import exact_values, stage_geometry, values_flops

SYMBOL_FLOPS = {"fast": 1e10, "exact": 1e12}  # of the eigenvalues of a symbol
_SIDE = {"fast": 400, "exact": 1200}  # of a matrix that is decomposed
_EPS = torch.finfo(torch.float64).eps


@torch.no_grad()
def smallest_singular_value(
    layer: nn.Module, input_size: tuple[int, ...], norm: float, *, budget: str = "exact"
) -> float:
    """The smallest of the min(inputs, outputs) singular values of an affine layer, 0 where the layer loses rank.

    By the symbol, a dense decomposition, or the inverse of the Gram matrix, to 1e-6 of itself; 0 stands for anything
    below the rounding error of a dense decomposition, min(inputs, outputs) * 2.2e-16 of the norm.

    Args:
        layer, input_size: as for `spectral_norm`.
        norm: its spectral norm, or close to it.
        budget: "fast" gives up earlier on large layers.

    Raises:
        UnknownNameError: no such budget.
        MetricNotDefinedError: the operator is too large, or the value too small to be resolved; the layer isn't affine.
        ValueError: a weight is NaN or infinite, or the input doesn't fit the layer.
    """
    if budget not in _SIDE:
        raise UnknownNameError("budget", budget, _SIDE)
    check_finite(layer)
    if isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward:
        rows, columns = layer.weight.shape
        if not is_dense(rows, columns, 2 * _SIDE[budget]):
            raise MetricNotDefinedError(f"a matrix of {rows}x{columns} is too large for the {budget} budget")
        values = torch.linalg.svdvals(layer.weight.detach().cpu().double())
        return _resolved(float(values[-1]), len(values), norm)
    operator = LinearMap(layer, full_input_shape(layer, input_size))
    total, stages = min(operator.input_dim, operator.output_dim), stages_of(operator.module)
    if len(stages) == 1 and is_convolution(stages[0].module):
        sizes = image_size(operator.input_shape), image_size(operator.output_shape)
        geometry = stage_geometry(stages[0], *sizes)
        if values_flops(stages[0], geometry) <= SYMBOL_FLOPS[budget]:
            found = exact_values(stages[0], geometry)
            if found is not None:
                lost = total > found[0].shape[1] * int(found[1].sum())
                return 0.0 if lost else _resolved(float(found[0].min()), total, norm)
    if is_dense(operator.input_dim, operator.output_dim, _SIDE[budget]):
        return _resolved(float(torch.linalg.svdvals(matrix_of(operator))[-1]), total, norm)
    if budget == "fast":
        raise MetricNotDefinedError(f"an operator with {total} singular values is too large for the fast budget")
    return smallest_value(operator, norm)


def _resolved(value: float, side: int, norm: float) -> float:
    return 0.0 if value <= side * _EPS * norm else value
