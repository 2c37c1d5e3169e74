"""Both ends of the spectrum of an operator that is too large for all of it."""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from convbench.errors import MetricNotDefinedError
from convbench.spectral.linear_operator import Operator, near_one

GRAM_LIMIT = 5000  # side of the largest Gram matrix that is written down: 200 MB
_SEED = 0
_CHUNK_BYTES = 32 * 2**20
_TOLERANCE = 1e-8  # of an eigenvalue of the Gram matrix, relative
_RESOLVED = 1e-5


class _Gram:
    """A A^T or A^T A, whichever is smaller, on row vectors."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._wide = operator.output_dim < operator.input_dim
        self.shape = operator.output_shape if self._wide else operator.input_shape
        self.side = math.prod(self.shape)

    def apply(self, rows: Tensor) -> Tensor:
        """The product with each of `(N, side)` vectors."""
        x = rows.reshape(-1, *self.shape)
        a = self._operator
        return (a.forward(a.adjoint(x)) if self._wide else a.adjoint(a.forward(x))).reshape(len(rows), -1)

    def half(self, rows: Tensor) -> Tensor:
        """A or A^T, whichever takes vectors of the smaller side."""
        x = rows.reshape(-1, *self.shape)
        return self._operator.adjoint(x) if self._wide else self._operator.forward(x)

    def matrix(self) -> Tensor:
        """Written down, `(side, side)`."""
        gram = torch.empty(self.side, self.side, dtype=torch.float64)
        for part in torch.arange(self.side).split(max(1, _CHUNK_BYTES // (8 * self.side))):
            basis = torch.zeros(len(part), self.side, dtype=torch.float64)
            basis[torch.arange(len(part)), part] = 1
            gram[part] = self.apply(basis)
        return gram


class _Symmetric(LinearOperator):
    """A function of float64 vectors as SciPy's operator."""

    def __init__(self, apply: Callable[[Tensor], Tensor], side: int) -> None:
        super().__init__(np.dtype(np.float64), (side, side))
        self._apply = apply

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._apply(torch.from_numpy(np.ascontiguousarray(x).ravel())).numpy()


def largest_values(operator: Operator, count: int) -> Tensor:
    """The `count` largest singular values of A, descending, from below, by restarted Lanczos on the Gram matrix.

    The i-th value found is at most the i-th largest (interlacing); fewer are given where the iteration didn't reach
    its tolerance. One starting vector finds one copy of a multiple value (symmetric and dilated layers have those), so
    what was found is taken out and the rest iterated again, until nothing new is among the largest. Lehoucq, Sorensen,
    Yang 1998 (ARPACK).

    Raises:
        ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"at least 1 singular value must be asked for, got {count}")
    operator, factor = near_one(operator)
    gram = _Gram(operator)
    if count >= gram.side - 1:
        return torch.linalg.eigvalsh(gram.matrix()).flip(0)[:count].clamp(min=0).sqrt() / factor
    values, vectors = torch.empty(0, dtype=torch.float64), torch.empty(gram.side, 0, dtype=torch.float64)
    while True:
        known, scaled = vectors, vectors * values

        def rest(v: Tensor, known: Tensor = known, scaled: Tensor = scaled) -> Tensor:
            return gram.apply(v[None])[0] - scaled @ (known.T @ v)

        found, new = (torch.from_numpy(array.copy()) for array in _leading(rest, gram.side, count))
        if len(values):
            least = values[-1] if len(values) == count else values.new_zeros(())
            is_new = found > least + _TOLERANCE * values[0]
            found, new = found[is_new], new[:, is_new]
        if not len(found):
            return values.clamp(min=0).sqrt() / factor
        merged = torch.cat([values, found])
        order = merged.argsort(descending=True)[:count]
        values, vectors = merged[order], torch.cat([vectors, new], dim=1)[:, order]


def smallest_value(operator: Operator, norm: float) -> float:
    """The smallest of the min(inputs, outputs) singular values of A, to 1e-6 of itself.

    Inverse iteration through one Cholesky factorization of the Gram matrix of the smaller side gives the singular
    vector v; the value is ||A v||, whose error is quadratic in that of v.

    Args:
        operator: A.
        norm: ||A||_2, or close to it.

    Raises:
        MetricNotDefinedError: the Gram matrix is too large, or the value below 1e-5 of the norm, where the Gram matrix
            doesn't resolve it.
    """
    operator, scale = near_one(operator)
    gram = _Gram(operator)
    if gram.side > GRAM_LIMIT:
        raise MetricNotDefinedError(
            f"the operator has {gram.side} singular values, and the smallest is sought among {GRAM_LIMIT} at most"
        )
    factor, failed = torch.linalg.cholesky_ex(gram.matrix())
    value = 0.0
    if not failed:
        _, vectors = _leading(lambda v: torch.cholesky_solve(v[:, None], factor)[:, 0], gram.side, 1)
        value = float(gram.half(torch.from_numpy(vectors.T.copy())).norm()) / scale if vectors.size else 0.0
    if value <= _RESOLVED * norm:
        raise MetricNotDefinedError(f"it is below {_RESOLVED:g} of the norm, where the Gram matrix doesn't resolve it")
    return value


def _leading(apply: Callable[[Tensor], Tensor], side: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and eigenvectors `(side, count)` of a symmetric matrix; those that converged."""
    generator = torch.Generator().manual_seed(_SEED)
    start = torch.randn(side, generator=generator, dtype=torch.float64).numpy()

    basis = min(side, max(3 * count, 40))
    try:
        values, vectors = eigsh(
            _Symmetric(apply, side), count, which="LA", v0=start, ncv=basis, tol=_TOLERANCE  # type: ignore[arg-type]
        )  # fmt: skip  # SciPy's stub takes the default 0 for its type
        return values, vectors
    except ArpackNoConvergence as error:
        return error.eigenvalues, error.eigenvectors
    except ArpackError:  # the matrix takes the start to zero: it is zero
        return np.zeros(count), np.zeros((side, count))
