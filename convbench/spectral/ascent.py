"""Where on a frequency grid a symbol is large: alternating ascent from random starts, on the taps alone.

A start is a unit vector v. In turn: the frequency where ||K(w) v|| is largest over the whole grid, u = K(w) v there,
and v = K(w)^H u. Each step can only rise. In float32: the result says where to look, and is no bound of anything.
"""

import torch
from torch import Tensor

_STARTS = 8  # a product with sixteen columns costs little more than one with four
_ROUNDS = 5
_SEED = 0


def likely_sizes(taps: Tensor, offsets: Tensor, grids: list[Tensor]) -> list[Tensor]:
    """For each grid, about ||K(w)||_2 at its frequencies, from below, and closest where that is large: `(F,)` each.

    Args:
        taps: B of one group, `(taps, rows, columns)`.
        offsets: t, `(taps, 2)`.
        grids: frequencies in radians, `(F, 2)` each; one ascent over all of them serves every one.
    """
    count, rows, columns = taps.shape
    scale = float(taps.abs().max())
    if scale == 0.0:
        return [torch.zeros(len(grid)) for grid in grids]
    wide = taps.float().mul_(1 / scale).flatten(0, 1)
    waves = torch.exp(1j * (torch.cat(grids) @ offsets.T.to(grids[0]))).to(torch.complex64)  # (F, T)
    generator = torch.Generator().manual_seed(_SEED)
    v = torch.randn(2, columns, _STARTS, generator=generator)
    best = torch.zeros(len(waves))
    for _ in range(_ROUNDS):
        v = v / v.square().sum((0, 1)).sqrt().clamp(min=torch.finfo(torch.float32).tiny)
        z = (wide @ v.permute(1, 0, 2).reshape(columns, -1)).view(count, rows, 2, _STARTS)
        z = torch.complex(z[:, :, 0], z[:, :, 1]).permute(2, 0, 1)  # (S, T, rows)
        products = z.conj() @ z.mT  # (S, T, T): ||K(w) v||^2 is the quadratic form of the waves in them
        energy = ((waves @ products.mT) * waves.conj()).real.sum(2)  # (S, F)
        best = torch.maximum(best, energy.amax(0))
        phase = waves[energy.argmax(1)]  # (S, T)
        u = (phase.unsqueeze(1) @ z).squeeze(1)  # (S, rows)
        back = (phase.conj().unsqueeze(2) * u.unsqueeze(1)).reshape(_STARTS, -1)  # (S, T rows)
        v = (wide.T @ torch.view_as_real(back).permute(1, 2, 0).reshape(count * rows, -1)).view(columns, 2, _STARTS)
        v = v.permute(1, 0, 2)
    return list((scale * best.clamp(min=0).sqrt()).split([len(grid) for grid in grids]))
