"""A certified upper bound of a network's Lipschitz constant: the product rule over its graph.

Chains multiply, sums add (residual connections), concatenations add in squares, and each layer contributes the
certified upper bound of its spectral norm at its own input size (batch normalization folded into the convolution before
it). Szegedy et al. 2014, arXiv:1312.6199, section 4.3; the rules for poolings and sums follow Gouk et al. 2021,
arXiv:1804.04368. Such products are far above the true constant of a deep network: read them relative to each other.
"""

import math

from torch import fx, nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz.function_rules import operation_name, unary_bound
from convbench.lipschitz.module_rules import module_bound
from convbench.lipschitz.trace import Trace, trace
from convbench.spectral.norm import spectral_upper
from convbench.spectral.stages import is_batch_norm, is_convolution


def lipschitz_upper_product(model: nn.Module, image_shape: tuple[int, int, int]) -> float:
    """An upper bound of ||f(x) - f(y)||_2 / ||x - y||_2 over all images x, y, for the logits f in evaluation mode.

    Args:
        model: from images in [0, 1] to logits; its first layer may be a standardization. It isn't changed.
        image_shape: (C, H, W).

    Returns:
        The bound; infinity where a layer has no finite constant (a mixture normalization of several components).

    Raises:
        MetricNotDefinedError: a module or function has no rule, or the network can't be traced.
        ValueError: a weight is NaN or infinite.
    """
    traced = trace(model, image_shape)
    bounds: dict[fx.Node, float] = {}
    for node in traced.graph.nodes:
        if node.op == "output":
            result = node.args[0]
            if not isinstance(result, fx.Node):
                raise MetricNotDefinedError("the network returns more than one tensor")
            return bounds[result]
        if node in traced.constants:
            bounds[node] = 0.0
        elif node.op == "placeholder":
            if bounds:
                raise MetricNotDefinedError("the network takes more than one input")
            bounds[node] = 1.0
        elif _folded_into(node, traced) is not None:
            continue  # counted with the batch normalization that follows
        elif node.op == "call_module":
            bounds[node] = _through_module(node, traced, bounds)
        else:
            bounds[node] = _through_function(node, traced, bounds)
    raise MetricNotDefinedError("the network returns nothing")


def _through_module(node: fx.Node, traced: Trace, bounds: dict[fx.Node, float]) -> float:
    name = str(node.target)
    module = traced.modules[name]
    if len(node.all_input_nodes) != 1 or node.all_input_nodes[0] not in traced.shapes:
        raise MetricNotDefinedError(f"no Lipschitz rule for {type(module).__name__} '{name}' with several inputs")
    source = node.all_input_nodes[0]
    if _folded_into(source, traced) is node:
        convolution = traced.modules[str(source.target)]
        source = source.all_input_nodes[0]
        constant = spectral_upper(nn.Sequential(convolution, module), traced.shapes[source][1:])
    else:
        constant = module_bound(module, traced.shapes[source])
    if constant is None:
        raise MetricNotDefinedError(f"no Lipschitz rule for {type(module).__name__} '{name}'")
    return _times(constant, bounds[source])


def _folded_into(node: fx.Node, traced: Trace) -> fx.Node | None:
    """The batch normalization that alone takes the output of a convolution; None for any other node."""
    if node.op != "call_module" or not is_convolution(traced.modules[str(node.target)]) or len(node.users) != 1:
        return None
    user = next(iter(node.users))
    folds = user.op == "call_module" and is_batch_norm(traced.modules[str(user.target)])
    return user if folds else None


def _through_function(node: fx.Node, traced: Trace, bounds: dict[fx.Node, float]) -> float:
    name = operation_name(node.target)
    sources = [source for source in node.all_input_nodes if source not in traced.constants]
    if name in ("cat", "stack") and node.args:
        parts = node.args[0]
        if isinstance(parts, fx.Node):  # what `chunk` or `split` made of one tensor
            return bounds[parts]
        if isinstance(parts, list | tuple):
            return math.hypot(*(bounds[part] for part in parts if isinstance(part, fx.Node)))
    if name in ("add", "sub") and not node.kwargs:
        terms = [part for part in node.args if part in sources]  # x + x is two terms
        return sum(_times(_broadcast(term, node, traced), bounds[term]) for term in terms)
    constant = _unary_constant(name, node, sources[0], traced) if name and len(sources) == 1 else None
    if constant is None:
        what = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
        raise MetricNotDefinedError(f"no Lipschitz rule for the function '{what}' in the network's forward pass")
    return _times(constant, bounds[sources[0]])


def _unary_constant(name: str, node: fx.Node, source: fx.Node, traced: Trace) -> float | None:
    """Of a function of one result, its other arguments being constants."""
    if source not in traced.shapes:  # a tuple of parts: each has the bound of the whole
        return 1.0 if name == "getitem" else None
    places = [place for place, argument in enumerate(node.args) if argument is source]
    if places != [0] and not (places == [1] and name == "mul"):
        return None
    others = [argument for place, argument in enumerate(node.args) if place not in places]
    args, kwargs = fx.map_arg((others, dict(node.kwargs)), traced.constants.__getitem__)
    target = node.target
    function = (lambda x, *a, **k: getattr(x, target)(*a, **k)) if isinstance(target, str) else target
    constant = unary_bound(name, function, traced.shapes[source], args, kwargs)
    if constant is None or name not in ("mul", "div"):
        return constant
    return _times(constant, _broadcast(source, node, traced))


def _broadcast(source: fx.Node, node: fx.Node, traced: Trace) -> float:
    """The norm of repeating `source` to the shape of the result; no source is larger than its result."""
    return math.sqrt(math.prod(traced.shapes[node]) / math.prod(traced.shapes[source]))


def _times(a: float, b: float) -> float:
    """a b, where a constant function before or after an unbounded one gives 0, not NaN."""
    return 0.0 if a == 0 or b == 0 else a * b
