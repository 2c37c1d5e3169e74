"""Slopes of a network at images, and CLEVER's estimate from slopes around them, as metrics. None is a bound.

L2 of the logits (or of a margin) over [0, 1] pixels, in evaluation mode. Torch is imported inside the functions:
reading which way is better must not cost seconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convbench.errors import MetricNotDefinedError
from convbench.metrics.contract import NETWORK_METRICS, PartialValues
from convbench.metrics.sharing import once

if TYPE_CHECKING:
    from torch import Tensor, nn

    from convbench.lipschitz.clever import Clever

_SHARES = {"median": 0.5, "p95": 0.95, "max": 1.0}
_HEIN = "Hein & Andriushchenko 2017, arXiv:1705.08475, theorem 2.1"
_WENG = "Weng et al. 2018, arXiv:1801.10578, algorithm 2"


@NETWORK_METRICS.register(
    "local_jacobian_norm", higher_is_better=False, reference="2-norm of the logits' Jacobian at an image"
)
def local_jacobian_norm(model: nn.Module, images: Tensor, *, statistic: str = "median") -> dict[str, float]:
    """Local Lipschitz constant at an image: norm of the logits' Jacobian; `statistic` median, p95 or max."""
    from convbench.lipschitz import local_jacobian_norms

    _check(statistic)
    try:
        norms = once("local Jacobian norms", lambda _: local_jacobian_norms(model, images))
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error
    return {"": _statistic(norms.tolist(), statistic)}


@NETWORK_METRICS.register("local_margin_gradient", higher_is_better=False, reference=_HEIN)
def local_margin_gradient(
    model: nn.Module, images: Tensor, *, distance: str = "l2", statistic: str = "median"
) -> dict[str, float]:
    """Steepest margin at an image: largest dual norm of grad (f_c - f_j), c the predicted class.

    Per unit of `distance` between images, l2 or linf; `statistic` median, p95 or max.
    """
    from convbench.lipschitz import margin_gradients

    _check(statistic)
    if distance not in ("l2", "linf"):
        raise MetricNotDefinedError(f"unknown distance {distance!r}; choose from: l2, linf")
    try:
        found = once("margin gradients", lambda _: margin_gradients(model, images))
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error
    return {"": _statistic((found.l2 if distance == "l2" else found.linf).tolist(), statistic)}


@NETWORK_METRICS.register("clever", higher_is_better=True, reference=_WENG)
def clever(
    model: nn.Module,
    images: Tensor,
    *,
    statistic: str = "median",
    radius: float = 5.0,
    batches: int = 50,
    samples: int = 32,
    examples: int = 8,
) -> dict[str, float]:
    """CLEVER's estimate of the L2 distance to the nearest image that is classified differently: no bound.

    Over the first `examples` images; `statistic` median, p95 or max. Where the fit of the extreme values fails, the
    largest slope seen stands for it: see `clever_fit_failed`. Takes minutes: K products for each of the
    `examples` * `batches` * `samples` draws, K the number of classes.
    """
    _check(statistic)
    found = _clever(model, images, radius, batches, samples, examples)
    values = PartialValues({"": _statistic(found.radius.tolist(), statistic)})
    if (failed := int(found.failed.sum())) > 0:
        values.note = (
            f"over the first {len(found.radius)} images; {failed} of {found.failed.size} extreme value fits failed, "
            "for them the largest slope seen was taken"
        )
    return values


@NETWORK_METRICS.register("clever_fit_failed", higher_is_better=None, reference=_WENG)
def clever_fit_failed(
    model: nn.Module,
    images: Tensor,
    *,
    radius: float = 5.0,
    batches: int = 50,
    samples: int = 32,
    examples: int = 8,
) -> dict[str, float]:
    """Share in [0, 1] of CLEVER's extreme value fits that failed: rejected (Kolmogorov-Smirnov, 5 %) or diverged.

    Near 1, `clever` is a statistic of the largest slopes that were drawn, and of no extreme value theory.
    """
    found = _clever(model, images, radius, batches, samples, examples)
    return {"": float(found.failed.mean())}


def _clever(model: nn.Module, images: Tensor, radius: float, batches: int, samples: int, examples: int) -> Clever:
    from convbench.lipschitz import clever_scores

    if examples < 1:
        raise MetricNotDefinedError("CLEVER needs at least one image")
    try:
        return once(
            ("clever", radius, batches, samples, examples),
            lambda _: clever_scores(model, images[:examples], radius=radius, batches=batches, samples=samples),
        )
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error


def _check(statistic: str) -> None:
    if statistic not in _SHARES:
        raise MetricNotDefinedError(f"unknown statistic {statistic!r}; choose from: {', '.join(_SHARES)}")


def _statistic(values: list[float], name: str) -> float:
    """The order statistic, interpolated linearly between neighbours as NumPy's quantile."""
    ordered = sorted(values)
    place = _SHARES[name] * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (place - math.floor(place)) * (high - low) if high > low else low
