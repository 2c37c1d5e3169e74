"""The largest singular value of an operator from below, by block Golub-Kahan-Lanczos bidiagonalization.

Golub & Kahan 1965; blocks after Golub, Luk & Overton 1981. Two vectors at once, because the largest singular values of
a real convolution come in near pairs: a peak of the symbol at w has its mirror image at -w, and only the border tells
them apart. One vector would stop between the two. There is no reorthogonalization: its absence repeats converged
values and leaves the largest right (Paige 1980). Every Ritz value is a lower bound of the norm.
"""

import numpy as np
import torch
from scipy.linalg import eigvals_banded
from torch import Tensor

from convbench.spectral.operator import Operator

BLOCK = 2
_SEED = 0
_FIRST_CHECK = 10
_BREAKDOWN = 1e-13  # relative to the norm so far: nothing new is left in that direction


def golub_kahan_norm(operator: Operator, tol: float = 1e-6, max_steps: int = 2000) -> tuple[float, bool]:
    """The norm ||A||_2 from below, to the relative tolerance `tol`.

    A V_{i+1} = U_i B_i + U_{i+1} D_{i+1} and A^T U_i = V_i D_i^T + V_{i+1} B_i^T; the value is the norm of the block
    bidiagonal matrix (D, B). The start is Gaussian from a private generator: equal operators give equal values.

    Args:
        operator: the operator with its adjoint.
        tol: the iteration stops when the value grew by less than a fifth of this over the last fifth of the steps, at
            least 15. Where the leading values cluster, the remaining error is of the order of that growth.
        max_steps: a bound on the work; each step applies the operator and its adjoint to two vectors.

    Returns:
        The value, and whether the tolerance was met.
    """
    generator = torch.Generator().manual_seed(_SEED)
    start = torch.randn(BLOCK, *operator.input_shape, generator=generator, dtype=torch.float64)
    v, _ = _orthonormal(start, 0.0)
    u, d = _orthonormal(operator.forward(v), 0.0)
    if len(u) == 0:  # random vectors are in the kernel of the zero operator only
        return 0.0, True
    scale = float(torch.linalg.matrix_norm(d, 2))
    gram = _BlockTridiagonal(d.T @ d)
    values: dict[int, float] = {}
    next_check = _FIRST_CHECK
    for step in range(1, max_steps + 1):
        v_next, b = _orthonormal(operator.adjoint(u) - _combine(d, v), scale)
        if len(v_next) == 0:
            return gram.norm(), True
        gram.append(b @ d, b @ b.T)
        u, d = _orthonormal(operator.forward(v_next) - _combine(b, u), scale)
        gram.add_to_last(d.T @ d)
        v = v_next
        if len(u) == 0:
            return gram.norm(), True
        scale = max(scale, float(torch.linalg.matrix_norm(d, 2)))
        if step == next_check:
            next_check += max(5, step // 10)
            values[step] = gram.norm()
            past = [value for when, value in values.items() if when <= step - max(15, step // 5)]
            if past and values[step] - past[-1] <= 0.2 * tol * values[step]:
                return values[step], True
    return gram.norm(), False


def _orthonormal(rows: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Q with orthonormal rows and R such that `rows = R^T Q`, without directions that are rounding errors."""
    q, r = torch.linalg.qr(rows.flatten(1).T)
    w, s, vh = torch.linalg.svd(r)
    keep = s > _BREAKDOWN * max(scale, float(s.max()))
    return (q @ w[:, keep]).T.reshape(-1, *rows.shape[1:]), s[keep, None] * vh[keep]


def _combine(coefficients: Tensor, rows: Tensor) -> Tensor:
    return (coefficients @ rows.flatten(1)).view(-1, *rows.shape[1:])


class _BlockTridiagonal:
    """The symmetric matrix (D, B)^T (D, B), in LAPACK's lower band storage, one block column at a time."""

    _WIDTH = 2 * BLOCK  # entries from the diagonal downwards in one column

    def __init__(self, block: Tensor) -> None:
        self._columns: list[np.ndarray] = []
        self._last = block

    def add_to_last(self, block: Tensor) -> None:
        """Add to the last diagonal block."""
        self._last = self._last + block

    def append(self, below: Tensor, block: Tensor) -> None:
        """A further diagonal block, and the block left of it, below the one that was the last."""
        self._columns += self._band(torch.cat([self._last, below]).numpy())
        self._last = block

    def norm(self) -> float:
        """The root of the largest eigenvalue."""
        band = np.array(self._columns + self._band(self._last.numpy())).T
        scale = band[0].max()
        if scale == 0.0:
            return 0.0
        return float(np.sqrt(scale * eigvals_banded(band / scale, lower=True)[-1]))

    def _band(self, block: np.ndarray) -> list[np.ndarray]:
        return [np.pad(column[j:], (0, self._WIDTH - len(column) + j)) for j, column in enumerate(block.T)]
