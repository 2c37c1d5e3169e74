"""The two memory orders of a batch of channel vectors, each without a copy.

Mixture normalization multiplies thin matrices (components x channels) with all channel vectors of a batch. In
NCHW memory these are N planes `(C, H*W)`, in channels_last memory N*H*W rows `(C,)`. Both layouts offer the same
products, so that the mathematics is written once; channels are axis 1 of both:

    project   coefficients (K, C), values over channels    -> values over components
    reduce    values over components, over channels        -> (K, C), summed over positions
    expand    coefficients (K, C), values over components  -> values over channels
    rows      values over channels, numbers of positions   -> (rows, C)
    sums      values over channels                         -> (C,), summed over positions
    per_channel, per_component: a vector, to combine with such values

On a CPU a batch is worked through in blocks of images that stay in the cache, in a scratch memory that is written
again and again: fresh memory costs a page fault every 4 kB, which takes longer than the arithmetic on it.
"""

import torch
from torch import Tensor, bmm, channels_last, contiguous_format, matmul

BLOCK_VALUES = 1 << 18  # a thread; 1 MiB of float32: less is lost to the overhead of calls, more to the cache
ROW_GAP = 16  # rows a multiple of 1 kB apart fall into the same few places of the cache: products become 3x slower


class Planes:
    """NCHW memory: values over channels are `(N, C, H*W)`, over components `(N, K, H*W)`."""

    component_axis = 1
    position_axes = (0, 2)
    memory_format = contiguous_format

    @staticmethod
    def view(x: Tensor) -> Tensor:
        return x.contiguous().flatten(2)

    @staticmethod
    def restore(values: Tensor, like: Tensor) -> Tensor:
        return values.view(like.shape)

    @staticmethod
    def scratch(values: Tensor, parts: int, dtype: torch.dtype) -> Tensor:
        """Unwritten memory for `parts` times as many channels as `values` has."""
        n, c, positions = values.shape
        gap = 0 if positions % 256 else ROW_GAP
        return values.new_empty(n, parts * c, positions + gap, dtype=dtype)[:, :, :positions]

    @staticmethod
    def rows(values: Tensor, index: Tensor) -> Tensor:
        return values[index // values.shape[2], :, index % values.shape[2]]

    @staticmethod
    def sums(values: Tensor) -> Tensor:
        return values.sum(2).sum(0)

    @staticmethod
    def per_channel(vector_c: Tensor) -> Tensor:
        return vector_c[:, None]

    @staticmethod
    def per_component(vector_k: Tensor) -> Tensor:
        return vector_k[:, None]

    @staticmethod
    def project(coefficient_kc: Tensor, values: Tensor) -> Tensor:
        return bmm(coefficient_kc.expand(values.shape[0], -1, -1), values)

    @staticmethod
    def reduce(components: Tensor, values: Tensor) -> Tensor:
        return bmm(components, values.transpose(1, 2)).sum(0)

    @staticmethod
    def expand(coefficient_kc: Tensor, components: Tensor, out: Tensor | None = None) -> Tensor:
        return bmm(coefficient_kc.t().expand(components.shape[0], -1, -1), components, out=out)


class Rows:
    """channels_last memory: values over channels are `(N*H*W, C)`, over components `(K, N*H*W)`.

    Components come first, because a softmax over a last axis of three runs twenty times slower.
    """

    component_axis = 0
    position_axes = (1,)
    memory_format = channels_last

    @staticmethod
    def view(x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])

    @staticmethod
    def restore(values: Tensor, like: Tensor) -> Tensor:
        n, c, h, w = like.shape
        return values.view(n, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    def scratch(values: Tensor, parts: int, dtype: torch.dtype) -> Tensor:
        """Unwritten memory for `parts` times as many channels as `values` has."""
        return values.new_empty(len(values), parts * values.shape[1], dtype=dtype)

    @staticmethod
    def rows(values: Tensor, index: Tensor) -> Tensor:
        return values[index]

    @staticmethod
    def sums(values: Tensor) -> Tensor:
        return values.sum(0)

    @staticmethod
    def per_channel(vector_c: Tensor) -> Tensor:
        return vector_c

    @staticmethod
    def per_component(vector_k: Tensor) -> Tensor:
        return vector_k[:, None]

    @staticmethod
    def project(coefficient_kc: Tensor, values: Tensor) -> Tensor:
        return coefficient_kc @ values.t()

    @staticmethod
    def reduce(components: Tensor, values: Tensor) -> Tensor:
        return components @ values

    @staticmethod
    def expand(coefficient_kc: Tensor, components: Tensor, out: Tensor | None = None) -> Tensor:
        return matmul(components.t(), coefficient_kc, out=out)


Layout = type[Planes] | type[Rows]


def layout_of(x: Tensor) -> Layout:
    """The layout in which `x`, shape `(N, C, H, W)`, lies in memory; `Planes` where it is neither."""
    _, c, h, w = x.shape
    rows = x.stride() == (c * h * w, 1, c * w, c) and not x.is_contiguous()  # `vmap` knows no `is_contiguous` of rows
    return Rows if rows else Planes


def block_images(x: Tensor) -> int | None:
    """How many images of `x` to work on at a time, `BLOCK_VALUES` numbers a thread; None for all of them."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    return max(1, BLOCK_VALUES * torch.get_num_threads() // max(1, x.shape[1:].numel()))
