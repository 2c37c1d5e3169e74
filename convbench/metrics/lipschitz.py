"""Bounds of a network's Lipschitz constant, as metrics.

Torch and the packages that compute the numbers are imported inside the functions: reading which way is better must
not cost seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.errors import MetricNotDefinedError
from convbench.metrics.contract import NETWORK_METRICS
from convbench.metrics.sharing import once

if TYPE_CHECKING:
    from torch import Tensor, nn


@NETWORK_METRICS.register(
    "lipschitz_lower_jacobian", higher_is_better=False, reference="largest local Jacobian norm over the images"
)
def lower_jacobian(model: nn.Module, images: Tensor, *, batch_size: int = 32) -> dict[str, float]:
    """Lower bound of the Lipschitz constant: the largest norm of the logits' Jacobian over the images."""
    from convbench.lipschitz import lipschitz_lower_jacobian

    try:
        return {"": lipschitz_lower_jacobian(model, images, batch_size=batch_size).value}
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error


@NETWORK_METRICS.register(
    "lipschitz_lower_pairs", higher_is_better=False, reference="Wood & Zhang 1996, doi:10.1007/BF00229304"
)
def lower_pairs(model: nn.Module, images: Tensor, *, noise: float = 0.01) -> dict[str, float]:
    """Lower bound of the Lipschitz constant: the largest ratio of distances over pairs of images, noise pairs included.

    Usually far below `lipschitz_lower_jacobian`; it is here because papers print it. `noise` is its standard deviation
    in [0, 1] pixels.
    """
    from convbench.lipschitz import lipschitz_lower_pairs

    try:
        return {"": lipschitz_lower_pairs(model, images, noise=noise).value}
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error


@NETWORK_METRICS.register(
    "lipschitz_lower_ascent", higher_is_better=False, reference="ascent on a smoothed network's local Jacobian norm"
)
def lower_ascent(model: nn.Module, images: Tensor, *, starts: int = 8, steps: int = 60) -> dict[str, float]:
    """Lower bound of the Lipschitz constant: the largest Jacobian norm that a search over [0, 1] images finds.

    At least the largest one over the images, from the steepest `starts` of which, and as many of noise, it begins.
    """
    from convbench.lipschitz import lipschitz_lower_ascent

    try:
        return {"": lipschitz_lower_ascent(model, images, starts=starts, steps=steps).value}
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error


@NETWORK_METRICS.register(
    "lipschitz_upper_product", higher_is_better=False, reference="Szegedy et al. 2014, arXiv:1312.6199, section 4.3"
)
def upper_product(model: nn.Module, images: Tensor) -> dict[str, float]:
    """Upper bound of the Lipschitz constant: product of the layers' certified norms, sums over branches.

    Infinite where a layer has no finite constant (mixture normalization). Only the shape of `images` is used.
    """
    return {"": _upper_product(model, images)}


@NETWORK_METRICS.register(
    "lipschitz_upper_averaged", higher_is_better=False, reference="Combettes & Pesquet 2020, SIAM J. Math. Data Sci. 2"
)
def upper_averaged(model: nn.Module, images: Tensor, *, steps: int = 1) -> dict[str, float]:
    """Upper bound of the Lipschitz constant, certified: several layers at once, activations as averaged maps.

    At most `lipschitz_upper_product`, and far below it for residual networks of convolutions and batch normalization;
    equal to it where layers can't be composed (ConvNorm, normalizations of each image). `steps` is how far back each
    result is traced. Only the shape of `images` is used.
    """
    from convbench.lipschitz import lipschitz_upper_averaged

    try:
        return {"": lipschitz_upper_averaged(model, _image_shape(images), steps=steps)}
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error


@NETWORK_METRICS.register(
    "certified_accuracy", higher_is_better=True, labels=True, reference="Tsuzuku et al. 2018, arXiv:1802.04034, prop. 1"
)
def certified_accuracy(model: nn.Module, images: Tensor, labels: Tensor, *, eps: float = 36 / 255) -> dict[str, float]:
    """Share of images that no change of L2 size `eps` makes wrong, by `lipschitz_upper_product`; usually 0.

    It is a statement about the bound: 0 says that the bound is too large to certify anything.
    """
    import torch

    from convbench.lipschitz import certified_accuracy as share

    with torch.no_grad():
        logits = model(images)
    try:
        return {"": share(logits, labels, _upper_product(model, images), eps)}
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error


def _upper_product(model: nn.Module, images: Tensor) -> float:
    from convbench.lipschitz import lipschitz_upper_product

    shape = _image_shape(images)
    try:
        return once(("upper product", shape), lambda _: lipschitz_upper_product(model, shape))
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error


def _image_shape(images: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return channels, height, width
