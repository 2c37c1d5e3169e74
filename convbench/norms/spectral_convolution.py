"""A convolution and a filter of its output on a torus, as one product of matrices per frequency.

    y = target . F^-1 ( A . F ( source^T . x ) ),    A_ji(f) = V_j(f) conj(F(w_ji)(f))

`source` is where the image lies on the torus and `target` where the output is wanted. A direct convolution at full
size makes all positions of the torus before the filter, which transforms them there and back; here x is transformed
there and y back, and between the two stand 8 Cin Cout operations for each of the N1 N2 / 2 frequencies instead of
18 Cin Cout (of a 3x3 kernel) for each of the N1 N2 positions. With a stride only the kept positions are made at all.
Products with real Fourier matrices leave the frequencies in front, so that no array is reordered.
"""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convbench.norms.constant_tables import constant_table
from convbench.norms.torus_filter import Pair, TorusFilter, Window, whole

Geometry = tuple[Pair, Window, Window, Pair]  # torus, source, target, dilation


class SpectralConvolution(torch.autograd.Function):
    """`SpectralConvolution.apply(x, weight, gain, (torus, source, target, dilation))`.

    Differentiable in x and the weight any number of times. Only its arguments are kept for the backward pass.

    Args:
        x: shape `(N, Cin, H, W)`; a narrower type than the gain's is kept as it is and widened when used.
        weight: shape `(Cout, Cin, kh, kw)`.
        gain: shape `(Cout, N1, N2 // 2 + 1)`; taken as a constant. Its type is that of the arithmetic and of y.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, gain: Tensor, geometry: Geometry) -> Tensor:
        torus, source, target, dilation = geometry
        real, imaginary = _symbol(weight, gain, torus, dilation)
        spectrum = _analysis(x.to(gain.dtype), torus, source)
        return _synthesis(_product(spectrum, real.mT, imaginary.mT, 1), torus, target, len(x))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.geometry = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, gain = ctx.saved_tensors
        (torus, source, target, dilation), (for_x, for_weight) = ctx.geometry, ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # the gradient is to be differentiated again
            wanted = [tensor for tensor, needed in ((x, for_x), (weight, for_weight)) if needed]
            y = convolve_directly(x, weight, gain, ctx.geometry)
            found = iter(torch.autograd.grad(y, wanted, grad_outputs[0], create_graph=True))
            return next(found) if for_x else None, next(found) if for_weight else None, None, None
        spectrum, grad_x, grad_weight = _analysis(grad_outputs[0], torus, target), None, None
        if for_x:
            real, imaginary = _symbol(weight, gain, torus, dilation)
            grad_x = _synthesis(_product(spectrum, real, imaginary, -1), torus, source, len(x)).to(x.dtype)
        if for_weight:
            parts = _analysis(x.to(gain.dtype), torus, source)[:, 1:].flatten(1, 2)
            real = torch.bmm(spectrum[:, 1:].flatten(1, 2).mT, parts)
            imaginary = torch.bmm(spectrum[:, :2].flatten(1, 2).mT, parts)
            grad_weight = _kernel_of_symbol(real, imaginary, gain, weight.shape, torus, dilation)
        return grad_x, grad_weight, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Tensor:
        x, weight, gain = ctx.saved_tensors
        x_t, weight_t = (
            torch.zeros_like(of) if tangent is None else tangent
            for tangent, of in zip(grad_inputs[:2], (x, weight), strict=True)
        )
        change = convolve_directly(x_t, weight, gain, ctx.geometry)
        return change + convolve_directly(x, weight_t, gain, ctx.geometry)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        *tensors, geometry = args
        return torch.vmap(partial(convolve_directly, geometry=geometry), in_dims=in_dims[:3])(*tensors), 0


def convolve_directly(x: Tensor, weight: Tensor, gain: Tensor, geometry: Geometry) -> Tensor:
    """The same by a convolution on the torus and `TorusFilter`."""
    torus, source, target, dilation = geometry
    embedded = F.pad(x.to(gain.dtype), (0, torus[1] - x.shape[-1], 0, torus[0] - x.shape[-2]))
    embedded = embedded.roll((source[0].start, source[1].start), (-2, -1))
    span = [d * (k - 1) for d, k in zip(dilation, weight.shape[-2:], strict=True)]
    around = F.pad(embedded, (0, span[1], 0, span[0]), mode="circular")
    return TorusFilter.apply(F.conv2d(around, weight, dilation=dilation), gain, torus, whole(torus), target)


def _by_frequency(gain: Tensor) -> Tensor:
    return gain.permute(2, 1, 0).flatten(0, 1).unsqueeze(-1)


def _symbol(weight: Tensor, gain: Tensor, torus: Pair, dilation: Pair) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of A, frequencies column by column: `(F, Cout, Cin)`."""
    flat, scale = weight.flatten(2).flatten(0, 1).t(), _by_frequency(gain)
    cosines, sines = _taps((weight.shape[2], weight.shape[3]), torus, dilation, weight.dtype)
    shape = (len(cosines), *weight.shape[:2])
    return (cosines @ flat).view(shape).mul_(scale), (sines @ flat).view(shape).mul_(scale)


def _kernel_of_symbol(
    real: Tensor, imaginary: Tensor, gain: Tensor, shape: torch.Size, torus: Pair, dilation: Pair
) -> Tensor:
    """The adjoint of `_symbol`, for conj(dA), summed over all frequencies."""
    scale = _by_frequency(gain) * _weights(torus[1]).to(gain).repeat_interleave(torus[0])[:, None, None]
    scale = scale / (torus[0] * torus[1])
    cosines, sines = _taps((shape[2], shape[3]), torus, dilation, real.dtype)
    flat = cosines.t() @ real.mul_(scale).flatten(1)
    return flat.addmm_(sines.t(), imaginary.mul_(scale).flatten(1), alpha=-1).t().reshape(shape)


def _analysis(x: Tensor, torus: Pair, window: Window) -> Tensor:
    """[-Im, Re, Im] of the spectrum of x, `(F, 3, N, C)`: neighbours make X and, as [-Im, Re], i X."""
    images, channels, rows, cols = x.shape
    along_cols, from_real, from_imaginary = _analysis_bases(torus, window, x.dtype)
    half = (along_cols @ x.reshape(-1, cols).t()).view(-1, 2, images * channels, rows)
    spectrum = torch.bmm(from_real.expand(len(half), -1, -1), half[:, 0].mT)
    spectrum.baddbmm_(from_imaginary.expand(len(half), -1, -1), half[:, 1].mT)
    return spectrum.view(-1, 3, images, channels)


def _product(spectrum: Tensor, real: Tensor, imaginary: Tensor, sign: int) -> Tensor:
    """(real + i sign imaginary) X at each frequency, `(F, 2 N, channels)`."""
    out = torch.bmm(spectrum[:, 1:].flatten(1, 2), real)
    return out.baddbmm_(spectrum[:, :2].flatten(1, 2), imaginary, alpha=sign)


def _synthesis(spectrum: Tensor, torus: Pair, window: Window, images: int) -> Tensor:
    to_real, to_imaginary, along_cols = _synthesis_bases(torus, window, spectrum.dtype)
    halves = torus[1] // 2 + 1
    by_col = spectrum.view(halves, 2 * torus[0], -1).mT
    half = spectrum.new_empty(halves, 2, by_col.shape[1], len(window[0]))
    torch.bmm(by_col, to_real.expand(halves, -1, -1), out=half[:, 0])
    torch.bmm(by_col, to_imaginary.expand(halves, -1, -1), out=half[:, 1])
    return (half.view(2 * halves, -1).t() @ along_cols).view(images, -1, len(window[0]), len(window[1]))


def _weights(size: int) -> Tensor:
    """How many of all frequencies each of the `size // 2 + 1` kept ones stands for."""
    frequency = torch.arange(size // 2 + 1)
    return torch.where(2 * frequency % size == 0, 1.0, 2.0).double()


def _angles(frequencies: int, size: int, positions: range) -> Tensor:
    turns = torch.arange(frequencies)[:, None] * torch.tensor(positions) % size
    return turns.double() * (2 * math.pi / size)


@constant_table
def _analysis_bases(torus: Pair, window: Window, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Along columns to [Re, Im] of half the frequencies, then along rows from each of the two to [-Im, Re, Im]."""
    p, q = _angles(torus[1] // 2 + 1, torus[1], window[1]), _angles(torus[0], torus[0], window[0])
    along_cols = torch.stack([p.cos(), -p.sin()], 1)
    from_real = torch.stack([q.sin(), q.cos(), -q.sin()], 1)
    from_imaginary = torch.stack([-q.cos(), q.sin(), q.cos()], 1)
    first, second, third = (m.flatten(0, 1).to(dtype) for m in (along_cols, from_real, from_imaginary))
    return first, second, third


@constant_table
def _synthesis_bases(torus: Pair, window: Window, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Along rows from [Re, Im] to each of the two, then along columns to the positions."""
    p, q = _angles(torus[1] // 2 + 1, torus[1], window[1]), _angles(torus[0], torus[0], window[0])
    to_real, to_imaginary = torch.stack([q.cos(), -q.sin()], 1), torch.stack([q.sin(), q.cos()], 1)
    weights = _weights(torus[1])[:, None, None] / (torus[0] * torus[1])
    along_cols = torch.stack([p.cos(), -p.sin()], 1) * weights
    first, second, third = (m.flatten(0, 1).to(dtype) for m in (to_real, to_imaginary, along_cols))
    return first, second, third


@constant_table
def _taps(kernel: Pair, torus: Pair, dilation: Pair, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin of <f, d u> for frequencies f, column by column, and kernel entries u, `(F, kh * kw)`."""
    n1, n2 = torus
    u, v = torch.arange(kernel[0]) * dilation[0], torch.arange(kernel[1]) * dilation[1]
    along_rows = torch.arange(n1)[:, None, None] * u[:, None] * n2
    turns = along_rows + torch.arange(n2 // 2 + 1)[:, None, None, None] * v * n1
    angle = (turns % (n1 * n2)).double().flatten(0, 1).flatten(1) * (2 * math.pi / (n1 * n2))
    return angle.cos().to(dtype), angle.sin().to(dtype)
