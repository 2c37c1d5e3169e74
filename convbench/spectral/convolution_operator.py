"""A convolution stage as an operator and its adjoint, in the precision asked for, without a module around it.

The adjoint of a convolution is the transposed convolution whose output padding restores the rows that the stride left
unseen; a padding that repeats pixels has as adjoint the sum over the repetitions.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from convbench.spectral.convolution import Geometry, Pair
from convbench.spectral.linear_operator import Operator


class ConvolutionOperator(Operator):
    """A x and A^T y of a convolution, or of a transposed one, for batches.

    Args:
        weight: `(C_out, C_in / groups, k_h, k_w)`; for a transposed convolution as its module stores it, which is that
            of the convolution it is the adjoint of.
        geometry: of the convolution, or of that adjoint.
        groups: as in `nn.Conv2d`.
        transposed: whether the layer is the adjoint of the convolution described.
        dtype: float32 or float64. A weight whose entries are far from 1 should be scaled before.
    """

    def __init__(
        self, weight: Tensor, geometry: Geometry, groups: int, transposed: bool, dtype: torch.dtype = torch.float64
    ) -> None:
        self._weight, self._geometry, self._groups = weight.to(dtype), geometry, groups
        self._transposed = transposed
        (top, bottom), (left, right) = geometry.padding
        self._is_plain = geometry.mode == "zeros" and top == bottom and left == right
        self._padding = (top, left) if self._is_plain else (0, 0)
        padded = geometry.input_size
        if not self._is_plain:
            padded = (padded[0] + top + bottom, padded[1] + left + right)
        self._unseen = tuple(
            n - ((out - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, out, s, p, d, k in zip(
                padded,
                geometry.output_size,
                geometry.stride,
                self._padding,
                geometry.dilation,
                geometry.kernel,
                strict=True,
            )
        )
        sides = ((weight.shape[1] * groups, *geometry.input_size), (weight.shape[0], *geometry.output_size))
        self.input_shape, self.output_shape = sides[::-1] if transposed else sides
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """A x: `(N, *input_shape)` -> `(N, *output_shape)`."""
        return self._back(x) if self._transposed else self._convolve(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y: `(N, *output_shape)` -> `(N, *input_shape)`."""
        return self._convolve(y) if self._transposed else self._back(y)

    def magnitude(self) -> float:
        """The largest entry of the weight."""
        return float(self._weight.abs().max())

    @torch.no_grad()
    def _convolve(self, x: Tensor) -> Tensor:
        geometry = self._geometry
        x = x if self._is_plain else self._pad(x)
        return F.conv2d(x, self._weight, None, geometry.stride, self._padding, geometry.dilation, self._groups)

    def _pad(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = self._geometry.padding
        mode = self._geometry.mode
        return F.pad(x, (left, right, top, bottom), mode="constant" if mode == "zeros" else mode)

    def _back(self, y: Tensor) -> Tensor:
        geometry = self._geometry
        with torch.no_grad():
            x = F.conv_transpose2d(
                y,
                self._weight,
                None,
                geometry.stride,
                self._padding,
                cast(Pair, self._unseen),
                self._groups,
                geometry.dilation,
            )
        if self._is_plain:
            return x
        shape = (len(y), x.shape[1], *geometry.input_size)
        with torch.enable_grad():
            before = torch.zeros(shape, dtype=self.dtype, requires_grad=True)
            return torch.autograd.grad(self._pad(before), before, x)[0]
