"""Numbers of the layers as metrics of a network, all read off one table that is computed once.

Torch and the packages that compute the numbers are imported inside the functions: reading which way is better must
not cost seconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convbench.errors import MetricNotDefinedError
from convbench.metrics.contract import NETWORK_METRICS, PartialValues
from convbench.metrics.sharing import once

if TYPE_CHECKING:
    from torch import Tensor, nn

    from convbench.spectral.layer_table import LayerSpectrum

_GOLUB_KAHAN = "Sedghi et al. 2019, arXiv:1805.10408; Golub & Kahan 1965"
_CIRCULANT = "circulants that contain the operator; Yi 2020 for large inputs"
_FOLDED = "Gouk et al. 2021, arXiv:1804.04368, section 3.3"


@NETWORK_METRICS.register("spectral_norm", group="layers", higher_is_better=False, reference=_GOLUB_KAHAN)
def spectral_norm(model: nn.Module, images: Tensor, *, budget: str = "exact") -> dict[str, float]:
    """Largest singular value of every convolution and linear layer, as the operator that it is at its input size.

    Without normalization; of a ConvNorm layer the weight as a plain convolution. Only the shape of `images` is used.
    """
    return _of_layers(_table(model, images, budget), "norm", "value")


@NETWORK_METRICS.register("spectral_norm_lower", group="layers", higher_is_better=False, reference=_GOLUB_KAHAN)
def spectral_norm_lower(model: nn.Module, images: Tensor, *, budget: str = "exact") -> dict[str, float]:
    """Certified lower bound of `spectral_norm`, by layer."""
    return _of_layers(_table(model, images, budget), "norm", "lower")


@NETWORK_METRICS.register("spectral_norm_upper", group="layers", higher_is_better=False, reference=_CIRCULANT)
def spectral_norm_upper(model: nn.Module, images: Tensor, *, budget: str = "exact") -> dict[str, float]:
    """Certified upper bound of `spectral_norm`, by layer; infinite where a kind of layer has none."""
    return _of_layers(_table(model, images, budget), "norm", "upper")


@NETWORK_METRICS.register("spectral_norm_composed", group="layers", higher_is_better=False, reference=_FOLDED)
def spectral_norm_composed(model: nn.Module, images: Tensor, *, budget: str = "exact") -> dict[str, float]:
    """Largest singular value of every convolution together with its normalization, at evaluation.

    Compositions that aren't affine (mixture normalization) have none and are left out. Only the shape of `images` is
    used.
    """
    return _of_compositions(_table(model, images, budget), "value")


@NETWORK_METRICS.register("spectral_norm_composed_lower", group="layers", higher_is_better=False, reference=_FOLDED)
def spectral_norm_composed_lower(model: nn.Module, images: Tensor, *, budget: str = "exact") -> dict[str, float]:
    """Certified lower bound of `spectral_norm_composed`."""
    return _of_compositions(_table(model, images, budget), "lower")


@NETWORK_METRICS.register("spectral_norm_composed_upper", group="layers", higher_is_better=False, reference=_FOLDED)
def spectral_norm_composed_upper(model: nn.Module, images: Tensor, *, budget: str = "exact") -> dict[str, float]:
    """Certified upper bound of `spectral_norm_composed`; infinite where a kind of layer has none."""
    return _of_compositions(_table(model, images, budget), "upper")


@NETWORK_METRICS.register(
    "kernel_matrix_norm",
    group="layers",
    higher_is_better=None,
    reference="Miyato et al. 2018, arXiv:1802.05957, section 2.1",
)
def kernel_matrix_norm(model: nn.Module, images: Tensor, *, budget: str = "exact") -> dict[str, float]:
    """Norm of the reshaped kernel, which papers print; not the norm of the layer, and no bound of it."""
    return _of_layers(_table(model, images, budget), "kernel_matrix_norm")


@NETWORK_METRICS.register(
    "stable_rank", group="layers", higher_is_better=None, reference="Rudelson & Vershynin 2007, section 1"
)
def stable_rank(model: nn.Module, images: Tensor, *, budget: str = "exact") -> dict[str, float]:
    """||A||_F^2 / ||A||_2^2 of every convolution and linear layer as an operator: how many directions it carries."""
    return _of_layers(_table(model, images, budget), "stable_rank")


@NETWORK_METRICS.register("condition_number", higher_is_better=False, reference="Golub & Van Loan 2013, section 2.6.2")
def condition_number(model: nn.Module, images: Tensor, *, budget: str = "exact") -> dict[str, float]:
    """Largest over smallest singular value of every layer, infinite where it loses rank; 1 is an isometry.

    Among the min(inputs, outputs) singular values, without normalization. Left out where the operator is too large for
    its smallest one. Takes seconds per layer, so it isn't measured unless asked for.
    """
    from convbench.spectral.layer_table import with_conditioning

    rows, shape = _table(model, images, budget), _image_shape(images)
    completed = once(
        ("conditioning", shape, budget),
        lambda on_step: with_conditioning(rows, model, shape, budget=budget, on_layer=on_step),
    )
    return _of_layers(completed, "condition_number")


def _table(model: nn.Module, images: Tensor, budget: str) -> list[LayerSpectrum]:
    from convbench.spectral.layer_table import layer_table

    shape = _image_shape(images)
    return once(
        ("layers", shape, budget),
        lambda on_step: layer_table(model, shape, budget=budget, conditioning=False, on_layer=on_step),
    )


def _of_layers(rows: list[LayerSpectrum], number: str, end: str = "") -> dict[str, float]:
    return _values({row.name: row for row in rows}, number, end)


def _of_compositions(rows: list[LayerSpectrum], end: str) -> dict[str, float]:
    composed = {row.unit: row for row in rows if row.unit}
    if not composed:
        raise MetricNotDefinedError("no convolution is followed by a normalization")
    return _values(composed, "composed", end)


def _values(rows: dict[str, LayerSpectrum], number: str, end: str) -> dict[str, float]:
    """A number by layer: NaN where the layer is broken, left out where it has no such number; the note says why."""
    values, reasons = PartialValues(), dict[str, list[str]]()
    for name, row in rows.items():
        found = getattr(row, number)
        if found is None:
            reasons.setdefault(row.missing[number], []).append(name)
            if number in row.broken:
                values[name] = math.nan
        else:
            values[name] = getattr(found, end) if end else found
    if reasons and not values:
        raise MetricNotDefinedError("; ".join(sorted(reasons)))
    values.note = "; ".join(f"{_listed(names)}: {reason}" for reason, names in reasons.items())
    return values


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return "layer" + "s" * (len(names) > 1) + " " + ", ".join(names[:2]) + more


def _image_shape(images: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return channels, height, width
