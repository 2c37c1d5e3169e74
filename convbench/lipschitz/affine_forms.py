"""Results in a traced network as sums of convolutions of earlier ones: what lies between two activations, as one map.

A result v is written as v = sum_i K_i a_i + const, where the *sources* a_i are results of activations or of whatever is
no convolution (the image, max-pooling, a normalization of each image). The K_i act on images without borders: a_i is
continued by zeros, as zero padding does. Where a convolution looks across the border of a result that isn't a source,
that result becomes one: an activation with slope 1 within the image and 0 outside.
"""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import fx, nn

from convbench.lipschitz.activations import slope_range
from convbench.lipschitz.function_rules import operation_name
from convbench.lipschitz.kernel_rules import LARGEST_KERNEL, average_kernel, module_kernel
from convbench.lipschitz.kernels import Kernel, channel_identity
from convbench.lipschitz.module_rules import module_slopes
from convbench.lipschitz.product import folded_convolution
from convbench.lipschitz.trace import Trace
from convbench.spectral.stages import batch_norm_gain, is_batch_norm

MOST_TERMS = 4  # in densely connected networks a result has dozens of sources, and their sum is no good bound
_IN_PLACE = ("iadd", "isub", "imul", "itruediv")
_IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)

Terms = dict[fx.Node, Kernel]


@dataclass(frozen=True)
class Expansion:
    """A source as an activation of an affine form: pixel by pixel, with slopes in a known range.

    Args:
        before: the result that it is applied to.
        terms: the form of that result.
        slopes: the smallest and the largest, within the image; outside it the slope is 0.
    """

    before: fx.Node
    terms: Terms
    slopes: tuple[float, float]


@dataclass(frozen=True)
class AffineForms:
    """What is known of the results of a network.

    Args:
        terms: result -> its sources with their kernels; one that isn't affine in others has itself.
        activations: result of an activation -> the result before it, and the range of slopes.
    """

    terms: dict[fx.Node, Terms] = field(default_factory=dict)
    activations: dict[fx.Node, tuple[fx.Node, tuple[float, float]]] = field(default_factory=dict)

    def is_source(self, node: fx.Node) -> bool:
        """Whether the form of `node` is `node` itself."""
        return node in self.terms[node]

    def expansion(self, source: fx.Node) -> Expansion | None:
        """What `source` is made of; None for the image and what is no activation."""
        if source in self.activations:
            before, slopes = self.activations[source]
            return Expansion(before, self.terms[before], slopes)
        return None if self.is_source(source) else Expansion(source, self.terms[source], (1.0, 1.0))

    def ends(self) -> set[fx.Node]:
        """The results that need a bound of their own: all others are parts of their forms."""
        ends = {before for before, _ in self.activations.values()}
        ends |= {source for terms in self.terms.values() for source in terms}
        for node in self.terms:
            ends |= {node for user in node.users if user not in self.terms or self.is_source(user)}
        return {node for node in ends if not self.is_source(node)}


def affine_forms(traced: Trace) -> AffineForms:
    """The forms of all results that are images `(1, C, H, W)`, or vectors `(1, C)` as images of one pixel."""
    forms = AffineForms()
    if any(_overwrites(node, traced) for node in traced.graph.nodes):
        return forms  # what the graph calls one result is two
    for node in traced.graph.nodes:
        if node in traced.constants or node.op == "output" or image_shape(node, traced) is None:
            continue
        slopes = _slopes(node, traced)
        if slopes is not None and node.all_input_nodes[0] in forms.terms:
            forms.activations[node] = (node.all_input_nodes[0], slopes)
            terms = None
        else:
            terms = _affine(node, traced, forms)
        if terms is None or len(terms) > MOST_TERMS:
            terms = {node: channel_identity(_shape(node, traced)[0])}
        forms.terms[node] = terms
    return forms


def image_shape(node: fx.Node, traced: Trace) -> tuple[int, int, int] | None:
    """(C, H, W) of a result; a vector has H = W = 1, other results have none."""
    shape = traced.shapes.get(node)
    if shape is not None and len(shape) == 4:
        return shape[1], shape[2], shape[3]
    return (shape[1], 1, 1) if shape is not None and len(shape) == 2 else None


def _overwrites(node: fx.Node, traced: Trace) -> bool:
    """Whether `node` changes its input in place, and the graph uses that input again later."""
    if node.op == "call_module":
        in_place = getattr(traced.modules[str(node.target)], "inplace", False)
    else:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        in_place = node.kwargs.get("inplace", False) or name in _IN_PLACE or (name[-1:] == "_" and name[:2] != "__")
    if not in_place or not node.all_input_nodes:
        return False
    return any(user is not node and user > node for user in node.all_input_nodes[0].users)


def _shape(node: fx.Node, traced: Trace) -> tuple[int, int, int]:
    return cast(tuple[int, int, int], image_shape(node, traced))


def _slopes(node: fx.Node, traced: Trace) -> tuple[float, float] | None:
    if len(node.all_input_nodes) != 1:
        return None
    if node.op == "call_module":
        return module_slopes(traced.modules[str(node.target)])
    name = operation_name(node.target) if node.op in ("call_function", "call_method") else None
    if name is None:
        return None
    parameter: Any = None
    if name in ("leaky_relu", "elu"):
        given = node.args[1] if len(node.args) > 1 else None
        parameter = node.kwargs.get("negative_slope", node.kwargs.get("alpha", given))
    return slope_range(name, parameter=parameter, approximate=str(node.kwargs.get("approximate", "none")))


def _affine(node: fx.Node, traced: Trace, forms: AffineForms) -> Terms | None:
    inputs = [source for source in node.all_input_nodes if source not in traced.constants]
    if not inputs or any(source not in forms.terms for source in inputs):
        return None
    if node.op == "call_module":
        return _through_module(node, inputs[0], traced, forms)
    name = operation_name(node.target)
    if name in ("add", "sub") and not node.kwargs and len(node.args) == 2:
        if any(traced.shapes[part] != traced.shapes[node] for part in inputs):
            return None  # broadcast
        parts = [cast(fx.Node, part) for part in node.args if part in inputs]  # x + x is two terms
        total = forms.terms[parts[0]] if node.args[0] in inputs or name == "add" else None
        for part in parts[1:]:
            total = _plus(total, _scaled(forms.terms[part], -1.0 if name == "sub" else 1.0))
        return total
    if name == "cat" and node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0) in (1, -3):
        return _stacked(node, inputs, traced, forms)
    if len(inputs) == 1 and node.args and node.args[0] is inputs[0]:
        source = inputs[0]
        if name in ("flatten", "contiguous", "clone", "view", "reshape"):
            return forms.terms[source] if image_shape(source, traced) == image_shape(node, traced) else None
        if name == "mean" and _averages_pixels(node) and len(traced.shapes[source]) == 4:
            channels, height, width = _shape(source, traced)
            kernel = average_kernel(channels, (height, width))
            return None if kernel is None else _applied(kernel, source, node, traced, forms)
    return None


def _averages_pixels(node: fx.Node) -> bool:
    axes = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    return isinstance(axes, list | tuple) and sorted(int(cast(int, axis)) % 4 for axis in axes) == [2, 3]


def _through_module(node: fx.Node, source: fx.Node, traced: Trace, forms: AffineForms) -> Terms | None:
    module, shape, result = traced.modules[str(node.target)], _shape(source, traced), _shape(node, traced)
    if is_batch_norm(module):
        if forms.is_source(source) and folded_convolution(node, traced) is not None:
            return None  # a convolution whose kernel is too large: the bound of both together is better
        return _scaled(forms.terms[source], batch_norm_gain(module))
    if isinstance(module, _IDENTITIES):
        return forms.terms[source] if shape == result else None
    kernel = module_kernel(module, shape, result)
    return None if kernel is None else _applied(kernel, source, node, traced, forms)


def _applied(kernel: Kernel, source: fx.Node, node: fx.Node, traced: Trace, forms: AffineForms) -> Terms | None:
    """kernel(source), composed with the form of `source` where it doesn't look across its border."""
    shape, result = _shape(source, traced), _shape(node, traced)
    terms = forms.terms[source]
    if not forms.is_source(source) and not all(inner.is_pointwise for inner in terms.values()):
        seen = [kernel.sees(axis, (0, result[1 + axis])) for axis in (0, 1)]
        if any(low < 0 or high > size for (low, high), size in zip(seen, shape[1:], strict=True)):
            return {source: kernel}
    composed = {before: composition(kernel, inner) for before, inner in terms.items()}
    if any(inner is None for inner in composed.values()):
        return {source: kernel}
    return cast(Terms, composed)


def composition(outer: Kernel, inner: Kernel) -> Kernel | None:
    """outer(inner(x)); None where its kernel would be too large."""
    rows, columns = (s * (k - 1) + m for s, k, m in zip(inner.stride, outer.size, inner.size, strict=True))
    too_large = len(outer.taps) * inner.taps.shape[1] * rows * columns > LARGEST_KERNEL
    return None if too_large else outer.after(inner)


def _scaled(terms: Terms, factor: Any) -> Terms:
    return {source: kernel.times(factor) for source, kernel in terms.items()}


def _plus(terms: Terms | None, others: Terms) -> Terms | None:
    """The sum of two forms; None where strides differ."""
    if terms is None:
        return None
    total = dict(terms)
    for source, kernel in others.items():
        both = total[source].plus(kernel) if source in total else kernel
        if both is None:
            return None
        total[source] = both
    return total


def _stacked(node: fx.Node, inputs: list[fx.Node], traced: Trace, forms: AffineForms) -> Terms | None:
    """The forms of images whose channels are put side by side."""
    channels, start = _shape(node, traced)[0], 0
    total: Terms | None = {}
    for part in cast(list[fx.Node], node.args[0]):
        width = _shape(part, traced)[0] if part in inputs else traced.shapes[part][1]
        place = torch.eye(channels, dtype=torch.float64)[:, start : start + width, None, None]
        start += width
        if part in inputs and total is not None:
            composed = {source: composition(Kernel(place), inner) for source, inner in forms.terms[part].items()}
            if any(kernel is None for kernel in composed.values()):
                return None
            total = _plus(total, cast(Terms, composed))
    return total
