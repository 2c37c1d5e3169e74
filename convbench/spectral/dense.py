"""Norms of operators that are small enough to be written down, and of the matrices of linear layers.

Only the Gram matrix of the smaller side is ever held. Up to 1,200 rows its largest eigenvalue is computed.
Beyond, an iteration finds a value from below, and one Cholesky factorization proves a bound a little above it
(Higham 2002, Accuracy and Stability of Numerical Algorithms, theorem 10.7).
"""

import math

import torch
from torch import Tensor

from convbench.spectral.circulant import ROUNDING
from convbench.spectral.enclosure import SpectralNorm
from convbench.spectral.lanczos import lanczos_norm
from convbench.spectral.linear_operator import Operator, near_one, power_of_two

DENSE_LIMIT = 1200  # side of an operator that is written down when nothing cheaper is exact
GRAM_LIMIT = 5000  # side of the largest Gram matrix that is ever formed: 200 MB
_EIGENVALUES_LIMIT = 1200  # above, a factorization is several times faster than the eigenvalues
_CHUNK_BYTES = 32 * 2**20


def dense_norm(operator: Operator, tol: float = 1e-6) -> SpectralNorm:
    """||A||_2 from the Gram matrix of the smaller side, built by applying A and its adjoint to the identity.

    Args:
        operator: in float64, with its adjoint; its smaller side is at most `GRAM_LIMIT`.
        tol: relative width of the enclosure where the side is above 1,200; below, the value is exact to rounding.
    """
    operator, factor = near_one(operator)
    wide = operator.output_dim < operator.input_dim
    shape = operator.output_shape if wide else operator.input_shape
    side = math.prod(shape)
    assert side <= GRAM_LIMIT, side
    batch = max(1, _CHUNK_BYTES // (8 * (operator.input_dim + operator.output_dim)))
    gram = torch.empty(side, side, dtype=torch.float64)
    for part in torch.arange(side).split(batch):
        basis = torch.zeros(len(part), side, dtype=torch.float64)
        basis[torch.arange(len(part)), part] = 1
        e = basis.view(-1, *shape)
        image = operator.forward(operator.adjoint(e)) if wide else operator.adjoint(operator.forward(e))
        gram[part] = image.flatten(1)
    return gram_norm(gram, tol).divided(factor)


def gram_norm(gram: Tensor, tol: float = 1e-6, eigenvalues_limit: int = _EIGENVALUES_LIMIT) -> SpectralNorm:
    """||A||_2 from A^T A."""
    if len(gram) > eigenvalues_limit:
        value = math.sqrt(lanczos_norm(Matrix(gram), min(tol, 1e-6)).value)
        upper = value * (1 + tol)
        shifted = -gram
        shifted.diagonal().add_(upper**2)
        if int(torch.linalg.cholesky_ex(shifted)[1]) == 0:
            return SpectralNorm(value, value * (1 - ROUNDING), upper * (1 + ROUNDING), "Lanczos, Cholesky")
    value = math.sqrt(max(float(torch.linalg.eigvalsh(gram)[-1]), 0.0))
    return SpectralNorm(value, value * (1 - ROUNDING), value * (1 + ROUNDING), "dense")


def matrix_norm(
    matrix: Tensor, tol: float = 1e-6, eigenvalues_limit: int = _EIGENVALUES_LIMIT
) -> tuple[float, float, str]:
    """||W||_2 of a matrix of any size, with a certified upper bound.

    Args:
        matrix: W, any floating type, shape `(rows, columns)`; converted to float64 by pieces.
        tol: relative tolerance where an iteration is needed.
        eigenvalues_limit: up to this smaller side the eigenvalues of the Gram matrix are computed.

    Returns:
        The value (from below), the upper bound, and how they were obtained.
    """
    w = matrix.detach().cpu()
    if w.shape[0] > w.shape[1]:
        w = w.T
    factor = power_of_two(Matrix(w).magnitude())
    side = len(w)
    if side <= GRAM_LIMIT:
        gram = torch.zeros(side, side, dtype=torch.float64)
        for piece in w.split(max(1, _CHUNK_BYTES // (8 * side)), dim=1):
            piece = piece.double() * factor
            gram.addmm_(piece, piece.T)
        found = gram_norm(gram, tol, eigenvalues_limit).divided(factor)
        return found.value, found.upper, found.method
    value = lanczos_norm(Matrix(w), tol).value
    return value, max(value, _norm_inequalities(w, factor) / factor) * (1 + ROUNDING), "Lanczos, norm inequalities"


class Matrix(Operator):
    """A matrix as an operator on row vectors; products are in float64, piece by piece."""

    def __init__(self, matrix: Tensor) -> None:
        self.output_shape, self.input_shape = (matrix.shape[0],), (matrix.shape[1],)
        self._pieces = matrix.split(max(1, _CHUNK_BYTES // (8 * matrix.shape[1])))

    def forward(self, x: Tensor) -> Tensor:
        """W x for rows x: `(N, columns)` -> `(N, rows)`."""
        return torch.cat([x @ piece.double().T for piece in self._pieces], dim=1)

    def adjoint(self, y: Tensor) -> Tensor:
        """W^T y for rows y: `(N, rows)` -> `(N, columns)`."""
        parts = y.split([len(piece) for piece in self._pieces], dim=1)
        return sum((part @ piece.double() for part, piece in zip(parts, self._pieces, strict=True)), torch.zeros(()))

    def magnitude(self) -> float:
        """The largest entry."""
        return max((float(piece.abs().max()) for piece in self._pieces if piece.numel()), default=0.0)


def _norm_inequalities(w: Tensor, factor: float) -> float:
    """||W||_2 <= min(||W||_F, sqrt(||W||_1 ||W||_inf)), of W times `factor`."""
    rows = torch.stack([(row.double() * factor).abs().sum() for row in w]).max()
    columns = torch.stack([(column.double() * factor).abs().sum() for column in w.T]).max()
    frobenius = math.sqrt(sum(float((row.double() * factor).square().sum()) for row in w))
    return min(frobenius, math.sqrt(float(rows * columns)))
