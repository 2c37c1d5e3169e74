"""Spectral norms of the layers and bounds of the Lipschitz constant, as metrics of a network.

Torch and the packages that compute the numbers are imported inside the functions: reading which way is better must
not cost seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.errors import MetricNotDefinedError
from convbench.metrics.contract import NETWORK_METRICS

if TYPE_CHECKING:
    from torch import Tensor, nn


@NETWORK_METRICS.register(
    "spectral_norm", higher_is_better=False, reference="Sedghi et al. 2019, arXiv:1805.10408; Golub & Kahan 1965"
)
def layer_spectral_norms(model: nn.Module, images: Tensor, *, tol: float = 1e-6) -> dict[str, float]:
    """Largest singular value of every convolution and linear layer, as the operator that it is at its input size.

    Without normalization; of a ConvNorm layer the weight as a plain convolution. Only the shape of `images` is used.
    """
    from convbench.spectral.layers import layer_norms

    try:
        norms = layer_norms(model, _image_shape(images), tol)
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error
    if not norms:
        raise MetricNotDefinedError("the network has neither a convolution nor a linear layer")
    return {name: norm.value for name, norm in norms.items()}


@NETWORK_METRICS.register(
    "spectral_norm_composed", higher_is_better=False, reference="Gouk et al. 2021, arXiv:1804.04368, section 3.3"
)
def composed_spectral_norms(model: nn.Module, images: Tensor, *, tol: float = 1e-6) -> dict[str, float]:
    """Largest singular value of every convolution together with its normalization, at evaluation.

    Compositions that aren't affine (mixture normalization) have none and are left out. Only the shape of `images` is
    used.
    """
    from convbench.spectral.layers import composed_norms

    try:
        composed = composed_norms(model, _image_shape(images), tol)
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error
    if not composed.norms:
        reasons = sorted(set(composed.left_out.values()))
        raise MetricNotDefinedError("; ".join(reasons) or "no convolution is followed by a normalization")
    return {name: norm.value for name, norm in composed.norms.items()}


@NETWORK_METRICS.register(
    "lipschitz_lower_jacobian", higher_is_better=False, reference="largest local Jacobian norm over the images"
)
def lower_jacobian(model: nn.Module, images: Tensor, *, batch_size: int = 64) -> dict[str, float]:
    """Lower bound of the Lipschitz constant: the largest norm of the logits' Jacobian over the images."""
    from convbench.lipschitz import lipschitz_lower_jacobian

    try:
        return {"": lipschitz_lower_jacobian(model, images, batch_size=batch_size).value}
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error


@NETWORK_METRICS.register(
    "lipschitz_upper_product", higher_is_better=False, reference="Szegedy et al. 2014, arXiv:1312.6199, section 4.3"
)
def upper_product(model: nn.Module, images: Tensor) -> dict[str, float]:
    """Upper bound of the Lipschitz constant: product of the layers' certified norms, sums over branches.

    Infinite where a layer has no finite constant (mixture normalization). Only the shape of `images` is used.
    """
    from convbench.lipschitz import lipschitz_upper_product

    try:
        return {"": lipschitz_upper_product(model, _image_shape(images))}
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error


def _image_shape(images: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return channels, height, width
