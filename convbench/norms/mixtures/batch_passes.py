"""The passes of mixture normalization over a batch: everything that touches each of its values.

Between them stands little, which is written once, for all of them: sums over processes, and coefficients per component
and channel. There are two implementations, equal up to rounding: `TorchPasses` here, and `CompiledPasses` for a CPU
where numba is installed. With x of shape `(N, C, H, W)`, responsibilities r_ik and any constant `shift` per channel:

    moments    count, sum and squares about the own mean, `(B,)`, `(B, C)` and `(B, C)`, of each of B parts of x
    assign     r_ik = p(k | x_i - shift);  sum_i r_ik, sum_i r_ik (x_i - shift), sum_i r_ik (x_i - shift)^2
    transform  sum_k r_ik (scale_k (x_i - shift) + offset_k)
    reduce     sum_i r_ik g_i, sum_i r_ik g_i (x_i - shift)
    gradient   sum_k r_ik (scale_k g_i + slope_k x_i + level_k)
    evaluate   transform with p(k | x_i - shift) for r_ik, which is not kept

r_ik comes as a list, one tensor for each block of images, in the shape of values over components of the layout.
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack
from torch.autograd.forward_ad import unpack_dual
from torch.utils._python_dispatch import _get_current_dispatch_mode

from convbench.norms.mixtures import compiled
from convbench.norms.mixtures.gaussian_mixture import LogJoint
from convbench.norms.mixtures.position_layout import Layout, block_images, layout_of

POSTERIOR_FLOOR = 1e-12  # smaller responsibilities become 0: denormal numbers make matrix products 3-10x slower
_COMPILED_TYPES = (torch.float32, torch.float64, torch.bfloat16)


class Passes(Protocol):
    """What both implementations offer; see the module."""

    @property
    def layout(self) -> Layout: ...

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...

    def assign(self, x: Tensor, shift_c: Tensor, joint: LogJoint) -> tuple[list[Tensor], Tensor, Tensor, Tensor]: ...

    def transform(
        self, x: Tensor, resp: list[Tensor], shift_c: Tensor, scale_kc: Tensor, offset_kc: Tensor
    ) -> Tensor: ...

    def reduce(self, x: Tensor, grad: Tensor, resp: list[Tensor], shift_c: Tensor) -> tuple[Tensor, Tensor]: ...

    def gradient(
        self, x: Tensor, grad: Tensor, resp: list[Tensor], scale_kc: Tensor, slope_kc: Tensor, level_kc: Tensor
    ) -> Tensor: ...

    def evaluate(self, x: Tensor, shift_c: Tensor, joint: LogJoint, scale_kc: Tensor, offset_kc: Tensor) -> Tensor: ...


def passes_of(x: Tensor) -> Passes:
    """The fastest passes over batches like `x`; those of torch where something else than numbers is computed."""
    if _has_plain_numbers(x) and compiled.is_available():
        from convbench.norms.mixtures.compiled_passes import CompiledPasses  # needs numba

        return CompiledPasses(layout_of(x))
    return torch_passes_of(x)


def torch_passes_of(x: Tensor) -> "TorchPasses":
    """The passes over batches like `x` that are made of torch's operations."""
    return TorchPasses(layout_of(x), block_images(x))


def _has_plain_numbers(x: Tensor) -> bool:
    """Whether `x` lies in memory as a loop reads it, and nobody records, transforms or differentiates operations."""
    return (
        not torch.compiler.is_compiling()
        and type(x) in (Tensor, nn.Parameter)
        and x.device.type == "cpu"
        and x.dtype in _COMPILED_TYPES
        and x.layout == torch.strided
        and torch._C._get_tracing_state() is None
        and _get_current_dispatch_mode() is None
        and peek_interpreter_stack() is None  # a transform of torch.func, whose tensors look like any other
        and unpack_dual(x).tangent is None
    )


class TorchPasses(NamedTuple):
    """By torch's operations, on any device, in blocks of `images` images, or all at once."""

    layout: Layout
    images: int | None

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,) if self.images is None else x.split(self.images)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        layout, dtype = self.layout, torch.promote_types(x.dtype, torch.float32)
        counts, sums, squares = [], [], []
        for block in self._split(x):
            values = layout.view(block).to(dtype)
            counts.append(values.numel() // x.shape[1])
            sums.append(layout.sums(values))
            mean_c = sums[-1] / max(counts[-1], 1)  # a process may come away empty
            squares.append(layout.sums((values - layout.per_channel(mean_c)).square_()))
        return torch.tensor(counts, device=x.device), torch.stack(sums), torch.stack(squares)

    def assign(self, x: Tensor, shift_c: Tensor, joint: LogJoint) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        layout, resp, blocks = self.layout, [], self._split(x)
        shift, coefficient = layout.per_channel(shift_c), torch.cat([joint.linear_kc, joint.square_kc], 1)
        scratch = layout.scratch(layout.view(blocks[0]), 2, shift_c.dtype)
        mass_k, sum_kc = torch.zeros_like(joint.constant_k), torch.zeros_like(coefficient)
        for block in blocks:
            values = layout.view(block)
            powers = scratch[: len(values)]
            xs, square = powers.chunk(2, 1)
            torch.sub(values, shift, out=xs)
            torch.mul(xs, xs, out=square)
            resp.append(self._posteriors(layout.project(coefficient, powers), joint.constant_k))
            mass_k += resp[-1].sum(layout.position_axes)
            sum_kc += layout.reduce(resp[-1], powers)
        first_kc, second_kc = sum_kc.chunk(2, 1)
        return resp, mass_k, first_kc, second_kc

    def _posteriors(self, logits: Tensor, constant_k: Tensor) -> Tensor:
        # The clamp keeps a huge outlier, infinitely unlikely under every component, from becoming NaN; NaN passes.
        logits = (logits + self.layout.per_component(constant_k)).clamp_min(-1e30)
        return F.threshold(logits.softmax(self.layout.component_axis), POSTERIOR_FLOOR, 0.0)

    def transform(self, x: Tensor, resp: list[Tensor], shift_c: Tensor, scale_kc: Tensor, offset_kc: Tensor) -> Tensor:
        layout = self.layout
        # sum_k r_k = 1: the term of rank K carries the shift. As in torch's batch normalization on a CPU, that costs no
        # more digits than rounding x itself did.
        coefficient = torch.cat([scale_kc, offset_kc - scale_kc * shift_c], 1)
        y = torch.empty_like(x, memory_format=layout.memory_format)
        blocks, outs = self._split(x), self._split(y)
        scratch = layout.scratch(layout.view(blocks[0]), 2, scale_kc.dtype)
        for block, out, r in zip(blocks, outs, resp, strict=True):
            values = layout.view(block)
            scale, offset = layout.expand(coefficient, r, scratch[: len(values)]).chunk(2, 1)
            torch.addcmul(offset, values, scale, out=layout.view(out))
        return y

    def reduce(self, x: Tensor, grad: Tensor, resp: list[Tensor], shift_c: Tensor) -> tuple[Tensor, Tensor]:
        layout, dtype = self.layout, shift_c.dtype
        blocks = list(zip(self._split(x), self._split(grad), resp, strict=True))
        scratch = layout.scratch(layout.view(blocks[0][0]), 1, dtype)
        components = resp[0].shape[layout.component_axis]
        grad_kc, product_kc = shift_c.new_zeros(2, components, len(shift_c))
        for block, grad_block, r in blocks:
            values, g = layout.view(block), layout.view(grad_block).to(dtype)
            grad_kc += layout.reduce(r, g)
            product_kc += layout.reduce(r, torch.mul(values, g, out=scratch[: len(values)]))
        return grad_kc, product_kc - shift_c * grad_kc

    def gradient(
        self, x: Tensor, grad: Tensor, resp: list[Tensor], scale_kc: Tensor, slope_kc: Tensor, level_kc: Tensor
    ) -> Tensor:
        layout, coefficient = self.layout, torch.cat([scale_kc, slope_kc, level_kc], 1)
        grad_x = torch.empty_like(x, memory_format=layout.memory_format)
        blocks = list(zip(self._split(x), self._split(grad), resp, strict=True))
        scratch = layout.scratch(layout.view(blocks[0][0]), 3, scale_kc.dtype)
        for (block, grad_block, r), out in zip(blocks, self._split(grad_x), strict=True):
            values, g = layout.view(block), layout.view(grad_block)
            scale, slope, level = layout.expand(coefficient, r, scratch[: len(values)]).chunk(3, 1)
            level.addcmul_(slope, values)
            torch.addcmul(level, scale, g, out=layout.view(out))
        return grad_x

    def evaluate(self, x: Tensor, shift_c: Tensor, joint: LogJoint, scale_kc: Tensor, offset_kc: Tensor) -> Tensor:
        """Differentiable; all operations are out of place, as the transforms of `torch.func` want them."""
        layout = self.layout

        def normalized(block: Tensor) -> Tensor:
            xs = layout.view(block) - layout.per_channel(shift_c)
            logits = layout.project(joint.square_kc, xs.square()) + layout.project(joint.linear_kc, xs)
            resp = self._posteriors(logits, joint.constant_k)
            y = torch.addcmul(layout.expand(offset_kc, resp), layout.expand(scale_kc, resp), xs)
            return layout.restore(y, block).to(x.dtype)

        if torch.is_grad_enabled() or torch.compiler.is_compiling():  # a loop would fix the batch size of the graph
            return normalized(x)
        y = torch.empty_like(x, memory_format=layout.memory_format)
        for block, part in zip(self._split(x), self._split(y), strict=True):
            part.copy_(normalized(block))
        return y
