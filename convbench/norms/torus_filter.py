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
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

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
    rows, cols = torus
    even, odd = _even_and_odd(gain, torus)
    spectrum = x @ _hartley(cols, source[1], x.dtype)
    spectrum = _left(_hartley(rows, source[0], x.dtype).t(), spectrum)
    mirrored = spectrum.flip((-2, -1)).mul_(odd)
    spectrum = spectrum.mul_(even).sub_(mirrored)
    y = _left(_hartley(rows, target[0], x.dtype), spectrum)
    return y @ _hartley(cols, target[1], x.dtype).t()


def _filter_by_matrix(x: Tensor, gain: Tensor, torus: Pair, source: Window, target: Window) -> Tensor:
    spectrum = x.flatten(-2) @ _hartley_2d(torus, source, x.dtype)
    spectrum = spectrum.mul_(full_grid(gain, torus).flatten(-2))
    y = spectrum @ _hartley_2d(torus, target, x.dtype).t()
    return y.unflatten(-1, (len(target[0]), len(target[1])))


def full_grid(gain: Tensor, torus: Pair) -> Tensor:
    """An even gain on all N1 x N2 frequencies, from the half grid."""
    return gain.flatten(-2)[..., _half_grid_index(torus, _natural(torus[0]), _natural(torus[1]), gain.device)]


def _even_and_odd(gain: Tensor, torus: Pair) -> tuple[Tensor, Tensor]:
    row, col = _mirrored(torus[0]), _mirrored(torus[1])
    flat = gain.flatten(-2)
    straight = flat[..., _half_grid_index(torus, row, col, gain.device)]
    crossed = flat[..., _half_grid_index(torus, row, tuple(-f for f in col), gain.device)]
    return (straight + crossed) / 2, (straight - crossed) / 2


def _left(matrix: Tensor, x: Tensor) -> Tensor:
    """`matrix @ x` on the last two axes; a batched product is faster here than `matmul`, which would copy x."""
    flat = x.flatten(0, -3)
    return torch.bmm(matrix.expand(len(flat), -1, -1), flat).unflatten(0, x.shape[:-2])


def _slice(positions: range) -> slice:
    return slice(positions.start, positions.stop, positions.step)


def _natural(size: int) -> tuple[int, ...]:
    return tuple(range(size))


def _mirrored(size: int) -> tuple[int, ...]:
    """All frequencies, ordered so that the mirror image of the list negates them.

    The frequencies 0 and N/2 are their own negatives; with N even they end up opposite each other, which does no
    harm, because `odd` is zero there.
    """
    half = tuple(range(1, (size + 1) // 2))
    ends = (size // 2,) if size % 2 == 0 else ()
    start = (0,) if size % 2 == 0 else ()
    middle = (0,) if size % 2 else ()
    return start + half + middle + tuple(-f for f in reversed(half)) + ends


# The tables below are constants of the arguments, not of any weights: they cannot go stale.


@lru_cache(maxsize=64)
def _half_grid_index(torus: Pair, row: tuple[int, ...], col: tuple[int, ...], device: torch.device) -> Tensor:
    """Where `rfft2` keeps the frequencies (row, col), or their negatives if it keeps only those."""
    f1, f2 = torch.tensor(row)[:, None] % torus[0], torch.tensor(col) % torus[1]
    stored = f2 <= torus[1] // 2
    f1, f2 = torch.where(stored, f1, -f1 % torus[0]), torch.where(stored, f2, torus[1] - f2)
    return (f1 * (torus[1] // 2 + 1) + f2).to(device)


def _cas(turns: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    angle = (turns % size).double() * (2 * math.pi / size)
    return ((angle.cos() + angle.sin()) / math.sqrt(size)).to(dtype)


@lru_cache(maxsize=256)
def _hartley(size: int, positions: range, dtype: torch.dtype) -> Tensor:
    """The Hartley basis at some positions, shape `(positions, size)`."""
    with torch.inference_mode(False):
        return _cas(torch.tensor(positions)[:, None] * torch.tensor(_mirrored(size)), size, dtype)


@lru_cache(maxsize=256)
def _hartley_2d(torus: Pair, window: Window, dtype: torch.dtype) -> Tensor:
    """The two-dimensional Hartley basis, in which an even gain is diagonal, shape `(positions, N1 * N2)`."""
    rows, cols = torus
    with torch.inference_mode(False):
        along_rows = torch.tensor(window[0])[:, None] * torch.arange(rows) * cols
        along_cols = torch.tensor(window[1])[:, None] * torch.arange(cols) * rows
        turns = along_rows[:, None, :, None] + along_cols[None, :, None, :]
        return _cas(turns.flatten(0, 1).flatten(1), rows * cols, dtype)
