"""Norms of operators that are small enough to be written down, and of the matrices of linear layers.

Only the Gram matrix of the smaller side is ever held. Its largest eigenvalue is exact to rounding; where the
eigenproblem is too dear, one Cholesky factorization proves an upper bound (Higham 2002, theorem 10.7).
"""

import math

import torch
from torch import Tensor

from convbench.spectral.circulant import ROUNDING
from convbench.spectral.lanczos import golub_kahan_norm
from convbench.spectral.operator import LinearMap

DENSE_LIMIT = 1200  # side of a Gram matrix whose eigenvalues take a fraction of a second
_CHOLESKY_LIMIT = 5000  # side of the largest Gram matrix that is formed: 200 MB
_CHUNK_BYTES = 32 * 2**20


def dense_norm(operator: LinearMap) -> float:
    """||A||_2 from the Gram matrix of the smaller side, built by applying A and its adjoint to the identity."""
    wide = operator.output_dim < operator.input_dim
    shape = operator.output_shape if wide else operator.input_shape
    side = math.prod(shape)
    batch = max(1, _CHUNK_BYTES // (8 * (operator.input_dim + operator.output_dim)))
    gram = torch.empty(side, side, dtype=torch.float64)
    for start in range(0, side, batch):
        stop = min(start + batch, side)
        basis = torch.zeros(stop - start, side, dtype=torch.float64)
        basis[torch.arange(stop - start), torch.arange(start, stop)] = 1
        e = basis.view(-1, *shape)
        image = operator.forward(operator.adjoint(e)) if wide else operator.adjoint(operator.forward(e))
        gram[start:stop] = image.flatten(1)
    return _largest_singular_value(gram)


def matrix_norm(matrix: Tensor, tol: float = 1e-6, dense_limit: int = DENSE_LIMIT) -> tuple[float, float, str]:
    """||W||_2 of a matrix of any size, with a certified upper bound.

    Args:
        matrix: W, any floating type, shape `(rows, columns)`; converted to float64 by pieces.
        tol: relative tolerance where an iteration is needed.
        dense_limit: up to this smaller side the eigenvalues of the Gram matrix are computed.

    Returns:
        The value (from below), the upper bound, and how they were obtained.
    """
    w = matrix.detach().cpu()
    if w.shape[0] > w.shape[1]:
        w = w.T
    side = len(w)
    if side <= _CHOLESKY_LIMIT:
        gram = torch.zeros(side, side, dtype=torch.float64)
        for piece in w.split(max(1, _CHUNK_BYTES // (8 * side)), dim=1):
            piece = piece.double()
            gram.addmm_(piece, piece.T)
        if side <= dense_limit:
            value = _largest_singular_value(gram)
            return value, value * (1 + ROUNDING), "dense"
        value = math.sqrt(golub_kahan_norm(Matrix(gram), tol)[0])
        upper = value * (1 + tol)
        gram.neg_().diagonal().add_(upper**2)
        if torch.linalg.cholesky_ex(gram)[1] == 0:
            return value, upper, "Lanczos, Cholesky"
    else:
        value = golub_kahan_norm(Matrix(w), tol)[0]
    return value, max(value, _norm_inequalities(w)) * (1 + ROUNDING), "Lanczos, norm inequalities"


class Matrix:
    """A matrix as an operator on row vectors; products are in float64, piece by piece."""

    def __init__(self, matrix: Tensor) -> None:
        self.input_shape = (matrix.shape[1],)
        self._pieces = matrix.split(max(1, _CHUNK_BYTES // (8 * matrix.shape[1])))

    def forward(self, x: Tensor) -> Tensor:
        """W x for rows x: `(N, columns)` -> `(N, rows)`."""
        return torch.cat([x @ piece.double().T for piece in self._pieces], dim=1)

    def adjoint(self, y: Tensor) -> Tensor:
        """W^T y for rows y: `(N, rows)` -> `(N, columns)`."""
        parts = y.split([len(piece) for piece in self._pieces], dim=1)
        return sum((part @ piece.double() for part, piece in zip(parts, self._pieces, strict=True)), torch.zeros(()))


def _largest_singular_value(gram: Tensor) -> float:
    return math.sqrt(max(float(torch.linalg.eigvalsh(gram)[-1]), 0.0))


def _norm_inequalities(w: Tensor) -> float:
    """||W||_2 <= min(||W||_F, sqrt(||W||_1 ||W||_inf))."""
    rows = torch.stack([row.double().abs().sum() for row in w]).max()
    columns = torch.stack([column.double().abs().sum() for column in w.T]).max()
    frobenius = math.sqrt(sum(float(row.double().square().sum()) for row in w))
    return min(frobenius, math.sqrt(float(rows * columns)))
