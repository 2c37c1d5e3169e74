"""Where a convolution with zero or circular padding lies on the torus on which it is circular, along one axis."""

from typing import NamedTuple

Pair = tuple[int, int]


class AxisPlan(NamedTuple):
    """The stride-1 convolution that covers the torus, and the positions of it that the layer returns."""

    padding: Pair
    torus: int
    positions: range


class TorusAxis(NamedTuple):
    """One axis of a convolution.

    Args:
        span: `dilation * (kernel size - 1)`.
        stride: step of the output.
        sides: rows (or columns) of padding before and after the image.
        circular: whether the padding repeats the image.
    """

    span: int
    stride: int
    sides: Pair
    circular: bool

    @classmethod
    def of(cls, span: int, stride: int, padding: int | str, circular: bool) -> "TorusAxis":
        """From an argument of `nn.Conv2d`; `ValueError` if no output on a torus is a crop of it."""
        if padding == "same":
            return cls(span, stride, (span // 2, span - span // 2), circular)
        side = padding if isinstance(padding, int) else 0
        if side < 0:
            raise ValueError(f"padding must be at least 0, got {padding}")
        if circular and 2 * side > span:
            raise ValueError(f"circular padding {padding} is wider than 'same': the output would repeat pixels")
        return cls(span, stride, (side, side), circular)

    def length(self, size: int) -> int:
        """Positions of the stride-1 output; `ValueError` if the image is smaller than the kernel."""
        before, after = self.sides
        length = size + before + after - self.span
        if length < 1:
            raise ValueError(f"an image of {size} pixels with padding {before} and {after} is smaller than the kernel")
        return length

    def full(self, size: int) -> AxisPlan:
        """The full-size convolution: it fits the torus without wrapping round, so it is the circular one there."""
        length, (before, after) = self.length(size), self.sides
        if self.circular:
            return AxisPlan((before, self.span - before), size, range(0, length, self.stride))
        full = max(self.span, before, after)
        start = full - before
        return AxisPlan((full, full), size + 2 * full - self.span, range(start, start + length, self.stride))

    def native(self, size: int) -> AxisPlan:
        """The convolution as `nn.Conv2d` has it; the torus is the grid of its output."""
        outputs = len(range(0, self.length(size), self.stride))
        return AxisPlan(self.sides, outputs, range(outputs))
