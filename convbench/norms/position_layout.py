"""The two memory orders of a batch of channel vectors, each without a copy.

Mixture normalization multiplies thin matrices (components x channels) with all channel vectors of a batch. In
NCHW memory these are N planes `(C, H*W)`, in channels_last memory N*H*W rows `(C,)`. Both layouts offer the same
products, so that the mathematics is written once:

    project   coefficients (K, C), values over channels    -> values over components
    reduce    values over components, over channels        -> (K, C), summed over positions
    expand    coefficients (K, C), values over components  -> values over channels
    rows      values over channels, numbers of positions   -> (rows, C)
    per_channel, per_component: a vector, to combine with such values
"""

from torch import Tensor, bmm, channels_last, matmul


class Planes:
    """NCHW memory: values over channels are `(N, C, H*W)`, over components `(N, K, H*W)`."""

    component_axis = 1
    position_axes = (0, 2)

    @staticmethod
    def view(x: Tensor) -> Tensor:
        return x.contiguous().flatten(2)

    @staticmethod
    def restore(values: Tensor, like: Tensor) -> Tensor:
        return values.view(like.shape)

    @staticmethod
    def rows(values: Tensor, index: Tensor) -> Tensor:
        return values[index // values.shape[2], :, index % values.shape[2]]

    @staticmethod
    def per_channel(vector_c: Tensor) -> Tensor:
        return vector_c[:, None]

    @staticmethod
    def per_component(vector_k: Tensor) -> Tensor:
        return vector_k[:, None]

    @staticmethod
    def project(coefficient_kc: Tensor, values: Tensor) -> Tensor:
        return matmul(coefficient_kc, values)

    @staticmethod
    def reduce(components: Tensor, values: Tensor) -> Tensor:
        return bmm(components, values.transpose(1, 2)).sum(0)

    @staticmethod
    def expand(coefficient_kc: Tensor, components: Tensor) -> Tensor:
        return matmul(coefficient_kc.t(), components)

    @staticmethod
    def expand_add_(values: Tensor, coefficient_kc: Tensor, components: Tensor) -> Tensor:
        """`values += expand(coefficient_kc, components)` without another tensor of that size."""
        return values.baddbmm_(coefficient_kc.t().expand(len(values), -1, -1), components)


class Rows:
    """channels_last memory: values over channels are `(N*H*W, C)`, over components `(K, N*H*W)`.

    Components come first, because a softmax over a last axis of three runs twenty times slower.
    """

    component_axis = 0
    position_axes = (1,)

    @staticmethod
    def view(x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])

    @staticmethod
    def restore(values: Tensor, like: Tensor) -> Tensor:
        n, c, h, w = like.shape
        return values.view(n, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    def rows(values: Tensor, index: Tensor) -> Tensor:
        return values[index]

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
    def expand(coefficient_kc: Tensor, components: Tensor) -> Tensor:
        return components.t() @ coefficient_kc

    @staticmethod
    def expand_add_(values: Tensor, coefficient_kc: Tensor, components: Tensor) -> Tensor:
        """`values += expand(coefficient_kc, components)` without another tensor of that size."""
        return values.addmm_(components.t(), coefficient_kc)


Layout = type[Planes] | type[Rows]


def layout_of(x: Tensor) -> Layout:
    """The layout in which `x`, shape `(N, C, H, W)`, lies in memory; `Planes` where it is neither."""
    rows = x.is_contiguous(memory_format=channels_last) and not x.is_contiguous()
    return Rows if rows else Planes
