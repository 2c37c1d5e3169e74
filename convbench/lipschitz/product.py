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
from convbench.lipschitz.magnitude import ZERO, bound_of, log_hypot, log_of, log_product, log_sum
from convbench.lipschitz.module_rules import module_bound
from convbench.lipschitz.trace import Trace, described, trace
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
        MetricNotDefinedError: a module or function has no rule, the network can't be traced, it isn't deterministic,
            or the bound is larger than the largest floating-point number.
        ValueError: a weight is NaN or infinite.
    """
    return bound_of(ProductRule(trace(model, image_shape)).run())


class ProductRule:
    """The product rule: node by node, a bound of the slope of each result with respect to the image.

    A tighter rule overrides `refined`, or the constants of single operations.

    Args:
        traced: the network.
    """

    def __init__(self, traced: Trace) -> None:
        self.traced = traced
        self.bounds: dict[fx.Node, float] = {}  # natural logarithms

    def run(self) -> float:
        """The logarithm of the bound of the network's result."""
        traced, bounds = self.traced, self.bounds
        for node in traced.graph.nodes:
            if node.op == "output":
                result = node.args[0]
                if not isinstance(result, fx.Node):
                    raise MetricNotDefinedError("the network returns more than one tensor")
                return bounds[result]
            if node in traced.constants:
                bounds[node] = ZERO
            elif node.op == "placeholder":
                if bounds:
                    raise MetricNotDefinedError("the network takes more than one input")
                bounds[node] = 0.0
            elif folded_into(node, traced) is None:  # else counted with the batch normalization that follows
                bound = self.through_module(node) if node.op == "call_module" else self.through_function(node)
                bounds[node] = self.refined(node, bound)
        raise MetricNotDefinedError("the network returns nothing")

    def refined(self, node: fx.Node, bound: float) -> float:
        """The bound of `node`, at most `bound`."""
        return bound

    def through_module(self, node: fx.Node) -> float:
        """The bound of what a module returns."""
        module, source = self.traced.modules[str(node.target)], module_source(node, self.traced)
        before = folded_convolution(node, self.traced)
        if before is not None:
            source = before.all_input_nodes[0]
            pair = nn.Sequential(self.traced.modules[str(before.target)], module)
            constant = spectral_upper(pair, self.traced.shapes[source][1:])
        else:
            constant = self.module_constant(module, source)
        if constant is None:
            raise MetricNotDefinedError(f"no Lipschitz rule for {type(module).__name__} '{node.target}'")
        return log_product(log_of(constant), self.bounds[source])

    def module_constant(self, module: nn.Module, source: fx.Node) -> float | None:
        """A Lipschitz constant of `module` applied to the result of `source`; None where no rule is known."""
        return module_bound(module, self.traced.shapes[source])

    def through_function(self, node: fx.Node) -> float:
        """The bound of what a function or tensor method returns."""
        name = operation_name(node.target)
        sources = [source for source in node.all_input_nodes if source not in self.traced.constants]
        if name in ("cat", "stack") and node.args:
            parts = node.args[0]
            if isinstance(parts, fx.Node):  # what `chunk` or `split` made of one tensor
                return self.bounds[parts]
            if isinstance(parts, list | tuple):
                return log_hypot(self.bounds[part] for part in parts if isinstance(part, fx.Node))
        if name in ("add", "sub") and not node.kwargs:
            terms = [part for part in node.args if part in sources]  # x + x is two terms
            return log_sum(log_product(self.repeats(term, node), self.bounds[term]) for term in terms)
        if name == "mul" and len(node.args) == 2 and sources and all(part in sources for part in node.args):
            return self.through_product(node)
        constant = self._unary_constant(name, node, sources[0]) if name and len(sources) == 1 else None
        if constant is None:
            what = described(node.target)
            raise MetricNotDefinedError(f"no Lipschitz rule for the function '{what}' in the network's forward pass")
        return log_product(log_of(constant), self.bounds[sources[0]])

    def through_product(self, node: fx.Node) -> float:
        """The bound of x * y, both of which depend on the image."""
        raise MetricNotDefinedError(
            f"'{node.name}' multiplies two results that both depend on the image (as squeeze-and-excitation does): "
            "its slope grows with them, so that there is no global constant"
        )

    def repeats(self, source: fx.Node, node: fx.Node) -> float:
        """log of the norm of repeating `source` to the shape of the result; no source is larger than its result."""
        return math.log(math.prod(self.traced.shapes[node]) / math.prod(self.traced.shapes[source])) / 2

    def _unary_constant(self, name: str, node: fx.Node, source: fx.Node) -> float | None:
        """Of a function of one result, its other arguments being constants."""
        if source not in self.traced.shapes:  # a tuple of parts: each has the bound of the whole
            return 1.0 if name == "getitem" else None
        places = [place for place, argument in enumerate(node.args) if argument is source]
        if places != [0] and not (places == [1] and name == "mul"):
            return None
        others = [argument for place, argument in enumerate(node.args) if place not in places]
        args, kwargs = fx.map_arg((others, dict(node.kwargs)), self.traced.constants.__getitem__)
        target = node.target
        function = (lambda x, *a, **k: getattr(x, target)(*a, **k)) if isinstance(target, str) else target
        constant = unary_bound(name, function, self.traced.shapes[source], args, kwargs)
        if constant is None or name not in ("mul", "div"):
            return constant
        return 0.0 if constant == 0 else constant * math.exp(self.repeats(source, node))


def module_source(node: fx.Node, traced: Trace) -> fx.Node:
    """The one tensor that a module is applied to."""
    if len(node.all_input_nodes) != 1 or node.all_input_nodes[0] not in traced.shapes:
        kind = type(traced.modules[str(node.target)]).__name__
        raise MetricNotDefinedError(f"no Lipschitz rule for {kind} '{node.target}' with several inputs")
    return node.all_input_nodes[0]


def folded_into(node: fx.Node, traced: Trace) -> fx.Node | None:
    """The batch normalization that alone takes the output of a convolution; None for any other node."""
    if node.op != "call_module" or not is_convolution(traced.modules[str(node.target)]) or len(node.users) != 1:
        return None
    user = next(iter(node.users))
    folds = user.op == "call_module" and is_batch_norm(traced.modules[str(user.target)])
    return user if folds else None


def folded_convolution(node: fx.Node, traced: Trace) -> fx.Node | None:
    """The convolution that is counted with the batch normalization `node`, if there is one."""
    before = node.all_input_nodes[0]
    return before if folded_into(before, traced) is node else None
