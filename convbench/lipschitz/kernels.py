"""Convolutions of any stride as kernels that can be composed and added, and certified bounds of their norms."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from convbench.spectral.norm import spectral_upper

Pair = tuple[int, int]
Interval = tuple[int, int]  # pixels from the first up to, but not including, the second
_DENSE_LIMIT = 256  # there are many kernels: an exact norm is worth its time on the smallest only


@dataclass(frozen=True, eq=False)
class Kernel:
    """y[o, q] = sum over c, t of taps[o, c, t] x[c, s q + low + t], on images without borders.

    Args:
        taps: float64, `(C_out, C_in, k_h, k_w)`.
        low: the offset of the first tap, per axis: -padding.
        stride: s per axis.
    """

    taps: Tensor
    low: Pair = (0, 0)
    stride: Pair = (1, 1)

    @property
    def size(self) -> Pair:
        """(k_h, k_w)."""
        return self.taps.shape[2], self.taps.shape[3]

    @property
    def is_pointwise(self) -> bool:
        """Whether each result pixel sees the pixel at its own place only."""
        return self.size == (1, 1) and self.low == (0, 0) and self.stride == (1, 1)

    def after(self, first: "Kernel") -> "Kernel":
        """self(first(x)): `taps` composed, the strides multiplied."""
        step, (rows, columns) = first.stride, first.size
        shape = [s * (k - 1) + f for s, k, f in zip(step, self.size, first.size, strict=True)]
        taps = self.taps.new_zeros(len(self.taps), first.taps.shape[1], *shape)
        for u in range(self.size[0]):
            for v in range(self.size[1]):
                part = torch.einsum("oc,cihw->oihw", self.taps[:, :, u, v], first.taps)
                taps[:, :, step[0] * u : step[0] * u + rows, step[1] * v : step[1] * v + columns] += part
        low = (step[0] * self.low[0] + first.low[0], step[1] * self.low[1] + first.low[1])
        return Kernel(taps, low, (step[0] * self.stride[0], step[1] * self.stride[1]))

    def plus(self, other: "Kernel") -> "Kernel | None":
        """The sum of both; None where their strides differ."""
        if self.stride != other.stride:
            return None
        low = (min(self.low[0], other.low[0]), min(self.low[1], other.low[1]))
        high = [max(a + k, b + m) for a, k, b, m in zip(self.low, self.size, other.low, other.size, strict=True)]
        taps = self.taps.new_zeros(*self.taps.shape[:2], high[0] - low[0], high[1] - low[1])
        for part in (self, other):
            (i, j), (rows, columns) = (part.low[0] - low[0], part.low[1] - low[1]), part.size
            taps[:, :, i : i + rows, j : j + columns] += part.taps
        return Kernel(taps, low, self.stride)

    def times(self, gain: Tensor | float) -> "Kernel":
        """diag(gain) after self, for one factor or one per output channel."""
        factor = gain.view(-1, 1, 1, 1) if isinstance(gain, Tensor) else gain
        return Kernel(self.taps * factor, self.low, self.stride)

    def sees(self, axis: int, outputs: Interval) -> Interval:
        """The input pixels that these outputs depend on."""
        s, low, k = self.stride[axis], self.low[axis], self.size[axis]
        return s * outputs[0] + low, s * (outputs[1] - 1) + low + k

    def reaches(self, axis: int, inputs: Interval) -> Interval:
        """The output pixels that depend on these inputs."""
        s, low, k = self.stride[axis], self.low[axis], self.size[axis]
        return -((low + k - 1 - inputs[0]) // s), (inputs[1] - 1 - low) // s + 1


@cache
def channel_identity(channels: int) -> Kernel:
    """The kernel of the identity."""
    return Kernel(torch.eye(channels, dtype=torch.float64).view(channels, channels, 1, 1))


def kernel_upper(kernel: Kernel, inputs: tuple[Interval, Interval], outputs: tuple[Interval, Interval]) -> float:
    """A certified upper bound of the norm of a kernel, from images that live on `inputs` to pixels in `outputs`.

    It is the bound of a zero-padded `nn.Conv2d` on these pixels.
    """
    if kernel is channel_identity(kernel.taps.shape[0]):
        return 1.0
    taps, sizes, paddings = kernel.taps, [], []
    for axis in (0, 1):
        s, k = kernel.stride[axis], kernel.size[axis]
        (first, last), (start, stop) = inputs[axis], outputs[axis]
        first, last = max(first, kernel.sees(axis, outputs[axis])[0]), min(last, kernel.sees(axis, outputs[axis])[1])
        if first >= last:
            return 0.0
        padding = first - s * start - kernel.low[axis]
        missing = s * (stop - start - 1) + k - (last - first + 2 * padding)
        if missing > 0:  # padding after the last pixel: taps of zero before the first move it there
            padding += missing
            taps = torch.cat([_zeros(taps, axis, missing), taps], dim=2 + axis)
        elif missing <= -s:  # pixels beyond those asked for: taps of zero after the last leave no room for them
            taps = torch.cat([taps, _zeros(taps, axis, 1 - s - missing)], dim=2 + axis)
        sizes.append(last - first)
        paddings.append(padding)
    conv = nn.Conv2d(1, 1, 1, kernel.stride, (paddings[0], paddings[1]), bias=False, device="meta")
    conv.in_channels, conv.out_channels = taps.shape[1], taps.shape[0]
    conv.kernel_size = (taps.shape[2], taps.shape[3])
    conv.weight = nn.Parameter(taps, requires_grad=False)
    return spectral_upper(conv, (sizes[0], sizes[1]), dense_limit=_DENSE_LIMIT)


def _zeros(taps: Tensor, axis: int, length: int) -> Tensor:
    size = (length, taps.shape[3]) if axis == 0 else (taps.shape[2], length)
    return taps.new_zeros(*taps.shape[:2], *size)
