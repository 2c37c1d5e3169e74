"""The singular values of a convolution from its symbol: exactly, and with how often each occurs.

For circular padding they are those of K on the frequency grid (Sedghi, Gupta, Long 2019, arXiv:1805.10408; with strides
Senderovich et al. 2022). K(-w) is the conjugate of K(w), so half of the plane is enough. Where the kernel has one tap
and its windows are whole or empty, the same matrix acts at every pixel.
"""

import torch
from torch import Tensor, nn

from convbench.errors import MetricNotDefinedError
from convbench.spectral.convolution import Geometry, Pair, geometry_of
from convbench.spectral.linear_operator import power_of_two
from convbench.spectral.stages import Stage, folded_weight
from convbench.spectral.symbol import Symbol, convolution_symbol

_GRAM_IS_ENOUGH = 1e-4  # of the norm: below, the root of an eigenvalue loses digits (1e-16 / 1e-4 of the norm)
_CHUNK_BYTES = 8 * 2**20
_FLOPS_OF_EIGENVALUES = 16  # times m^3, complex, without vectors

Weighted = tuple[Tensor, Tensor]  # singular values (F, m), and the multiplicity of each row (F,)


def stage_geometry(stage: Stage, input_size: Pair, output_size: Pair) -> Geometry:
    """The sizes of a convolution stage between an input and an output of the given (H, W)."""
    return geometry_of(_convolution(stage), input_size, output_size)


def exact_values(stage: Stage, geometry: Geometry) -> Weighted | None:
    """The singular values of a convolution stage that aren't zero by its shape, where the symbol has them; else None.

    Returns:
        Values `(F, m)` and how often each row of them occurs `(F,)`.
    """
    if geometry.is_circulant:
        return circulant_values(stage_symbol(stage, geometry), geometry.output_size)
    if geometry.mode == "zeros" or not any(map(any, geometry.padding)):
        windows, symbol = _whole_windows(geometry), stage_symbol(stage, geometry)
        if len(symbol.offsets) == 1 and windows is not None:
            return _singular_values(symbol.at(torch.zeros(1, 2, dtype=torch.float64))), torch.tensor([windows])
    return None


def values_flops(stage: Stage, geometry: Geometry) -> float:
    """What the values on the whole frequency grid cost, roughly."""
    symbol = stage_symbol(stage, geometry)
    frequencies = geometry.output_size[0] * geometry.output_size[1] / 2 if len(symbol.offsets) > 1 else 1
    return _FLOPS_OF_EIGENVALUES * frequencies * _convolution(stage).groups * symbol.rank**3


def surrogate_grid(geometry: Geometry) -> Pair:
    """The output size that a convolution would have with circular padding, input / stride.

    Raises:
        MetricNotDefinedError: the stride doesn't divide the input, so that there is no circulant.
    """
    (h, w), (s, t) = geometry.input_size, geometry.stride
    if h % s or w % t:
        raise MetricNotDefinedError(f"stride {s}x{t} doesn't divide the {h}x{w} input: there is no circulant")
    return h // s, w // t


def stage_symbol(stage: Stage, geometry: Geometry) -> Symbol:
    """The symbol of a convolution stage, its gain folded in; of a transposed convolution that of its adjoint."""
    return convolution_symbol(
        folded_weight(stage),
        stride=geometry.stride,
        padding=geometry.before,
        dilation=geometry.dilation,
        groups=_convolution(stage).groups,
    )


def circulant_values(symbol: Symbol, grid: Pair) -> Weighted:
    """The singular values of K on the frequency grid (2 pi / grid) Z^2: `(F, m)`, and the multiplicities `(F,)`."""
    frequencies, multiplicities = half_plane(grid)
    length = max(1, _CHUNK_BYTES // (16 * symbol.taps[0].numel()))
    return torch.cat([_singular_values(symbol.at(part)) for part in frequencies.split(length)]), multiplicities


def half_plane(grid: Pair) -> Weighted:
    """One of each pair w, -w of the frequencies (2 pi / grid) Z^2, and how many it stands for: `(F, 2)` and `(F,)`."""
    rows, columns = torch.meshgrid(torch.arange(grid[0] // 2 + 1), torch.arange(grid[1]), indexing="ij")
    mirrored_rows, mirrored_columns = -rows % grid[0], -columns % grid[1]
    alone = (mirrored_rows == rows) & (mirrored_columns == columns)
    kept = (mirrored_rows != rows) | (columns <= mirrored_columns)
    turns = torch.stack([rows, columns], dim=-1).double() / torch.tensor(grid)
    return 2 * torch.pi * turns[kept], torch.where(alone, 1, 2)[kept]


def _convolution(stage: Stage) -> nn.Conv2d | nn.ConvTranspose2d:
    assert isinstance(stage.module, nn.Conv2d | nn.ConvTranspose2d)
    return stage.module


def _whole_windows(geometry: Geometry) -> int | None:
    """How many output pixels see a whole kernel of pixels, if all the others see none; else None."""
    count = 1
    for axis in (0, 1):
        n, p, s = geometry.input_size[axis], geometry.before[axis], geometry.stride[axis]
        span = geometry.dilation[axis] * (geometry.kernel[axis] - 1)
        starts = [s * i - p for i in range(geometry.output_size[axis])]
        whole = [start >= 0 and start + span < n for start in starts]
        if any(not w and start + span >= 0 and start < n for w, start in zip(whole, starts, strict=True)):
            return None
        count *= sum(whole)
    return count


def _singular_values(k: Tensor) -> Tensor:
    """Of complex matrices `(F, groups, rows, columns)`: `(F, groups * min(rows, columns))`."""
    if min(k.shape[2:]) == 1:
        return torch.linalg.vector_norm(k, dim=(2, 3))
    factor = power_of_two(float(k.abs().max()))  # so that squares neither overflow nor vanish
    k = k * factor
    gram = k.mH @ k if k.shape[3] <= k.shape[2] else k @ k.mH
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    coarse = values[..., 0] < _GRAM_IS_ENOUGH * values[..., -1]
    values[coarse] = torch.linalg.svdvals(k[coarse]).flip(-1)
    return values.flatten(1) / factor
