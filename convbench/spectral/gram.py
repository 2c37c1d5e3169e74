"""G(w) = K(w)^H K(w), the Gram matrix of a symbol's smaller side, at many frequencies.

Its coefficients are computed once (`convbench.spectral.autocorrelation`); after that a frequency costs one product of
a few dozen cosines and sines with a table, instead of a product of complex matrices. Bounds are proven in float32
where its rounding errors leave room, and in float64 elsewhere: the proof is the same.
"""

import math

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from convbench.spectral.autocorrelation import autocorrelation
from convbench.spectral.packed_gram import PackedGram, packed_table

_LANCZOS_STEPS = 80
UNIT_ROUNDOFF = 2.0**-53
_SINGLE_ROUNDOFF = 2.0**-24
_SINGLE_SIDE = 192  # above, the rounding errors of float32 leave little to prove
_SINGLE_PAYS = 0.6  # share of the frequencies proven in float64 that float32 must have proven before
_SINGLE_TRIAL = 48


class GramSymbol:
    """The Gram matrices of one group of a symbol, on its smaller side.

    Args:
        taps: B, float64 `(taps, rows, columns)`, entries of the order of 1.
        offsets: t, `(taps, 2)`.
    """

    def __init__(self, taps: Tensor, offsets: Tensor) -> None:
        self._taps, self._offsets = taps, offsets.double()
        if taps.shape[2] > taps.shape[1]:
            taps = taps.mT  # K^T has the same singular values
        self.side = taps.shape[2]
        parts = autocorrelation(taps, offsets)
        self._shifts, self._cosines, self._sines = parts.shifts, parts.cosines, parts.sines
        table = packed_table(parts.even, parts.odd)
        self._double = PackedGram(table, self.side)
        self._single: PackedGram | None = None
        if self.side <= _SINGLE_SIDE:
            self._init_single(table)
        self._settled, self._unsettled = 0, 0  # frequencies proven in float32, and proven in float64 only

    def _init_single(self, table: Tensor) -> None:
        """The table of the waves themselves, without interpolation, which would enlarge the errors of float32."""
        count = len(self._shifts)
        pure = torch.cat([self._cosines @ table[:count], self._sines[1:] @ table[count:]])
        # every T_k's Frobenius norm, at most: entries off the diagonal stand for two
        sizes = float((2 * pure.square().sum(1)).sqrt().sum())
        self._single = PackedGram(pure.float(), self.side)
        self._single_error = (len(pure) + 4) * _SINGLE_ROUNDOFF * sizes * (1 + 1e-5)

    def is_below(self, bound: float, frequencies: Tensor, *, roughly: bool = False) -> Tensor:
        """Where ||K(w)||_2 < `bound` is proven at `(F, 2)` frequencies, up to `rounding_margin`: bool `(F,)`.

        bound^2 I - G(w) is positive definite where its Cholesky factorization ends. In float32 the factorization is
        that of (bound^2 - errors) I - G(w): what ends is as much of a proof.

        Args:
            bound: to compare with.
            frequencies: in radians.
            roughly: leave the frequencies unproven that float32 doesn't settle, where it is used.
        """
        angles = frequencies @ self._shifts.T
        cosines, sines = angles.cos(), angles.sin()
        proven = torch.zeros(len(frequencies), dtype=torch.bool)
        if self._single is not None:
            square = self._single_square(bound)
            if square > 0.0:
                proven = self._single.factorizes(square, torch.cat([cosines, sines[:, 1:]], dim=1))
            if roughly:
                return proven
        left = ~proven
        if left.any():
            waves = torch.cat([cosines[left] @ self._cosines, sines[left] @ self._sines], dim=1)
            proven[left] = self._double.factorizes(bound**2, waves)
            if self._single is not None:
                self._watch(len(left) - int(left.sum()), int(proven[left].sum()))
        return proven

    def _watch(self, settled: int, unsettled: int) -> None:
        """Do without float32 where it hardly proves anything that float64 proves."""
        self._settled, self._unsettled = self._settled + settled, self._unsettled + unsettled
        total = self._settled + self._unsettled
        if total >= _SINGLE_TRIAL and self._settled < _SINGLE_PAYS * total:
            self._single = None

    def _single_square(self, bound: float) -> float:
        """The s for which a Cholesky factorization of s I - G(w) in float32 proves that ||K(w)||_2 < `bound`.

        It belongs to a matrix nearer than c u trace, componentwise c u |R|^H |R| (Higham 2002, theorem 10.3), with
        c = 2 sqrt(2) (m + 1) for complex inner products in any order (each part sums 2 m real products); the trace is
        at most m s. G itself is off by the rounding of the table, of the waves and of their product.
        """
        growth = 3 * (self.side + 8) * self.side * _SINGLE_ROUNDOFF
        square = (bound**2 * (1 - 1e-9) - self._single_error) / (1 + growth)
        return float(np.nextafter(np.float32(square), np.float32(-math.inf)))

    def norm_at(self, frequency: Tensor) -> float:
        """||K(w)||_2 at one frequency `(2,)`, from all singular values."""
        return float(torch.linalg.matrix_norm(self._symbol(frequency), 2))

    def norm_below(self, frequency: Tensor, tol: float) -> float:
        """||K(w)||_2 at one frequency `(2,)` from below, by Lanczos iteration: ||K v|| of a unit vector v.

        With reorthogonalization, until five steps add less than a hundredth of the relative tolerance `tol`; the
        start is random, from a private generator.
        """
        k = self._symbol(frequency).numpy()
        adjoint = np.ascontiguousarray(k.conj().T)
        generator = np.random.default_rng(0)
        start = generator.standard_normal((self.side, 2)).view(np.complex128)[:, 0]
        basis = np.empty((_LANCZOS_STEPS + 1, self.side), dtype=np.complex128)
        basis[0] = start / np.linalg.norm(start)
        diagonal, below, past = [], [], 0.0
        vectors = np.ones((1, 1))
        for step in range(_LANCZOS_STEPS):
            image = k @ basis[step]
            diagonal.append(float(np.vdot(image, image).real))
            w = adjoint @ image
            for _ in range(2):  # twice is enough (Kahan)
                w -= basis[: step + 1].T @ (basis[: step + 1].conj() @ w)
            below.append(float(np.linalg.norm(w)))
            done = below[-1] <= 1e-13 * max(diagonal)
            if done or step % 5 == 4 or step + 1 == _LANCZOS_STEPS:
                values, vectors = eigh_tridiagonal(diagonal, below[:-1], select="i", select_range=(step, step))
                if done or values[0] - past <= 0.01 * tol * values[0]:
                    break
                past = values[0]
            basis[step + 1] = w / below[-1]
        ritz = vectors[:, 0] @ basis[: len(vectors)]
        return float(np.linalg.norm(k @ ritz) / np.linalg.norm(ritz))

    def _symbol(self, frequency: Tensor) -> Tensor:
        """K with at most as many columns as rows."""
        angles = self._offsets @ frequency
        flat = self._taps.flatten(1)
        k = torch.complex(angles.cos() @ flat, angles.sin() @ flat).view(self._taps.shape[1:])
        return k if k.shape[1] <= k.shape[0] else k.mT


def rounding_margin(side: int) -> float:
    """The relative error of a bound on ||K||_2 that `is_below` proves for `side` x `side` Gram matrices.

    A factorization that ends belongs to a matrix nearer than (m + 1) u trace (Higham 2002, theorem 10.7), the trace
    being at most m ||K||^2; the Gram matrix itself is interpolated with an amplification of at most 23.
    """
    return 32 * side * (side + 1) * UNIT_ROUNDOFF / 2
