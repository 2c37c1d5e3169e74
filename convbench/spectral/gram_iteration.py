"""Gram iteration: the largest singular value of every K(w) from above, by repeated squaring of Gram matrices.

Delattre, Barthelemy, Araujo & Allauzen 2023, arXiv:2305.16173, algorithm 2, on the polyphase symbol. With G_0 = K and
G_{i+1} = G_i^H G_i, ||K||_2 = ||G_i||_2^(2^-i) <= ||G_i||_F^(2^-i), and the right side is at most the left times
rank^(2^-(i+1)), which encloses the norm. Published code works in float32 and may end below the truth; here the
products are in float64 and the rounding errors of all squarings are added to the bound.
"""

import math

import torch

from convbench.spectral.gram import UNIT_ROUNDOFF
from convbench.spectral.linear_operator import power_of_two
from convbench.spectral.sieve import Grid, GridMaximum
from convbench.spectral.symbol import Symbol

ITERATIONS = 10
_CHUNK_BYTES = 16 * 2**20


def gram_iteration(symbol: Symbol, grid: Grid, iterations: int = ITERATIONS) -> GridMaximum:
    """The maximum over a grid of ||K(w)||_2, enclosed to a factor rank^(2^-(iterations + 1)).

    Args:
        symbol: of any size.
        grid: the frequencies.
        iterations: number of products G <- G^H G, K^H K being the first; at least 1.
    """
    if iterations < 1:
        raise ValueError(f"Gram iteration needs at least one iteration, not {iterations}")
    factor = power_of_two(float(symbol.taps.abs().max()))
    symbol = Symbol(symbol.taps * factor, symbol.offsets)
    frequencies = grid.at(grid.half())
    length = max(1, _CHUNK_BYTES // (16 * symbol.taps[0].numel()))
    best, where = -math.inf, frequencies[0]
    for part in frequencies.split(length):
        log_norm, index = _log_norms(symbol.at(part), iterations).max(0)
        if float(log_norm) > best:
            best, where = float(log_norm), part[index]
    if best == -math.inf:
        return GridMaximum(0.0, 0.0, where)
    # every squaring doubles the relative error so far and adds its own; the root halves it again
    rounding = 8 * max(symbol.taps.shape[2:]) * symbol.rank * UNIT_ROUNDOFF * (iterations + 1)
    upper = math.exp(best) * (1 + rounding)
    lower = math.exp(best - math.log(symbol.rank) / 2 ** (iterations + 1)) * (1 - rounding)
    return GridMaximum(lower / factor, upper / factor, where)


def _log_norms(k: torch.Tensor, iterations: int) -> torch.Tensor:
    """log ||G_i||_F^(2^-i), the largest over the groups: `(F, groups, rows, columns)` -> `(F,)`."""
    scale = torch.linalg.matrix_norm(k)
    log_scale = scale.log()  # of the 2^i-th root of what was divided out; minus infinity for a zero matrix
    g = k / torch.where(scale > 0, scale, 1.0)[..., None, None]
    for i in range(1, iterations + 1):
        # the first product may be on either side
        g = g @ g.mH if g.shape[-2] < g.shape[-1] else g.mH @ g
        scale = torch.linalg.matrix_norm(g)
        log_scale = log_scale + scale.log() / 2**i
        g = g / torch.where(scale > 0, scale, 1.0)[..., None, None]
    return log_scale.amax(1)
