"""CLEVER: an estimate of the smallest L2 perturbation that changes a network's decision. An estimate, never a bound.

Weng et al., "Evaluating the Robustness of Neural Networks: An Extreme Value Theory Approach", ICLR 2018,
https://arxiv.org/abs/1801.10578, algorithm 2 (untargeted as the minimum over the targets), for L2. For each target j
the local Lipschitz constant of the margin f_c - f_j is estimated as the end of the distribution of gradient norms in
a ball, from the maxima of batches of draws; the estimate of the radius is the margin divided by it. The gradient norms
of a piecewise linear network take few values: many fits degenerate, and the paper's own result is then arbitrary.
Here such a fit is replaced by the largest norm seen, and counted.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz.frozen_network import FrozenNetwork, freeze
from convbench.lipschitz.local_norms import BATCH, check_slopes, image_batches, pull
from convbench.lipschitz.reverse_weibull import fit_reverse_weibull
from convbench.runtime import stream_seed


@dataclass(frozen=True)
class Clever:
    """Of each image; targets are the classes that the network doesn't give it, K - 1 of them, in their order.

    Args:
        radius: the score, min over the targets of min(margin / constant, R), in L2 of images in [0, 1]; `(N,)`.
        constants: estimated local Lipschitz constants of the margins, `(N, K - 1)`.
        seen: the largest gradient norms that were seen, `(N, K - 1)`: true lower bounds.
        p_values: of the Kolmogorov-Smirnov tests of the fits, `(N, K - 1)`; 0 where there is none.
        failed: whether `constants` is only `seen`, bool `(N, K - 1)`.
    """

    radius: np.ndarray
    constants: np.ndarray
    seen: np.ndarray
    p_values: np.ndarray
    failed: np.ndarray


def clever_scores(
    model: nn.Module,
    images: Tensor,
    *,
    radius: float = 5.0,
    batches: int = 50,
    samples: int = 32,
    batch_size: int = BATCH,
) -> Clever:
    """The CLEVER score of each image, with the goodness of its fits.

    Draws are uniform in the L2 ball around the image, as in the paper not cut off to [0, 1]; each image has a private
    stream by its place. All K - 1 targets share the draws: K vector-Jacobian products for each.

    Args:
        model: from images in [0, 1] to logits `(N, K)`, K at least 2. It isn't changed.
        images: float in [0, 1], shape `(N, C, H, W)`, N at least 1.
        radius: R of the ball, above 0; no score is larger.
        batches: N_b, maxima for each fit, at least 2 (the paper: 500).
        samples: N_s, draws for each maximum (the paper: 1024).
        batch_size: draws at a time; it changes a value by rounding only.

    Raises:
        MetricNotDefinedError: as `frozen_network.freeze`; one class; a slope is NaN or infinite.
        ValueError: there are no images, or a number is out of its range.
    """
    if not radius > 0 or batches < 2 or samples < 1:
        raise ValueError(f"radius > 0, batches >= 2 and samples >= 1 are needed, got {radius}, {batches}, {samples}")
    frozen = freeze(model, images, least_classes=2)
    found = [
        _of_image(frozen, image, index, radius, batches, samples, batch_size) for index, image in enumerate(images)
    ]
    return Clever(*(np.stack(parts) for parts in zip(*found, strict=True)))


def _of_image(
    frozen: FrozenNetwork, image: Tensor, index: int, radius: float, batches: int, samples: int, batch_size: int
) -> tuple[np.ndarray, ...]:
    with torch.no_grad():
        logits = frozen.fast(frozen.prepare(image[None]))[0].double().cpu()
    if not torch.isfinite(logits).all():
        raise MetricNotDefinedError("the logits are NaN or infinite")
    c = int(logits.argmax())
    targets = [j for j in range(frozen.classes) if j != c]
    whole = torch.eye(frozen.classes, dtype=torch.float64)
    cotangents = whole[c] - whole[targets]
    generator = torch.Generator().manual_seed(stream_seed("clever", index))
    maxima = np.stack(
        [_largest(frozen, _ball(image, radius, samples, generator), cotangents, batch_size) for _ in range(batches)]
    )
    seen = maxima.max(0)
    fits = [fit_reverse_weibull(column) if column.min() > 0 else None for column in maxima.T]
    constants = np.array([largest if fit is None else fit.location for fit, largest in zip(fits, seen, strict=True)])
    margins = (logits[c] - logits[targets]).numpy()
    with np.errstate(divide="ignore", invalid="ignore"):  # a constant margin of 0 never changes the decision
        scores = np.where(constants > 0, margins / constants, np.inf)
    p_values = np.array([0.0 if fit is None else fit.p_value for fit in fits])
    failed = np.array([fit is None or fit.failed for fit in fits])
    return np.array(min(float(scores.min()), radius)), constants, seen, p_values, failed


def _largest(frozen: FrozenNetwork, draws: Tensor, cotangents: Tensor, batch_size: int) -> np.ndarray:
    """The largest ||grad (f_c - f_j)||_2 over the draws for each target: float64 `(K - 1,)`."""
    norms = []
    for part in image_batches(draws, batch_size):
        rows = pull(frozen.fast, frozen.prepare(part), cotangents)
        norms.append(torch.stack([row.flatten(1).double().norm(dim=1).cpu() for row in rows], 1))
        check_slopes(norms[-1])
    return torch.cat(norms).amax(0).numpy()


def _ball(image: Tensor, radius: float, count: int, generator: torch.Generator) -> Tensor:
    """`count` draws, uniform in the L2 ball of the radius around `image`, float32 `(count, C, H, W)` on the CPU."""
    directions = torch.randn(count, image.numel(), generator=generator)
    lengths = radius * torch.rand(count, 1, generator=generator) ** (1 / image.numel())
    offsets = directions * (lengths / directions.norm(dim=1, keepdim=True))
    return image.detach().cpu().float() + offsets.view(count, *image.shape)
