"""Cholesky factorizations of bound^2 I - G(w) at many frequencies, in one precision, from a table of coefficients.

G(w) = sum_k wave_k(w) T_k, and matrices are kept in LAPACK's rectangular full packed format: half the memory of full
storage, the same speed (Gustavson et al. 2010).
"""

from functools import cache

import numpy as np
import torch
from scipy.linalg import get_lapack_funcs
from torch import Tensor

_CHUNK_BYTES = 2**20
_CHUNK_LEAST = 16  # fewer frequencies would be dominated by reading the table
_COMPLEX = {torch.float64: np.complex128, torch.float32: np.complex64}


class PackedGram:
    """Whether bound^2 I - G(w) has a Cholesky factorization in the precision of `table`.

    Args:
        table: rows T_k, packed, `(terms, m (m + 1))`, the real view of complex entries.
        side: m.
    """

    def __init__(self, table: Tensor, side: int) -> None:
        self._table, self._side = table, side
        self._diagonal = 2 * torch.from_numpy(packing(side)[2])
        self._dtype = _COMPLEX[table.dtype]
        self._factor = get_lapack_funcs(("pftrf",), dtype=self._dtype)[0]

    def factorizes(self, square: float, waves: Tensor) -> Tensor:
        """Where the factorization of `square` I - G(w) ends, for `(F, terms)` waves: bool `(F,)`."""
        codes = []
        chunk = max(_CHUNK_LEAST, _CHUNK_BYTES // (self._table.element_size() * self._side**2))
        # one buffer for all parts: fresh pages cost more than the arithmetic
        buffer = self._table.new_empty(min(chunk, len(waves)), self._table.shape[1])
        for part in waves.neg().to(self._table).split(chunk):
            packed = torch.mm(part, self._table, out=buffer[: len(part)])
            packed[:, self._diagonal] += square
            for matrix in packed.numpy().view(self._dtype):
                codes.append(self._factor(self._side, matrix, overwrite_a=1)[1])
        return torch.tensor(codes, dtype=torch.long) == 0


def packed_table(even: list[Tensor], odd: list[Tensor]) -> Tensor:
    """The packed forms of real symmetric matrices A and of i B for antisymmetric B, each `(m, m)`, as float64 rows."""
    side = len(even[0])
    index, sign, _ = packing(side)
    table = torch.zeros(len(even) + len(odd), side * (side + 1), dtype=torch.float64)
    entries = table.numpy().view(np.complex128)
    for row, matrix in zip(entries, even, strict=False):
        row.real = matrix.numpy().ravel()[index]
    for row, matrix in zip(entries[len(even) :], odd, strict=True):
        row.imag = matrix.numpy().ravel()[index] * sign
    return table


@cache
def packing(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a packed `side` x `side` matrix: the flat index and the sign of the imaginary part of each entry, and which
    entries lie on the diagonal.

    LAPACK packs a matrix of indices, and so tells its layout itself. It takes rows for columns: the packed matrix is
    the conjugate, which has the same eigenvalues.
    """
    pack = get_lapack_funcs(("trttf",), dtype=np.complex128)[0]
    where = np.arange(side * side, dtype=np.float64).reshape(side, side) + 1j
    packed = pack(where.T)[0]
    index = packed.real.astype(np.int64)
    return index, packed.imag, np.flatnonzero(index // side == index % side)
