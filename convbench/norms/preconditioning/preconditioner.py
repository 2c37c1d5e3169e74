"""The gain of ConvNorm's preconditioner, from the autocorrelation of the kernels.

On a torus of N1 x N2 pixels the gain of output channel j is

    V_j(f) = (E_j(f) + eps_j)^(-1/2),    E_j(f) = sum_i |F(w_ji)(f)|^2 = sum_d a_j[d] cos<f, d>,
    a_j[d] = sum_i sum_u w_ji[u] w_ji[u + d]

The autocorrelation a_j has (2 kh - 1)(2 kw - 1) entries, half of them by symmetry, whatever the size of the image: a
layer needs no state tied to it, and no Fourier transform of a kernel. It is formed in float64, because E_j nearly
vanishes at some frequencies; in float32 the gain there would be wrong by tens of percent.
"""

import math

import torch
from torch import Tensor

from convbench.norms.constant_tables import constant_table

Pair = tuple[int, int]


def unit_kernels(weight: Tensor) -> Tensor:
    """The kernels of each output channel divided by their norm, in float64; an all-zero channel stays zero.

    ConvNorm does not depend on the norm, so that this only keeps small and large weights within range. No gradient
    flows through the norm.
    """
    wide = weight.double()
    norm = torch.linalg.vector_norm(wide.detach(), dim=(1, 2, 3), keepdim=True)
    return wide / torch.where(norm > 0, norm, torch.ones_like(norm))


def autocorrelation(weight: Tensor) -> Tensor:
    """a_j[d] at the lags of `half_plane(kernel_size)`, shape `(Cout, lags)`; those but the first counted twice."""
    kernel = (weight.shape[2], weight.shape[3])
    by_input = weight.flatten(2)
    gram = torch.bmm(by_input.transpose(1, 2), by_input).flatten(1)
    padded = torch.cat([gram, gram.new_zeros(len(gram), 1)], dim=1)
    pairs = _pairs_by_lag(kernel, weight.device)
    return padded[:, pairs].sum(-1)


def power_spectrum(weight: Tensor, torus: Pair, dilation: Pair = (1, 1), stride: Pair = (1, 1)) -> Tensor:
    """E_j on the half grid of `torch.fft.rfft2`, shape `(Cout, N1, N2 // 2 + 1)`, in the type of `weight`.

    With a stride the torus is the grid of the strided output: E_j then is the symbol of `A_j A_j^T` there, the cosine
    series over those lags that are multiples of the stride.
    """
    return _spectrum(autocorrelation(weight), (weight.shape[2], weight.shape[3]), torus, dilation, stride)


def gain(weight: Tensor, torus: Pair, dilation: Pair = (1, 1), eps_rel: float = 1e-12, stride: Pair = (1, 1)) -> Tensor:
    """V_j on the half grid, for kernels whose squares are in range; 0 for an all-zero channel.

    `eps_j = eps_rel * ||w_j||^2` is relative, so that V does not change with the scale of the weights.
    """
    norm = torch.linalg.vector_norm(weight, dim=(1, 2, 3))
    return _inverse_root(power_spectrum(weight, torus, dilation, stride), norm.square(), eps_rel)


def gain_of_weight(weight: Tensor, torus: Pair, dilation: Pair, eps_rel: float, stride: Pair) -> Tensor:
    """V_j on the half grid in float64, for kernels of any norm and type."""
    if weight.dtype != torch.float64:  # whose squares are in the range of float64
        return gain(weight.double(), torus, dilation, eps_rel, stride)
    norm = torch.linalg.vector_norm(weight.detach(), dim=(1, 2, 3))[:, None, None]
    return gain(unit_kernels(weight), torus, dilation, eps_rel, stride) / norm.where(norm > 0, 1.0)


def gain_of_autocorrelation(
    correlation: Tensor, kernel: Pair, torus: Pair, dilation: Pair, eps_rel: float, stride: Pair
) -> Tensor:
    """V_j on the half grid from numbers as `autocorrelation` gives them, for kernels of any norm."""
    energy = _spectrum(correlation, kernel, torus, dilation, stride)
    return _inverse_root(energy, correlation[:, 0], eps_rel)


def _spectrum(correlation: Tensor, kernel: Pair, torus: Pair, dilation: Pair, stride: Pair) -> Tensor:
    cosines = _cosines(kernel, dilation, stride, torus, correlation.device).to(correlation.dtype)
    return (correlation @ cosines).view(-1, torus[0], torus[1] // 2 + 1)


def _inverse_root(energy: Tensor, square_norm: Tensor, eps_rel: float) -> Tensor:
    energy, square_norm = energy.clamp_min(0), square_norm[:, None, None]
    alive = (square_norm.detach() > 0) | square_norm.detach().isnan()
    eps = torch.where(alive, eps_rel * square_norm, torch.ones_like(square_norm))
    return (energy + eps).rsqrt() * alive


def kernel_symbol(weight: Tensor, torus: Pair, dilation: Pair = (1, 1)) -> Tensor:
    """F(w)(f) of each kernel at all frequencies, shape `(Cout, Cin / groups, N1, N2)`, complex."""
    along = []
    for axis in (0, 1):
        tap = torch.arange(weight.shape[2 + axis], device=weight.device) * dilation[axis]
        turns = torch.arange(torus[axis], device=weight.device)[:, None] * tap % torus[axis]
        angle = turns.to(weight.dtype) * (-2 * math.pi / torus[axis])
        along.append(torch.polar(torch.ones_like(angle), angle))
    return torch.einsum("oiuv,pu,qv->oipq", weight.to(along[0].dtype), *along)


def half_plane(kernel: Pair) -> list[Pair]:
    """The lags between two kernel entries, one of each pair d, -d; zero first."""
    rows, cols = kernel
    lags = [(dy, dx) for dy in range(rows) for dx in range(1 - cols, cols)]
    return [lag for lag in lags if lag >= (0, 0)]


@constant_table
def _pairs_by_lag(kernel: Pair, device: torch.device) -> Tensor:
    """For each lag the entries of the flat Gram matrix that have it, twice where the lag is not zero."""
    rows, cols = kernel
    size = rows * cols
    table = torch.full((rows * (2 * cols - 1) - cols + 1, 2 * size), size * size)  # the zero appended to the Gram
    for number, (dy, dx) in enumerate(half_plane(kernel)):
        first = [(y, x) for y in range(rows - dy) for x in range(max(0, -dx), cols - max(0, dx))]
        entries = [(y * cols + x) * size + (y + dy) * cols + x + dx for y, x in first]
        if number:
            entries = entries * 2
        table[number, : len(entries)] = torch.tensor(entries)
    return table.to(device)


@constant_table
def _cosines(kernel: Pair, dilation: Pair, stride: Pair, torus: Pair, device: torch.device) -> Tensor:
    """cos<f, d>, shape `(lags, N1 * (N2 // 2 + 1))`; the phase is reduced in whole numbers, so exact.

    Zero at the lags that the stride skips.
    """
    lag = torch.tensor(half_plane(kernel)) * torch.tensor(dilation)
    kept = (lag % torch.tensor(stride) == 0).all(1)
    lag = lag.div(torch.tensor(stride), rounding_mode="floor")
    row, col = torch.arange(torus[0]), torch.arange(torus[1] // 2 + 1)
    turns = lag[:, :1, None] * row[:, None] * torus[1] + lag[:, 1:, None] * col * torus[0]
    angle = (turns % (torus[0] * torus[1])).double() * (2 * math.pi / (torus[0] * torus[1]))
    return (angle.cos().flatten(1) * kept[:, None]).to(device)
