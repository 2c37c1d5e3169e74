"""The methods by which a spectral norm is computed, by name. Each says what it can treat.

| method | value | upper bound | treats |
|---|---|---|---|
| `symbol` | every singular value at every frequency | the value | circulants |
| `sieve` | the largest one found | proof by Cholesky (`convbench.spectral.sieve`) | circulants |
| `gram_iteration` | the upper bound's lower end | Delattre et al. 2023, made safe for rounding | circulants |
| `lanczos` | block Lanczos on the operator | circulants that contain it | every affine layer |
| `power_iteration` | subspace iteration on the operator | as `lanczos` | every affine layer |
| `dense` | the Gram matrix of the smaller side | the same, or its Cholesky factorization | up to 5,000 rows |

Circulants are convolutions with circular padding whose stride divides the input, and kernels of one tap.
"""

from collections.abc import Callable

from convbench.spectral.circulant import ROUNDING
from convbench.spectral.dense import DENSE_LIMIT, GRAM_LIMIT, dense_norm
from convbench.spectral.enclosure import SpectralNorm
from convbench.spectral.gram_iteration import gram_iteration
from convbench.spectral.lanczos import lanczos_norm
from convbench.spectral.layer_operator import LayerOperator
from convbench.spectral.power_iteration import power_iteration
from convbench.spectral.sieve import GridMaximum, Sieve, every_frequency

COMPOSED_DENSE_LIMIT = 2048  # the certified bound of a composition is loose: writing it down is worth a second

Method = Callable[[LayerOperator, float], SpectralNorm]


def by_symbol(layer: LayerOperator, tol: float) -> SpectralNorm:
    """Exact: the eigenvalues of the Gram matrix at all frequencies of half the plane."""
    symbol, grid = _circulant(layer)
    return _enclosed(every_frequency(symbol, grid), "symbol")


def by_sieve(layer: LayerOperator, tol: float) -> SpectralNorm:
    """Exact to `tol`, with a proof, without most of the eigenproblems."""
    symbol, grid = _circulant(layer)
    return _enclosed(Sieve(symbol, min(tol, 1e-6)).maximum(grid), "sieve")


def by_gram_iteration(layer: LayerOperator, tol: float) -> SpectralNorm:
    """An upper bound, about 1e-3 above the norm for a hundred channels, and the lower one that it implies."""
    symbol, grid = _circulant(layer)
    found = gram_iteration(symbol, grid)
    return SpectralNorm(found.upper, found.lower, found.upper, "gram_iteration")


def by_lanczos(layer: LayerOperator, tol: float) -> SpectralNorm:
    """From below by Lanczos iteration, from above by circulants."""
    found = lanczos_norm(layer.operator, tol, iterated=layer.iterated)
    upper = layer.certified_upper(quick=tol > 1e-4)
    return _iterated(found.value, upper, "Lanczos", found.converged)


def by_power_iteration(layer: LayerOperator, tol: float) -> SpectralNorm:
    """From below by subspace iteration, from above by circulants."""
    found = power_iteration(layer.operator, tol=tol)
    return _iterated(found.value, layer.certified_upper(quick=tol > 1e-4), "power iteration", found.converged)


def by_dense(layer: LayerOperator, tol: float) -> SpectralNorm:
    """From the Gram matrix of the smaller side, if that has at most 5,000 rows."""
    if layer.smaller_side > GRAM_LIMIT:
        raise ValueError(f"its smaller side is {layer.smaller_side:,}, and only up to {GRAM_LIMIT:,} is written down")
    return dense_norm(layer.operator, tol)


METHODS: dict[str, Method] = {
    "symbol": by_symbol,
    "sieve": by_sieve,
    "gram_iteration": by_gram_iteration,
    "lanczos": by_lanczos,
    "power_iteration": by_power_iteration,
    "dense": by_dense,
}


def fitting_methods(layer: LayerOperator) -> list[str]:
    """The names of the methods that can treat the layer."""
    names = ["lanczos", "power_iteration"]
    if layer.circulant is not None:
        names += ["symbol", "sieve", "gram_iteration"]
    if layer.smaller_side <= GRAM_LIMIT:
        names.append("dense")
    return sorted(names)


def automatic_method(layer: LayerOperator, dense_limit: int = DENSE_LIMIT) -> str:
    """The cheapest method with the tightest enclosure."""
    if layer.circulant is not None:
        return "sieve"
    limit = max(dense_limit, COMPOSED_DENSE_LIMIT) if layer.is_composed and dense_limit > 0 else dense_limit
    return "dense" if layer.smaller_side <= limit else "lanczos"


def _circulant(layer: LayerOperator):
    if layer.circulant is None:
        raise ValueError("it needs circular padding with a stride that divides the input, or a kernel of one tap")
    return layer.circulant


def _enclosed(found: GridMaximum, method: str) -> SpectralNorm:
    return SpectralNorm(found.lower, found.lower * (1 - ROUNDING), found.upper, method)


def _iterated(value: float, upper: float, name: str, converged: bool) -> SpectralNorm:
    method = f"{name}, circulant" if converged else f"{name} (tolerance not reached), circulant"
    return SpectralNorm(value, value * (1 - ROUNDING), max(upper, value), method)
