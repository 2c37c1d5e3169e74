"""Certified upper bounds that see several layers at once: composed linear maps, and averaged activations.

*Composed*: what lies between two activations is one linear map (standardization and first convolution, pointwise
convolutions in a row, a residual sum, pooling and head), and its norm is at most the product of the norms.

*Averaged* (Combettes & Pesquet 2020, SIAM J. Math. Data Sci. 2(2), proposition 3.6 for chains): an activation with
slopes in [a, b] is phi = m id + h psi with m = (a + b) / 2, h = (b - a) / 2 and psi nonexpansive. Put into
v = K phi(p) + S u with p = W u:

    Lip(v) <= ||m K W + S|| Lip(u) + h ||K|| Lip(p)

For a residual block with ReLU that is ||W2 W1 + 2 S|| / 2 + ||W2|| ||W1|| / 2 instead of ||W2|| ||W1|| + ||S||. The
step is repeated back to earlier layers, and the smallest of the bounds on the way is taken.

Zero padding: W2 phi(W1 u) crops W1 u to the image before it is padded again, so that the composition of two padded
convolutions is no convolution. Here the crop belongs to the activation, which then has the slope 0 outside the image,
and 0 lies in [a, b] for the usual activations: W1 and W2 are convolutions of images without borders, their composition
is one too, and its norm is certified as that of any other. psi then acts on all pixels that W2 sees.
"""

from torch import fx, nn

from convbench.lipschitz.affine_forms import AffineForms, Terms, affine_forms, composition, image_shape
from convbench.lipschitz.kernels import Interval, Kernel, kernel_upper
from convbench.lipschitz.magnitude import bound_of, log_of, log_product, log_sum
from convbench.lipschitz.product import ProductRule
from convbench.lipschitz.trace import Trace, trace

Region = tuple[Interval, Interval]
_MOST_AVERAGED = 4  # activations between a result and a single earlier one


def lipschitz_upper_averaged(model: nn.Module, image_shape: tuple[int, int, int], *, steps: int = 1) -> float:
    """The bound by averaged activations, at most that of the product rule; arguments, result and errors as there.

    Args:
        model: as in `lipschitz_upper_product`.
        image_shape: (C, H, W).
        steps: how often a result is traced back to a single earlier one (a layer, a residual block); each further step
            costs more and gives less, and without any only adjacent linear maps are composed.
    """
    return bound_of(WindowRule(trace(model, image_shape), steps=steps).run())


class WindowRule(ProductRule):
    """The product rule, with the bounds of what comes before activations made smaller where that is possible.

    Args:
        traced: the network.
        steps: how often a result is traced back to a single earlier one.
    """

    def __init__(self, traced: Trace, steps: int) -> None:
        super().__init__(traced)
        self._steps = steps
        self._forms: AffineForms = affine_forms(traced)
        self._ends = self._forms.ends()
        self._seen_outside = self._nodes_seen_outside() if steps else set[fx.Node]()
        self._order = {node: place for place, node in enumerate(traced.graph.nodes)}
        self._norms: dict[tuple[int, Region, Region], float] = {}
        self._kept: list[Kernel] = []  # whose identity is a key of `_norms`
        self._outside: dict[tuple[fx.Node, Region], float] = {}

    def refined(self, node: fx.Node, bound: float) -> float:
        """The smaller of the product rule's bound and those over the layers before `node`."""
        if node not in self._ends:
            return bound
        terms, region = self._forms.terms[node], self._domain(node)
        if node not in self._seen_outside:
            return min(bound, self._window(terms, region))
        # One bound for the image and the pixels around it, which is hardly larger, saves half of the work.
        return min(bound, self._outside_bound(node, self._support(terms, region)))

    def _nodes_seen_outside(self) -> set[fx.Node]:
        """The results whose activation is seen together with the zeros around it."""
        found = set()
        for node in self._ends:
            for source, kernel in self._forms.terms[node].items():
                expansion, outputs = self._forms.expansion(source), self._domain(node)
                seen = (kernel.sees(0, outputs[0]), kernel.sees(1, outputs[1]))
                if expansion is not None and not _within(seen, self._domain(source)):
                    found.add(expansion.before)
        return found

    def _window(self, terms: Terms, outputs: Region) -> float:
        """log of the best bound of a form on the pixels `outputs`."""
        best, errors = self._sum(terms, outputs), []
        for _ in range(self._steps):
            for _ in range(_MOST_AVERAGED):
                averaged = self._averaged(terms, outputs)
                if averaged is None:
                    return best
                terms, error = averaged
                errors.append(error)
                if len(terms) == 1:
                    break
            if log_sum(errors) >= best:
                break
            best = min(best, log_sum([*errors, self._sum(terms, outputs)]))
        return best

    def _averaged(self, terms: Terms, outputs: Region) -> tuple[Terms, float] | None:
        """The form with its last source replaced by the mean of its activation, and log of what the rest adds."""
        source = max(terms, key=self._order.__getitem__)
        expansion = self._forms.expansion(source)
        if expansion is None:
            return None
        kernel, (low, high) = terms[source], expansion.slopes
        seen, inside = self._inputs(kernel, source, outputs), True
        if not _within(seen, self._domain(source)):
            low, high, inside = min(low, 0.0), max(high, 0.0), False
        rest = {other: part for other, part in terms.items() if other is not source}
        for before, inner in expansion.terms.items():
            part = composition(kernel, inner)
            total = None if part is None else part.times((low + high) / 2)
            if total is not None and before in rest:
                total = rest[before].plus(total)
            if total is None:
                return None
            rest[before] = total
        slope = self.bounds[expansion.before] if inside else self._outside_bound(expansion.before, seen)
        return rest, log_product(log_of((high - low) / 2), log_product(self._norm(kernel, seen, outputs), slope))

    def _outside_bound(self, node: fx.Node, region: Region) -> float:
        """log of the bound of a result on pixels beyond the image, too."""
        key = (node, region)
        if key not in self._outside:
            self._outside[key] = self._window(self._forms.terms[node], region)
        return self._outside[key]

    def _sum(self, terms: Terms, outputs: Region) -> float:
        return log_sum(
            log_product(self._norm(kernel, self._inputs(kernel, source, outputs), outputs), self.bounds[source])
            for source, kernel in terms.items()
        )

    def _inputs(self, kernel: Kernel, source: fx.Node, outputs: Region) -> Region:
        """The pixels of a source that enter; with averaging also those around it, where its form isn't zero."""
        domain, expansion = self._domain(source), self._forms.expansion(source)
        if self._steps and expansion is not None:
            domain = self._support(expansion.terms, domain)
        return _common((kernel.sees(0, outputs[0]), kernel.sees(1, outputs[1])), domain)

    def _norm(self, kernel: Kernel, inputs: Region, outputs: Region) -> float:
        key = (id(kernel), inputs, outputs)
        if key not in self._norms:
            self._kept.append(kernel)
            self._norms[key] = log_of(kernel_upper(kernel, inputs, outputs))
        return self._norms[key]

    def _domain(self, node: fx.Node) -> Region:
        shape = image_shape(node, self.traced)
        assert shape is not None
        return (0, shape[1]), (0, shape[2])

    def _support(self, terms: Terms, domain: Region) -> Region:
        """Where a form can be other than zero, and the image itself."""
        reached = [
            (kernel.reaches(0, self._domain(source)[0]), kernel.reaches(1, self._domain(source)[1]))
            for source, kernel in terms.items()
        ]
        rows, columns = zip(domain, *reached, strict=True)
        return _hull(rows), _hull(columns)


def _within(inner: Region, outer: Region) -> bool:
    return all(o[0] <= i[0] and i[1] <= o[1] for i, o in zip(inner, outer, strict=True))


def _common(a: Region, b: Region) -> Region:
    first, second = ((max(i[0], j[0]), min(i[1], j[1])) for i, j in zip(a, b, strict=True))
    return first, second


def _hull(intervals: tuple[Interval, ...]) -> Interval:
    return min(i[0] for i in intervals), max(i[1] for i in intervals)
