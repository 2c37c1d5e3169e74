"""Filter each channel on a torus by a real, even gain; cropping and striding are part of the operator.

    y = target . F^-1 ( gain * F ( source^T . x ) )

`source` and `target` are windows: the positions of the torus where x is given (zero elsewhere) and where y is wanted.
The filter itself is self-adjoint, so that the backward pass is the same operator with the windows swapped, and
nothing but the gain is kept for it.

Three ways to compute it agree to rounding. On a CPU and a small torus a real Fourier basis and matrix products beat
the fast Fourier transform two- to fourfold. With the Hartley basis cas(t) = cos(t) + sin(t) along both axes,

    filter(cas_a cas_b) = even(a, b) cas_a cas_b - odd(a, b) cas_-a cas_-b
    even, odd = (gain(a, b) +- gain(a, -b)) / 2

so that four N x N products and one mirrored product of coefficients do it, without complex numbers.
"""

import math
from typing import Any

import torch
from torch import Tensor

from convbench.norms.constant_tables import constant_table

Pair = tuple[int, int]
Window = tuple[range, range]

DENSE_PIXELS = 144  # up to here one matrix for both axes is faster than one for each
SEPARABLE_SIZE = 48  # beyond, the fast Fourier transform wins


def whole(torus: Pair) -> Window:
    """The window of all positions."""
    return range(torus[0]), range(torus[1])


class TorusFilter(torch.autograd.Function):
    """`TorusFilter.apply(x, gain, torus, source, target)`, differentiable in x any number of times.

    Args:
        x: values on `source`, shape `(N, C, rows, cols)`.
        gain: shape `(C, N1, N2 // 2 + 1)`, the half grid of `torch.fft.rfft2`; taken as a constant.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, gain: Tensor, torus: Pair, source: Window, target: Window) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            if x.device.type != "cpu" or max(torus) > SEPARABLE_SIZE:
                return filter_by_fft(x, gain, torus, source, target)
            if torus[0] * torus[1] <= DENSE_PIXELS:
                return _filter_by_matrix(x, gain, torus, source, target)
            return _filter_by_axis(x, gain, torus, source, target)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, gain, ctx.torus, ctx.source, ctx.target = inputs
        ctx.save_for_backward(gain)
        ctx.save_for_forward(gain)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gain,) = ctx.saved_tensors
        grad = TorusFilter.apply(grad_outputs[0], gain, ctx.torus, ctx.target, ctx.source)
        return grad, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Tensor:
        (gain,) = ctx.saved_tensors
        return TorusFilter.apply(grad_inputs[0], gain, ctx.torus, ctx.source, ctx.target)


def filter_by_fft(x: Tensor, gain: Tensor, torus: Pair, source: Window, target: Window) -> Tensor:
    """The definition; differentiable in x and in the gain."""
    if source != whole(torus):
        embedded = x.new_zeros(*x.shape[:-2], *torus)
        embedded[..., _slice(source[0]), _slice(source[1])] = x
        x = embedded
    # The size is stated, because an odd one cannot be told from the half grid.
    y = torch.fft.irfft2(torch.fft.rfft2(x) * gain, s=torus)
    return y[..., _slice(target[0]), _slice(target[1])].contiguous()


def _filter_by_axis(x: Tensor, gain: Tensor, torus: Pair, source: Window, target: Window) -> Tensor:
    (rows, cols), last = torus, _is_channels_last(x)
    straight = gain.flatten(-2)[..., _half_grid_index(torus, True, 1, gain.device)]
    crossed = gain.flatten(-2)[..., _half_grid_index(torus, True, -1, gain.device)]
    even, odd = (straight + crossed) / 2, (straight - crossed) / 2
    axes = (-2, -1)
    if last:
        x, even, odd, axes = x.movedim(1, -1), _channels_to_end(even), _channels_to_end(odd), (-3, -2)
    spectrum = _along_cols(_hartley(cols, source[1], x.dtype).t(), x, last)
    spectrum = _along_rows(_hartley(rows, source[0], x.dtype).t(), spectrum, last)
    mirrored = spectrum.flip(axes).mul_(odd)
    spectrum = spectrum.mul_(even).sub_(mirrored)
    y = _along_rows(_hartley(rows, target[0], x.dtype), spectrum, last)
    y = _along_cols(_hartley(cols, target[1], x.dtype), y, last)
    return y.movedim(-1, 1) if last else y


def _filter_by_matrix(x: Tensor, gain: Tensor, torus: Pair, source: Window, target: Window) -> Tensor:
    analysis, synthesis = _hartley_2d(torus, source, x.dtype), _hartley_2d(torus, target, x.dtype)
    gain, shape = full_grid(gain, torus).flatten(-2), (len(target[0]), len(target[1]))
    if _is_channels_last(x):
        spectrum = _left(analysis.t(), x.movedim(1, -1).flatten(1, 2)).mul_(gain.t())
        return _left(synthesis, spectrum).unflatten(1, shape).movedim(-1, 1)
    return ((x.flatten(-2) @ analysis).mul_(gain) @ synthesis.t()).unflatten(-1, shape)


def full_grid(gain: Tensor, torus: Pair) -> Tensor:
    """An even gain on all N1 x N2 frequencies, from the half grid."""
    return gain.flatten(-2)[..., _half_grid_index(torus, False, 1, gain.device)]


def _along_rows(matrix: Tensor, x: Tensor, channels_last: bool) -> Tensor:
    """The product with the axis of rows, of `(N, C, rows, cols)` or `(N, rows, cols, C)`."""
    if channels_last:
        return _left(matrix, x.flatten(2)).unflatten(2, x.shape[2:])
    return _left(matrix, x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _along_cols(matrix: Tensor, x: Tensor, channels_last: bool) -> Tensor:
    if channels_last:
        return _left(matrix, x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return x @ matrix.t()


def _left(matrix: Tensor, x: Tensor) -> Tensor:
    """`matrix @ x[n]` for each n; `matmul` would first copy x to another order."""
    return torch.bmm(matrix.expand(len(x), -1, -1), x)


def _is_channels_last(x: Tensor) -> bool:
    return x.stride(1) == 1 and x.shape[1] > 1


def _channels_to_end(gain: Tensor) -> Tensor:
    return gain.movedim(0, -1).contiguous()


def _slice(positions: range) -> slice:
    return slice(positions.start, positions.stop, positions.step)


def _mirrored(size: int) -> list[int]:
    """All frequencies, ordered so that the mirror image of the list negates them.

    The frequencies 0 and N/2 are their own negatives; with N even they end up opposite each other, which does no
    harm, because `odd` is zero there.
    """
    half = list(range(1, (size + 1) // 2))
    opposite = [-f for f in reversed(half)]
    return [*half, 0, *opposite] if size % 2 else [0, *half, *opposite, size // 2]


@constant_table
def _half_grid_index(torus: Pair, mirrored: bool, sign: int, device: torch.device) -> Tensor:
    """Where `rfft2` keeps the frequencies (a, sign * b), or their negatives if it keeps only those.

    a and b run through all frequencies in their natural order, or `_mirrored`.
    """
    a, b = (torch.tensor(_mirrored(size)) if mirrored else torch.arange(size) for size in torus)
    a, b = a[:, None] % torus[0], sign * b % torus[1]
    stored = b <= torus[1] // 2
    a, b = torch.where(stored, a, -a % torus[0]), torch.where(stored, b, torus[1] - b)
    return (a * (torus[1] // 2 + 1) + b).to(device)


def _cas(turns: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    angle = (turns % size).double() * (2 * math.pi / size)
    return ((angle.cos() + angle.sin()) / math.sqrt(size)).to(dtype)


@constant_table
def _hartley(size: int, positions: range, dtype: torch.dtype) -> Tensor:
    """The Hartley basis at some positions, shape `(positions, size)`."""
    return _cas(torch.tensor(positions)[:, None] * torch.tensor(_mirrored(size)), size, dtype)


@constant_table
def _hartley_2d(torus: Pair, window: Window, dtype: torch.dtype) -> Tensor:
    """The two-dimensional Hartley basis, in which an even gain is diagonal, shape `(positions, N1 * N2)`."""
    rows, cols = torus
    along_rows = torch.tensor(window[0])[:, None] * torch.arange(rows) * cols
    along_cols = torch.tensor(window[1])[:, None] * torch.arange(cols) * rows
    turns = along_rows[:, None, :, None] + along_cols[None, :, None, :]
    return _cas(turns.flatten(0, 1).flatten(1), rows * cols, dtype)
