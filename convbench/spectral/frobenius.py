"""The Frobenius norm of a convolution as an operator: from its taps, without writing the operator down.

With stable rank ||A||_F^2 / ||A||_2^2 it tells how many singular values are large. (Rudelson & Vershynin 2007,
doi:10.1145/1255443.1255449, section 1.)
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convbench.spectral.convolution import Geometry, Pair, geometry_of


def frobenius_norm(conv: nn.Conv2d | nn.ConvTranspose2d, input_size: Pair, output_size: Pair) -> float:
    """||A||_F of the operator that `conv` applies, for any padding mode, stride, dilation and groups.

    A = sum_ab W_ab (x) R_a (x) C_b, with R_a the 0-1 matrix that picks the row which tap a sees at each output row, so
    ||A||_F^2 = sum over two taps of <W_ab, W_a'b'> <R_a, R_a'> <C_b, C_b'>. Two taps see the same pixel only where the
    padding repeats pixels.

    Args:
        conv: its weight in any floating type.
        input_size, output_size: (H, W).
    """
    geometry = geometry_of(conv, input_size, output_size)
    taps = conv.weight.detach().cpu().double().flatten(0, 1).flatten(1)
    scale = float(taps.abs().max())
    if scale == 0.0:
        return 0.0
    rows, columns = (_coincidences(geometry, axis) for axis in (0, 1))
    taps = taps / scale  # squares of small weights would vanish
    return scale * math.sqrt(max(float((taps.T @ taps * torch.kron(rows, columns)).sum()), 0.0))


def _coincidences(geometry: Geometry, axis: int) -> Tensor:
    """<R_a, R_a'>: at how many output pixels the taps a and a' see the same input pixel, `(k, k)`."""
    n, out = geometry.input_size[axis], geometry.output_size[axis]
    k, s, d = geometry.kernel[axis], geometry.stride[axis], geometry.dilation[axis]
    pixels = torch.arange(1, n + 1, dtype=torch.float64).view(1, 1, n)
    mode = "constant" if geometry.mode == "zeros" else geometry.mode
    padded = F.pad(pixels, geometry.padding[axis], mode=mode)
    seen = padded.flatten()[s * torch.arange(out)[:, None] + d * torch.arange(k)]  # 0 where there is no pixel
    return ((seen[:, :, None] == seen[:, None, :]) & (seen[:, :, None] > 0)).sum(0).double()
