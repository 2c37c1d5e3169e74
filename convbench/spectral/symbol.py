"""The symbol of a convolution of any stride, dilation and groups: one matrix per frequency (polyphase form).

PyTorch's convolution is y[i] = sum_a W_a x[s i + d a - p]. Per axis write d a - p = s t + r with 0 <= r < s. On the
phases x_r[q] = x[s q + r] of the input it is a block convolution of stride one, with the symbol
K(w) = sum_t B_t exp(i w.t). For circular padding the layer's singular values are those of K on the frequency grid
(Sedghi, Gupta, Long 2019 for stride one; Senderovich et al. 2022 for strides).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convbench.spectral.linear_operator import power_of_two


@dataclass(frozen=True)
class Symbol:
    """K(w) = sum_t B_t exp(i w.t), block diagonal over the groups.

    Args:
        taps: B, float64, shape `(taps, groups, out channels / groups, in channels / groups * phases)`.
        offsets: t, shape `(taps, 2)`, in output pixels.
    """

    taps: Tensor
    offsets: Tensor

    @property
    def rank(self) -> int:
        """The smaller side of one group's matrix: the number of singular values per frequency and group."""
        return min(self.taps.shape[2:])

    def at(self, frequencies: Tensor) -> Tensor:
        """K at `(F, 2)` frequencies in radians: complex128 `(F, groups, rows, columns)`."""
        angles = frequencies @ self.offsets.T.to(frequencies)
        flat = self.taps.flatten(1)
        # two real products cost half of a complex one with a real factor
        return torch.complex(angles.cos() @ flat, angles.sin() @ flat).unflatten(1, self.taps.shape[1:])

    def norms(self, frequencies: Tensor, row_gain: Tensor | None = None) -> Tensor:
        """||diag(row_gain) K(w)||_2, the largest over the groups, at `(F, 2)` frequencies: float64 `(F,)`.

        Args:
            frequencies: in radians.
            row_gain: factors per frequency and output channel, `(F, C_out)`.
        """
        k = self.at(frequencies)
        if row_gain is not None:
            k = k * row_gain.unflatten(1, k.shape[1:3]).unsqueeze(-1)
        if self.rank == 1:  # depthwise: no eigenproblem
            return torch.linalg.vector_norm(k, dim=(2, 3)).amax(1)
        factor = power_of_two(float(k.abs().max()))  # its squares might overflow or vanish
        k = k * factor
        gram = k.mH @ k if k.shape[3] <= k.shape[2] else k @ k.mH
        return torch.linalg.eigvalsh(gram)[..., -1].clamp(min=0).sqrt().amax(1) / factor


def convolution_symbol(
    weight: Tensor,
    *,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Symbol:
    """The symbol of the convolution y[i] = sum_a W_a x[s i + d a - p].

    Args:
        weight: `(C_out, C_in / groups, k_h, k_w)`, as `nn.Conv2d` stores it.
        stride: s per axis.
        padding: p per axis, before the first row and column (what follows the last doesn't enter).
        dilation: d per axis.
        groups: as in `nn.Conv2d`.
    """
    w = weight.detach().to(device="cpu", dtype=torch.float64).unflatten(0, (groups, -1))
    rows, columns = (
        [divmod(d * a - p, s) for a in range(k)]
        for k, s, p, d in zip(w.shape[3:], stride, padding, dilation, strict=True)
    )
    offsets = sorted({(i[0], j[0]) for i in rows for j in columns})
    phases = sorted({(i[1], j[1]) for i in rows for j in columns})
    taps = w.new_zeros(len(offsets), *w.shape[:3], len(phases))
    for a, (t_i, r_i) in enumerate(rows):
        for b, (t_j, r_j) in enumerate(columns):
            taps[offsets.index((t_i, t_j)), ..., phases.index((r_i, r_j))] = w[..., a, b]
    return Symbol(taps.flatten(3), torch.tensor(offsets))
