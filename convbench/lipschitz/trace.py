"""A network as a graph of operations with the shape of each result, for one image at evaluation."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz.module_rules import has_own_rule
from convbench.spectral.operator import check_finite


@dataclass(frozen=True)
class Trace:
    """The graph of a copy of a network in float64, on the CPU, in evaluation mode.

    Args:
        graph: its operations; modules with a rule of their own aren't opened.
        modules: by the target of `call_module` nodes.
        shapes: of every node whose result is one tensor.
        constants: the results that don't depend on the image.
    """

    graph: fx.Graph
    modules: dict[str, nn.Module]
    shapes: dict[fx.Node, tuple[int, ...]] = field(default_factory=dict)
    constants: dict[fx.Node, Any] = field(default_factory=dict)


def trace(model: nn.Module, image_shape: tuple[int, int, int]) -> Trace:
    """Trace a copy of `model` and run it on one grey image of `image_shape` (C, H, W).

    Raises:
        MetricNotDefinedError: the forward pass takes decisions that a symbolic trace can't follow, doesn't take such
            an image, or doesn't give the same result twice.
        ValueError: a weight is NaN or infinite.
    """
    check_finite(model)
    exact = copy.deepcopy(model).to(device="cpu", dtype=torch.float64).eval().requires_grad_(False)
    try:
        graph = _Tracer().trace(exact)
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        reason = str(error).strip().partition("\n")[0]
        raise MetricNotDefinedError(f"the network can't be traced symbolically: {reason}") from error
    _skip_identities(graph, exact)
    result = Trace(graph, dict(exact.named_modules()))
    image = torch.full((1, *image_shape), 0.5, dtype=torch.float64)
    try:
        with torch.no_grad():
            recorded = _Recorder(fx.GraphModule(exact, graph), result).run(image)
            same = all(_is_same(exact(image), recorded) for _ in range(2))
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        size = "x".join(map(str, image_shape))
        raise MetricNotDefinedError(f"the network can't be applied to a float64 image of {size}: {reason}") from error
    if not same:
        raise MetricNotDefinedError("the network gives the same image different logits each time, in evaluation mode")
    return result


def described(target: Callable[..., Any] | str) -> str:
    """The name of a function or method in a graph, for a message."""
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return has_own_rule(m) or super().is_leaf_module(m, module_qualified_name)


def _skip_identities(graph: fx.Graph, network: nn.Module) -> None:
    """What takes the result of an `nn.Identity` takes what it was given; else it would hide the pair around it."""
    for node in list(graph.nodes):
        is_module = node.op == "call_module" and len(node.all_input_nodes) == 1
        if is_module and type(network.get_submodule(str(node.target))) is nn.Identity:
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)


class _Recorder(fx.Interpreter):
    """Runs the graph, keeps shapes, and the values of what doesn't depend on the image."""

    def __init__(self, module: fx.GraphModule, result: Trace) -> None:
        super().__init__(module)
        self._result = result

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        shapes, constants = self._result.shapes, self._result.constants
        if isinstance(value, Tensor):
            shapes[n] = tuple(value.shape)
        depends = n.op in ("placeholder", "call_module") or any(source not in constants for source in n.all_input_nodes)
        if not (depends and _holds_tensor(value)):  # sizes computed from the image are constants too
            constants[n] = value
        return value


def _is_same(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_is_same, a, b))
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return True
    largest = float(b.abs().nan_to_num().max()) if b.numel() else 0.0
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=1e-9 * largest, equal_nan=True)


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_tensor, value))
    return isinstance(value, Tensor)
