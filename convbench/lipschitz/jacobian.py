"""A lower bound of a network's Lipschitz constant: its largest local slope over given images.

Where f is differentiable, ||J_f(x)||_2 at any x is at most the Lipschitz constant. (ReLU networks are differentiable
almost everywhere; on a kink PyTorch chooses the slope.)
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convbench.lipschitz.frozen_network import FrozenNetwork, freeze
from convbench.lipschitz.local_norms import (
    BATCH,
    MAX_EXACT,
    check_slopes,
    exact_norm_at,
    grams,
    norms_at,
    top_singular_value,
)

_PILOT = 64  # images whose Jacobians are taken whole before a screen is trusted
_SHARE = 0.75  # of the norm that a screen must show of every pilot image
_SAFETY = 1.1


@dataclass(frozen=True)
class LocalJacobian:
    """The largest local Jacobian norm found, and the index of the image that attains it."""

    value: float
    image: int


def lipschitz_lower_jacobian(
    model: nn.Module,
    images: Tensor,
    *,
    batch_size: int = BATCH,
    max_exact_classes: int = MAX_EXACT,
    screen: bool = True,
) -> LocalJacobian:
    """max over the images of ||J(x)||_2, J the Jacobian of the logits with respect to the image, in evaluation mode.

    The image is chosen in the model's own precision, its norm is then computed in float64: compared with an upper
    bound in float64, rounding can't turn the order round.

    Args:
        model: from images in [0, 1] to logits `(N, K)`. It isn't changed.
        images: float in [0, 1], shape `(N, C, H, W)`, N at least 1.
        batch_size: images at a time, fewer where their Jacobians wouldn't fit into 128 MiB.
        max_exact_classes: more classes are handled by the Lanczos iteration, from below.
        screen: with more than 128 images, take the whole Jacobian only where a part of its rows leaves the maximum
            possible by what was seen of the other images. That isn't a proof: an image can be missed, the value is a
            lower bound all the same. False takes every Jacobian whole.

    Raises:
        MetricNotDefinedError: as `frozen_network.freeze`; or a slope is NaN or infinite.
        ValueError: there are no images.
    """
    frozen = freeze(model, images)
    index = int(large_norms(frozen, images, batch_size, max_exact_classes, screen).argmax())
    return LocalJacobian(exact_norm_at(frozen, images[index], max_exact_classes), index)


def large_norms(
    frozen: FrozenNetwork, images: Tensor, batch_size: int, max_exact_classes: int = MAX_EXACT, screen: bool = True
) -> Tensor:
    """||J(x)||_2 of the fast copy, float64 `(N,)`; by a screen, 0 where the maximum is not expected.

    Raises:
        MetricNotDefinedError: a slope is NaN or infinite.
    """
    if screen and len(images) > 2 * _PILOT and frozen.classes <= max_exact_classes:
        return _screened_norms(frozen, images, batch_size)
    norms = norms_at(frozen, images, batch_size, max_exact_classes)
    check_slopes(norms)
    return norms


def _screened_norms(frozen: FrozenNetwork, images: Tensor, batch_size: int) -> Tensor:
    """||J(x)||_2 where it was taken, 0 where the maximum is not expected: float64 `(N,)`.

    The leading left singular vectors of the logits' Jacobian differ little from image to image. Q, the leading
    eigenvectors of the mean J J^T of some images, shows a large share ||Q^T J(x)|| / ||J(x)|| of each image's norm for
    a few products instead of K; the smallest share seen so far says which images can still hold the maximum.
    """
    n, whole = len(images), torch.eye(frozen.classes, dtype=torch.float64)
    norms = torch.zeros(n, dtype=torch.float64)
    pilot = torch.linspace(0, n - 1, _PILOT).round().long()
    gram = torch.cat(list(grams(frozen, images[pilot.to(images.device)], whole, batch_size)))
    norms[pilot] = top_singular_value(gram)
    check_slopes(norms)
    directions, share = _directions(gram)
    parts = torch.cat([top_singular_value(part) for part in grams(frozen, images, directions, batch_size)])
    check_slopes(parts)
    known = torch.zeros(n, dtype=torch.bool)
    known[pilot] = True
    while True:
        possible = torch.nonzero(~known & (_SAFETY * parts > share * norms.max())).flatten()
        if len(possible) == 0:
            return norms
        taken = possible[parts[possible].argsort(descending=True, stable=True)[:batch_size]]
        norms[taken] = norms_at(frozen, images[taken.to(images.device)], batch_size, frozen.classes)
        check_slopes(norms)
        known[taken] = True
        share = min(share, float((parts[taken] / norms[taken].clamp(min=torch.finfo(torch.float64).tiny)).min()))


def _directions(gram: Tensor) -> tuple[Tensor, float]:
    """The fewest leading eigenvectors (K, m) of the mean of `gram` (N, K, K) that show `_SHARE` of every norm."""
    leading = torch.linalg.eigh(gram.mean(0)).eigenvectors.flip(1)
    norms = top_singular_value(gram).clamp(min=torch.finfo(torch.float64).tiny)
    for m in range(1, gram.shape[1] + 1):
        directions = leading[:, :m]
        share = float((top_singular_value(directions.T @ gram @ directions) / norms).min())
        if share >= _SHARE:
            return directions, share
    return leading, 1.0  # a constant network has no share
