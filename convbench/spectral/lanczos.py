"""The largest singular value of an operator from below, by block Lanczos iteration on A^T A.

Lanczos 1950, Golub & Kahan 1965; blocks after Golub, Luk & Overton 1981. Below a tolerance of 1e-5 two vectors go at
once, because the largest singular values of a real convolution come in near pairs: a peak of the symbol at w has its
mirror image at -w, and only the border tells them apart. One vector would stop between the two. There is no
reorthogonalization: its absence repeats converged values and leaves the largest right (Paige 1980).

The iteration may run in float32: the value returned is ||A v|| / ||v|| of the vector v that it found, in float64. That
is a lower bound whatever v is, and its error is of second order in that of v.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eig_banded, eigvals_banded
from torch import Tensor

from convbench.spectral.linear_operator import Operator, near_one

_PAIRS_BELOW = 1e-5
_COARSE = 1e-4
_SEED = 0
_FIRST_CHECK = 10
_BASIS_BYTES = 512 * 2**20  # the iteration restarts from its best vectors when the basis would outgrow this


@dataclass(frozen=True)
class Estimate:
    """A lower bound of an operator's norm.

    Args:
        value: ||A v|| / ||v|| in float64, or of the adjoint.
        converged: whether the tolerance was met.
        steps: how often A^T A was applied, to one vector or to two at once.
    """

    value: float
    converged: bool
    steps: int


def lanczos_norm(
    operator: Operator,
    tol: float = 1e-6,
    max_steps: int = 1000,
    *,
    iterated: Operator | None = None,
) -> Estimate:
    """The norm ||A||_2 from below, to the relative tolerance `tol`.

    Args:
        operator: in float64, with its adjoint; used once, at the end.
        tol: the iteration stops when sigma^2 grew by less than this over the last twelfth of the steps, at least 8
            (above 1e-4: half of this over the last eighth; below 1e-5: a fifth of this over the last fifth, at least
            15). Where the leading values cluster, the remaining error is of the order of that growth.
        max_steps: a bound on the work.
        iterated: the same operator in float32, of the size of 1, to iterate with; else `operator` itself.
    """
    operator, factor = near_one(operator)
    run = operator if iterated is None else iterated
    dtype = torch.float64 if iterated is None else torch.float32
    on_output = operator.output_dim < operator.input_dim  # A A^T has the same largest eigenvalue on shorter vectors
    shape = operator.output_shape if on_output else operator.input_shape
    first, second = (run.adjoint, run.forward) if on_output else (run.forward, run.adjoint)
    generator = torch.Generator().manual_seed(_SEED)
    block = 2 if tol < _PAIRS_BELOW else 1
    start = torch.randn(block, *shape, generator=generator, dtype=torch.float64).to(dtype)
    vectors, converged, steps = _iterate(lambda v: second(first(v)), start, tol, max_steps)
    image = operator.adjoint if on_output else operator.forward
    v = vectors.double()
    v = v / v.flatten(1).norm(dim=1).view(-1, *(1 for _ in shape)).clamp(min=torch.finfo(torch.float64).tiny)
    found = image(v).flatten(1).norm(dim=1) / v.flatten(1).norm(dim=1).clamp(min=0.5)
    return Estimate(float(found.max()) / factor, converged, steps)


def _iterate(apply: Callable[[Tensor], Tensor], start: Tensor, tol: float, max_steps: int) -> tuple[Tensor, bool, int]:
    """The Ritz vectors of the largest eigenvalues of a positive semidefinite operator; whether they stand; steps."""
    shape = start.shape[1:]
    longest = max(20, _BASIS_BYTES // (start.numel() * start.element_size()))
    used, past = 0, 0.0
    v = start.flatten(1)
    while True:
        krylov = _Krylov(apply, v.view(-1, *shape), min(longest, max_steps - used), tol)
        used += krylov.steps
        v = krylov.ritz_vectors()
        if krylov.done or used >= max_steps:
            return v.view(-1, *shape), krylov.done, used
        if krylov.value - past <= 0.2 * tol * krylov.value:  # a whole cycle didn't help
            return v.view(-1, *shape), True, used
        past = krylov.value


class _Krylov:
    """One cycle: an orthonormal basis of the Krylov space of a block, and the block tridiagonal matrix in it."""

    def __init__(self, apply: Callable[[Tensor], Tensor], start: Tensor, max_steps: int, tol: float) -> None:
        self._block = len(start)
        self._basis: list[Tensor] = []
        self._columns: list[np.ndarray] = []
        self.done, self.steps, self.value = False, 0, 0.0
        v, _ = _orthonormal(start.flatten(1), 0.0)
        previous, coupling = None, np.zeros((0, 0))
        values: dict[int, float] = {}
        next_check = _FIRST_CHECK
        while len(v) > 0:
            self._basis.append(v)
            w = apply(v.view(-1, *start.shape[1:])).flatten(1)
            self.steps += 1
            if previous is not None:
                w = torch.addmm(w, torch.from_numpy(-coupling).to(v), previous)
            block = (v @ w.T).double()
            block = (block + block.T) / 2
            w = torch.addmm(w, -block.to(v), v)
            self.value = max(self.value, float(block.diagonal().max()))
            if float(w.norm(dim=1).min()) < 0.05 * self.value:  # what is left is small: rounding would tilt it
                for neighbour in (v, previous):
                    if neighbour is not None:
                        w = torch.addmm(w, -(w @ neighbour.T), neighbour)
            following, lower = _orthonormal(w, self.value)
            self._append(block.numpy(), lower)
            last = len(following) == 0 or self.steps >= max_steps
            if last or self.steps == next_check:
                next_check += 4 + self.steps // 64
                values[self.steps] = self.value = self._largest()
                window, allowed = self._patience(tol)
                past = [x for when, x in values.items() if when <= self.steps - window]
                stands = bool(past) and self.value - past[-1] <= allowed * self.value
                self.done = stands or len(following) == 0
                if last or self.done:
                    return
            previous, v, coupling = v, following, lower
        self.done = True

    def _patience(self, tol: float) -> tuple[int, float]:
        """Over how many last steps sigma^2 may have grown by how much; see `lanczos_norm`."""
        if self._block > 1:
            return max(15, self.steps // 5), 0.2 * tol
        if tol > _COARSE:  # plateaus of the growth are long compared with such a tolerance
            return max(8, self.steps // 8), 0.5 * tol
        return max(8, self.steps // 12), tol

    def ritz_vectors(self) -> Tensor:
        """Rows: the vectors of the largest Ritz values, as many as the start had."""
        size = sum(map(len, self._basis))
        if size <= self._block:
            return torch.cat(self._basis)
        _, vectors = eig_banded(self._band(), lower=True, select="i", select_range=(size - self._block, size - 1))
        parts = torch.from_numpy(vectors.T.copy()).to(self._basis[0]).split([len(v) for v in self._basis], dim=1)
        total = parts[0] @ self._basis[0]
        for part, v in zip(parts[1:], self._basis[1:], strict=True):
            total.addmm_(part, v)
        return total

    def _append(self, block: np.ndarray, lower: np.ndarray) -> None:
        column = np.concatenate([block, lower])
        for j, c in enumerate(column.T):
            self._columns.append(np.zeros(2 * self._block))
            self._columns[-1][: len(c) - j] = c[j:]

    def _band(self) -> np.ndarray:
        """LAPACK's lower band storage; what reaches below the last row isn't read."""
        return np.array(self._columns).T

    def _largest(self) -> float:
        size = len(self._columns)
        top = eigvals_banded(self._band(), lower=True, select="i", select_range=(size - 1, size - 1))
        return max(float(top[0]), 0.0)


def _orthonormal(rows: Tensor, scale: float) -> tuple[Tensor, np.ndarray]:
    """Q with orthonormal rows and R such that `rows = R^T Q`, without directions that are rounding errors of `scale`.

    Gram-Schmidt, every projection twice: the rows may be nearly parallel.
    """
    kept: list[Tensor] = []
    r = np.zeros((len(rows), len(rows)))
    for j, row in enumerate(rows):
        for _ in range(2):
            for i, q in enumerate(kept):
                overlap = torch.dot(q, row)
                row = torch.addcmul(row, q, -overlap)
                r[i, j] += float(overlap)
        size = float(row.norm())
        if size > 20 * torch.finfo(rows.dtype).eps * scale:
            r[len(kept), j] = size
            kept.append(row / size)
    return torch.stack(kept) if kept else rows[:0], r[: len(kept)]
