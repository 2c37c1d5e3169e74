"""All singular values of a layer, where they are within reach; else the largest ones, and how many these are.

Exact: circular padding whose stride divides the input, and kernels of one tap, by the symbol; whatever is small enough
to be written down, by a dense decomposition. Zero-padded convolutions beyond that have no closed form: their largest
values are iterated. The spectrum of the same kernel with circular padding, which papers print for them, is another
operator's: `circular_surrogate`, by name.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from convbench.errors import MetricNotDefinedError
from convbench.spectral.convolution import image_size
from convbench.spectral.dense import Matrix
from convbench.spectral.extremes import largest_values
from convbench.spectral.operator import LinearMap, check_finite, full_input_shape, matrix_of
from convbench.spectral.stages import is_convolution, stages_of
from convbench.spectral.symbol_spectrum import (
    Weighted,
    circulant_values,
    exact_values,
    stage_geometry,
    stage_symbol,
    surrogate_grid,
)

DENSE_LIMIT = 2000  # smaller side of a matrix whose singular values take seconds
MEMORY_LIMIT = 256 * 2**20  # bytes of the largest matrix that is written down


@dataclass(frozen=True)
class Spectrum:
    """Singular values of one operator, descending.

    Args:
        values: float64 `(K,)`, descending; equal values may stand in several entries.
        multiplicities: how often each entry occurs, int64 `(K,)`.
        total: how many singular values the operator has, min(inputs, outputs).
        exact: whether the values are the layer's own to rounding (1e-12 of the largest). Otherwise they were iterated
            from below, or are those of another operator, as `method` says.
        method: "symbol", "dense", "Lanczos" or "symbol of the circular surrogate".
    """

    values: Tensor
    multiplicities: Tensor
    total: int
    exact: bool
    method: str

    @property
    def complete(self) -> bool:
        """Whether these are all singular values of the operator."""
        return int(self.multiplicities.sum()) == self.total

    @property
    def known(self) -> str:
        """Which part of the spectrum this is, in words."""
        count = int(self.multiplicities.sum())
        return f"all {self.total}" if self.complete else f"the {count} largest of {self.total}"

    def expanded(self) -> Tensor:
        """Every singular value as often as it occurs, descending, `(sum of multiplicities,)`."""
        return self.values.repeat_interleave(self.multiplicities)


@torch.no_grad()
def spectrum(
    layer: nn.Module, input_size: tuple[int, ...], *, largest: int = 20, dense_limit: int = DENSE_LIMIT
) -> Spectrum:
    """The singular values of an affine layer as applied at one input size, in evaluation mode, in float64.

    Args:
        layer: as for `spectral_norm`; it isn't changed.
        input_size: (H, W), or (C, H, W); a linear layer ignores it.
        largest: how many values are iterated where not all are within reach.
        dense_limit: operators whose smaller side is at most this, and whose matrix fits the memory limit, are
            decomposed as a matrix.

    Raises:
        MetricNotDefinedError: the layer isn't affine in evaluation mode.
        ValueError: a weight is NaN or infinite, or the input doesn't fit the layer.
    """
    check_finite(layer)
    if isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward:
        matrix, (rows, columns) = layer.weight.detach().cpu(), layer.weight.shape
        if is_dense(rows, columns, dense_limit):
            return _unweighted(torch.linalg.svdvals(matrix.double()), min(rows, columns), "dense")
        return _unweighted(largest_values(Matrix(matrix), largest), min(rows, columns), "Lanczos")
    operator = LinearMap(layer, full_input_shape(layer, input_size))
    total = min(operator.input_dim, operator.output_dim)
    stages = stages_of(operator.module)
    if len(stages) == 1 and is_convolution(stages[0].module):
        sizes = image_size(operator.input_shape), image_size(operator.output_shape)
        found = exact_values(stages[0], stage_geometry(stages[0], *sizes))
        if found is not None:
            return _weighted(found, total)
    if is_dense(operator.input_dim, operator.output_dim, dense_limit):
        return _unweighted(torch.linalg.svdvals(matrix_of(operator)), total, "dense")
    return _unweighted(largest_values(operator, largest), total, "Lanczos")


@torch.no_grad()
def circular_surrogate(layer: nn.Module, input_size: tuple[int, ...]) -> Spectrum:
    """The spectrum that a convolution would have with circular padding, at the same input size.

    What papers print for zero-padded layers. Its norm is neither bound of the layer's own: at inputs of 4 pixels it was
    25 % above.

    Raises:
        MetricNotDefinedError: the layer is no single convolution, or its stride doesn't divide the input.
        ValueError: as `spectrum`.
    """
    check_finite(layer)
    operator = LinearMap(layer, full_input_shape(layer, input_size))
    stages = stages_of(operator.module)
    if len(stages) != 1 or not is_convolution(stages[0].module):
        raise MetricNotDefinedError("only a single convolution has a circular surrogate")
    input_shape, output_shape = operator.input_shape, operator.output_shape
    geometry = stage_geometry(stages[0], image_size(input_shape), image_size(output_shape))
    grid = surrogate_grid(geometry)
    if isinstance(stages[0].module, nn.ConvTranspose2d):  # the symbol is that of the adjoint
        input_shape, output_shape = output_shape, input_shape
    total = min(input_shape[0] * geometry.stride[0] * geometry.stride[1], output_shape[0]) * grid[0] * grid[1]
    own = _weighted(circulant_values(stage_symbol(stages[0], geometry), grid), total)
    return own if geometry.is_circulant else replace(own, exact=False, method="symbol of the circular surrogate")


def is_dense(rows: int, columns: int, dense_limit: int) -> bool:
    """Whether a matrix of this size is written down and decomposed."""
    return min(rows, columns) <= dense_limit and 8 * rows * columns <= MEMORY_LIMIT


def _weighted(found: Weighted, total: int) -> Spectrum:
    """Sorted, and filled up with the zeros that the shape of the operator gives it."""
    values, multiplicities = found[0].flatten(), found[1][:, None].expand_as(found[0]).flatten()
    order = values.argsort(descending=True)
    zeros = [total - int(multiplicities.sum())] if total > int(multiplicities.sum()) else []
    return Spectrum(
        torch.cat([values[order], values.new_zeros(len(zeros))]),
        torch.cat([multiplicities[order], torch.tensor(zeros, dtype=torch.int64)]),
        total,
        exact=True,
        method="symbol",
    )


def _unweighted(values: Tensor, total: int, method: str) -> Spectrum:
    return Spectrum(values, torch.ones_like(values, dtype=torch.int64), total, method == "dense", method)
