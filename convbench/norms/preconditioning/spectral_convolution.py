"""A convolution and a filter of its output on a torus, as one product of matrices per frequency.

    y = target . F^-1 ( A . F ( source^T . x ) ),    A_ji(f) = V_j(f) conj(F(w_ji)(f))

`source` is where the image lies on the torus and `target` where the output is wanted. A direct convolution at full
size makes all positions of the torus before the filter, which transforms them there and back; here x is transformed
there and y back, and between the two stand 6 Cin Cout operations for each of the N1 N2 / 2 frequencies instead of
18 Cin Cout (of a 3x3 kernel) for each of the N1 N2 positions. A stride that divides the torus is taken among the
frequencies, as the sum of their aliases, and what follows is as small as the output.

The transforms are products with real Fourier matrices, which leave the frequencies in front, so that no array is
reordered; everything between their first and last halves is done in blocks of frequencies that fit a cache.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convbench.norms.preconditioning.block_transform import BlockTransform
from convbench.norms.preconditioning.frequency_blocks import Block, Fold, Pair, Piece, Window, blocks, places, taps
from convbench.norms.preconditioning.torus_filter import TorusFilter, whole

Geometry = tuple[Pair, Window, Window, Pair]  # torus, source, target, dilation


class SpectralConvolution(torch.autograd.Function):
    """`SpectralConvolution.apply(x, weight, gain, (torus, source, target, dilation))`.

    Differentiable in x and the weight any number of times. Only its arguments are kept for the backward pass.

    Args:
        x: shape `(N, Cin, H, W)`. The result has its type and its memory format. If it is of bfloat16, so are the
            products at each frequency, as those of a convolution would be; transforms and gain stay wide.
        weight: shape `(Cout, Cin, kh, kw)`.
        gain: shape `(Cout, N1, N2 // 2 + 1)`; taken as a constant. Its type is that of the weight and of arithmetic.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, gain: Tensor, geometry: Geometry) -> Tensor:
        plan = _Plan(x, weight, gain, geometry)
        half = plan.source.spread(x)
        result = plan.target.empty(len(x), len(weight), half)
        for block in blocks(plan.fold):
            plan.target.synthesise(result, block.output, _sum(plan.products(half, block)))
        return plan.target.collect(result, len(weight), x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.geometry = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight, gain), grad = ctx.saved_tensors, grad_outputs[0]
        for_x, for_weight = ctx.needs_input_grad[:2]
        with torch.autocast("cpu", enabled=False):
            if not torch.is_grad_enabled():
                return *_gradients(x, weight, gain, grad, ctx.geometry, for_x, for_weight), None, None
            # It is to be differentiated again.
            wanted = [tensor for tensor, needed in ((x, for_x), (weight, for_weight)) if needed]
            y = convolve_directly(x, weight, gain, ctx.geometry)
            found = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
        return next(found) if for_x else None, next(found) if for_weight else None, None, None

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
    y = TorusFilter.apply(F.conv2d(around, weight, dilation=dilation), gain, torus, whole(torus), target)
    return y.to(x.dtype)


def _gradients(
    x: Tensor, weight: Tensor, gain: Tensor, grad: Tensor, geometry: Geometry, for_x: bool, for_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """For the gradient of y, those of x and of the weight: everything is linear and real, so it is transposed."""
    plan = _Plan(x, weight, gain, geometry)
    upstream = plan.target.spread(grad)
    result = plan.source.empty(len(x), x.shape[1], upstream) if for_x else None
    half, flat = (plan.source.spread(x), torch.zeros_like(plan.flat)) if for_weight else (None, None)
    for block in blocks(plan.fold):
        folded = plan.target.analyse(upstream, block.output, len(weight))
        for piece in block.pieces:
            scales = plan.scale(piece).unflatten(0, (-1, block.output.size))
            spectrum = plan.narrow((folded[:, None] * scales).flatten(1, 2))
            if result is not None:
                common, of_imaginary, of_real = plan.symbol(piece)
                plan.source.synthesise(result, piece, _multiply(spectrum, common, of_real, of_imaginary).to(gain.dtype))
            if half is not None and flat is not None:
                values = plan.narrow(plan.source.analyse(half, piece, x.shape[1]))
                pairs = (
                    (spectrum[0] + spectrum[1], values[0] + values[1]),
                    (spectrum[0], values[1]),
                    (spectrum[1], values[0]),
                )
                for tap, (left, right) in zip(plan.taps(piece), pairs, strict=True):
                    flat.addmm_(tap.t(), torch.bmm(left.mT, right).flatten(1).to(gain.dtype))
    grad_x = None if result is None else plan.source.collect(result, x.shape[1], x.dtype)
    shape = (*weight.shape[2:], *weight.shape[:2])
    return grad_x, None if flat is None else flat.view(shape).permute(2, 3, 0, 1)


class _Plan:
    """The transforms of both sides, and what stands between them at each frequency."""

    def __init__(self, x: Tensor, weight: Tensor, gain: Tensor, geometry: Geometry) -> None:
        torus, source, target, dilation = geometry
        steps = [t.step if n % t.step == 0 else 1 for n, t in zip(torus, target, strict=True)]
        self.fold = Fold(torus, (steps[0], steps[1]), x.stride(1) == 1 and x.shape[1] > 1)
        # With the output's first position as the origin, no phase stands between the aliases.
        moved = [range(s.start - t.start, s.stop - t.start) for s, t in zip(source, target, strict=True)]
        kept = [range(0, len(t) * t.step // n, t.step // n) for t, n in zip(target, steps, strict=True)]
        self.source = BlockTransform(self.fold, (moved[0], moved[1]), False, gain.dtype)
        self.target = BlockTransform(self.fold, (kept[0], kept[1]), True, gain.dtype)
        self.flat = weight.permute(2, 3, 0, 1).contiguous().view(-1, len(weight) * weight.shape[1])
        self._taps = taps(self.fold, (weight.shape[2], weight.shape[3]), dilation, gain.dtype)
        place, count = places(self.fold)
        self._scale = (gain.flatten(1).t()[place] * count.to(gain.dtype)[:, None]).unsqueeze(1)
        self._shape = weight.shape[:2]
        self._narrow = torch.bfloat16 if x.dtype == torch.bfloat16 else gain.dtype

    def narrow(self, values: Tensor) -> Tensor:
        """In the type of the products."""
        return values.to(self._narrow)

    def scale(self, piece: Piece) -> Tensor:
        """V, with the frequency's weight in the inverse transform: `(size, 1, Cout)`."""
        return self._scale[piece.start : piece.stop]

    def products(self, half: Tensor, block: Block) -> Iterator[tuple[Tensor, Tensor]]:
        """B X for each alias of a block's frequencies, of x half transformed, and what to multiply it by."""
        for piece in block.pieces:
            spectrum = self.narrow(self.source.analyse(half, piece, self._shape[1]))
            symbol, scale = self.symbol(piece), self.scale(piece)
            for alias in range(0, piece.size, block.output.size):
                only = slice(alias, alias + block.output.size)
                yield _multiply(spectrum[:, only], *(matrix[only].mT for matrix in symbol)), scale[only]

    def taps(self, piece: Piece) -> tuple[Tensor, Tensor, Tensor]:
        """What the three matrices of a symbol are made of, `(size, kh * kw)`."""
        first, second, third = (taps[piece.start : piece.stop] for taps in self._taps)
        return first, second, third

    def symbol(self, piece: Piece) -> tuple[Tensor, Tensor, Tensor]:
        """Re B, -Re B - Im B and Im B - Re B for B = A / V, `(size, Cout, Cin)`."""
        first, second, third = (self.narrow((taps @ self.flat).view(-1, *self._shape)) for taps in self.taps(piece))
        return first, second, third


def _sum(products: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    product, scale = next(products)
    total = product * scale
    for product, scale in products:
        total.addcmul_(product, scale)
    return total


def _multiply(spectrum: Tensor, common: Tensor, of_imaginary: Tensor, of_real: Tensor) -> Tensor:
    """B X at each frequency, for X `(2, F, N, from)` and a symbol `(F, from, to)`, in three products (Gauss).

        Re = Re B (Re X + Im X) - (Re B + Im B) Im X
        Im = Re B (Re X + Im X) + (Im B - Re B) Re X

    With the two last matrices exchanged it is the transposed product.
    """
    out = spectrum.new_empty(*spectrum.shape[:-1], common.shape[-1])
    torch.bmm(spectrum[0] + spectrum[1], common, out=out[0])
    out[1] = out[0]
    out[0].baddbmm_(spectrum[1], of_imaginary)
    out[1].baddbmm_(spectrum[0], of_real)
    return out
