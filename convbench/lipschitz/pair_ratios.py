"""A lower bound of a network's Lipschitz constant from pairs of images: the steepest chord."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz.frozen_network import FrozenNetwork, freeze, in_float64
from convbench.lipschitz.local_norms import BATCH
from convbench.runtime import stream_seed

_ROWS = 256  # images whose distances to all others are held at once


@dataclass(frozen=True)
class SteepestPair:
    """The largest ratio found; both images, `second` being None where it is the first with noise added."""

    value: float
    first: int
    second: int | None


def lipschitz_lower_pairs(
    model: nn.Module, images: Tensor, *, noise: float = 0.01, batch_size: int = BATCH
) -> SteepestPair:
    """max ||f(x) - f(y)||_2 / ||x - y||_2 over all pairs of images, and over each image and itself with small noise.

    By the mean value theorem a ratio is at most the largest local slope on the segment between both images, which need
    not be at either end; random noise hardly ever points into the steepest direction. So this is usually far below
    `lipschitz_lower_jacobian`, and it asks nothing of the network, not even that it is differentiable. The pair is
    chosen in the model's own precision, its ratio is computed in float64.

    Args:
        model: from images in [0, 1] to logits `(N, K)`. It isn't changed.
        images: float in [0, 1], shape `(N, C, H, W)`, N at least 1. Equal images make no pair.
        noise: standard deviation of the noise of a pixel, before the result is cut off to [0, 1]; one draw for each
            image, from a private stream; 0 leaves these pairs out.
        batch_size: images at a time.

    Raises:
        MetricNotDefinedError: as `frozen_network.freeze`; a logit is NaN or infinite; there are no two images.
        ValueError: there are no images.
    """
    frozen = freeze(model, images, differentiable=False)
    logits = _logits(frozen, images, batch_size)
    pairs: list[tuple[int, int | None] | None] = [_steepest_chord(logits, images.detach().cpu())]
    noisy = with_noise(images, noise)
    if noise > 0:
        pairs.append(_steepest_noise(logits, _logits(frozen, noisy, batch_size), images, noisy))
    found = [pair for pair in pairs if pair is not None]
    if not found:
        raise MetricNotDefinedError("a ratio of distances needs two images that differ")
    ratios = []
    for first, second in found:
        x = in_float64(images[first : first + 1])
        y = in_float64(noisy[first : first + 1] if second is None else images[second : second + 1])
        with torch.no_grad():
            rise = frozen.exact(x) - frozen.exact(y)
        ratios.append(SteepestPair(float(rise.norm() / (x - y).norm()), first, second))
    return max(ratios, key=lambda pair: pair.value)


def with_noise(images: Tensor, std: float) -> Tensor:
    """`images` with Gaussian noise, within [0, 1], on the CPU; an image's noise depends on its place only."""
    generator = torch.Generator().manual_seed(stream_seed("noise of pairs"))
    draws = [torch.randn(images.shape[1:], generator=generator) for _ in images]
    return (images.detach().cpu() + std * torch.stack(draws)).clamp(0, 1)


def _logits(frozen: FrozenNetwork, images: Tensor, batch_size: int) -> Tensor:
    with torch.no_grad():
        logits = torch.cat([frozen.fast(frozen.prepare(part)).cpu().double() for part in images.split(batch_size)])
    if not torch.isfinite(logits).all():
        raise MetricNotDefinedError("the logits are NaN or infinite")
    return logits


def _steepest_chord(logits: Tensor, images: Tensor) -> tuple[int, int] | None:
    """The pair of different images with the largest ratio."""
    pixels, best, found = images.flatten(1), 0.0, None
    for start in range(0, len(pixels), _ROWS):
        rows, later = slice(start, start + _ROWS), slice(start, None)  # each pair once
        # Differences are formed, not inner products: these would lose the digits of close images.
        runs = torch.cdist(pixels[rows], pixels[later], compute_mode="donot_use_mm_for_euclid_dist")
        rises = torch.cdist(logits[rows], logits[later], compute_mode="donot_use_mm_for_euclid_dist")
        ratios = torch.where(runs > 0, rises / runs, -1.0)
        value, place = ratios.flatten().max(0)
        if value > best or (found is None and value >= 0):
            row, column = divmod(int(place), ratios.shape[1])
            best, found = float(value), (start + row, start + column)
    return found


def _steepest_noise(logits: Tensor, noisy_logits: Tensor, images: Tensor, noisy: Tensor) -> tuple[int, None] | None:
    runs = (images.detach().cpu().double() - noisy.double()).flatten(1).norm(dim=1)
    ratios = torch.where(runs > 0, (logits - noisy_logits).norm(dim=1) / runs, -1.0)
    index = int(ratios.argmax())
    return (index, None) if ratios[index] >= 0 else None
