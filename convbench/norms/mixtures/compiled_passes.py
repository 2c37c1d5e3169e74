"""The passes over a batch as compiled loops, on a CPU: `batch_passes` says what each of them computes.

A batch falls into parts of a fixed size, which have sums of their own, so that results do not depend on the number of
threads. Values are read and written in their own type, bfloat16 too, and computed with in float32, or in float64 where
they are; parts are summed in float64.
"""

import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from convbench.norms.mixtures import plane_loops, row_loops
from convbench.norms.mixtures.gaussian_mixture import LogJoint
from convbench.norms.mixtures.position_layout import Layout, Planes

PART_VALUES = 1 << 16  # of float32: a fourth of the second cache of a core


class CompiledPasses(NamedTuple):
    """By loops that numba compiles; responsibilities come as one block."""

    layout: Layout

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts, channels = self._parts(x), x.shape[1]
        like, (sum_bc, square_bc) = np.empty(channels, _type_of(x)), np.empty((2, len(parts), channels))
        self._run("moments", parts, self._array(x), like, sum_bc, square_bc)
        counts = np.diff(parts.reshape(len(parts), parts.shape[1] // 2, 2)).prod((1, 2))
        return torch.from_numpy(counts), torch.from_numpy(sum_bc), torch.from_numpy(square_bc)

    def assign(self, x: Tensor, shift_c: Tensor, joint: LogJoint) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        parts, components = self._parts(x), len(joint.constant_k)
        resp = self._responsibilities(x, components)
        mass_ik = np.empty((len(parts), components))
        first_ikc, second_ikc = np.empty((2, *mass_ik.shape, x.shape[1]))
        arrays = self._array(x), *_arrays(shift_c, joint.linear_kc, joint.square_kc, joint.constant_k, resp)
        self._run("assign", parts, *arrays, mass_ik, first_ikc, second_ikc, _each(components))
        return [resp], _sum(mass_ik, resp.dtype), _sum(first_ikc, resp.dtype), _sum(second_ikc, resp.dtype)

    def transform(self, x: Tensor, resp: list[Tensor], shift_c: Tensor, scale_kc: Tensor, offset_kc: Tensor) -> Tensor:
        y = torch.empty_like(x, memory_format=self.layout.memory_format)
        arrays = _arrays(*resp, shift_c, scale_kc, offset_kc)
        self._run("transform", self._parts(x), self._array(x), *arrays, self._array(y), _each(len(scale_kc)))
        return y

    def reduce(self, x: Tensor, grad: Tensor, resp: list[Tensor], shift_c: Tensor) -> tuple[Tensor, Tensor]:
        parts, components = self._parts(x), resp[0].shape[self.layout.component_axis]
        grad_ikc, product_ikc = np.empty((2, len(parts), components, x.shape[1]))
        arrays = self._array(x), self._array(grad), *_arrays(*resp, shift_c)
        self._run("reduce", parts, *arrays, grad_ikc, product_ikc, _each(components))
        return _sum(grad_ikc, shift_c.dtype), _sum(product_ikc, shift_c.dtype)

    def gradient(
        self, x: Tensor, grad: Tensor, resp: list[Tensor], scale_kc: Tensor, slope_kc: Tensor, level_kc: Tensor
    ) -> Tensor:
        grad_x = torch.empty_like(x, memory_format=self.layout.memory_format)
        arrays = self._array(x), self._array(grad), *_arrays(*resp, scale_kc, slope_kc, level_kc)
        self._run("gradient", self._parts(x), *arrays, self._array(grad_x), _each(len(scale_kc)))
        return grad_x

    def evaluate(self, x: Tensor, shift_c: Tensor, joint: LogJoint, scale_kc: Tensor, offset_kc: Tensor) -> Tensor:
        y = torch.empty_like(x, memory_format=self.layout.memory_format)
        arrays = _arrays(shift_c, joint.linear_kc, joint.square_kc, joint.constant_k, scale_kc, offset_kc)
        self._run("evaluate", self._parts(x), self._array(x), *arrays, self._array(y), _each(len(scale_kc)))
        return y

    def _parts(self, x: Tensor) -> np.ndarray:
        n, c, h, w = x.shape
        return _parts_of_images(n, c, h * w) if self.layout is Planes else _parts_of_rows(n * h * w, c)

    def _array(self, x: Tensor) -> np.ndarray:
        values = self.layout.view(x.detach())
        return (values.view(torch.uint16) if x.dtype == torch.bfloat16 else values).numpy()

    def _responsibilities(self, x: Tensor, components: int) -> Tensor:
        n, _, h, w = x.shape
        shape = (n, components, h * w) if self.layout is Planes else (components, n * h * w)
        return x.new_empty(shape, dtype=torch.promote_types(x.dtype, torch.float32))

    def _run(self, name: str, parts: np.ndarray, *arguments: Any) -> None:
        """Run the loop of this name over all parts, in as many threads as torch uses."""
        loop = getattr(plane_loops if self.layout is Planes else row_loops, name)
        threads = max(1, min(torch.get_num_threads(), len(parts)))
        edges = [len(parts) * t // threads for t in range(threads + 1)]
        shares = list(itertools.pairwise(edges))
        others = [_pool(threads, os.getpid()).submit(loop, *share, parts, *arguments) for share in shares[1:]]
        loop(*shares[0], parts, *arguments)
        for other in others:
            other.result()


@functools.lru_cache(1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads for loops, which run without the GIL; a process made by a fork has none, and gets its own."""
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="convbench-loops")


@functools.lru_cache(256)
def _parts_of_images(images: int, channels: int, positions: int) -> np.ndarray:
    """Ranges of images and of positions, `(I, 4)`; several images where they are small, a piece where it is large."""
    at_once = max(1, PART_VALUES // max(1, channels * positions))
    piece = max(plane_loops.TILE, PART_VALUES // channels // plane_loops.TILE * plane_loops.TILE)
    parts = [
        (n, min(n + at_once, images), p, min(p + piece, positions))
        for n in range(0, images, at_once)
        for p in range(0, positions, piece)
    ]
    return np.array(parts, np.int64).reshape(-1, 4)


@functools.lru_cache(256)
def _parts_of_rows(rows: int, channels: int) -> np.ndarray:
    """Ranges of rows, `(I, 2)`."""
    piece = max(row_loops.TILE, PART_VALUES // channels // row_loops.TILE * row_loops.TILE)
    return np.array([(m, min(m + piece, rows)) for m in range(0, rows, piece)], np.int64).reshape(-1, 2)


def _type_of(x: Tensor) -> type[np.floating[Any]]:
    """The type of arithmetic."""
    return np.float64 if x.dtype == torch.float64 else np.float32


def _arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)


def _sum(parts: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Over the parts, one after the other."""
    return torch.from_numpy(parts.sum(0)).to(dtype)


def _each(components: int) -> tuple[int, ...]:
    """What tells the compiler the number of components."""
    return (0,) * components
