"""A lower bound of a network's Lipschitz constant: the largest local slope that a search over [0, 1] images finds."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz.frozen_network import FrozenNetwork, freeze
from convbench.lipschitz.jacobian import large_norms
from convbench.lipschitz.local_norms import BATCH, MAX_EXACT, exact_norm_at, image_batches, norms_at
from convbench.lipschitz.smoothing import SmoothedRelus
from convbench.runtime import stream_seed

_BETAS = (10.0, 130.0)
_STEP_LENGTHS = (0.018, 0.00036)  # root mean square change of a pixel, at the first and the last step
_STEPS_APART = 10  # between two looks at the slope of the network itself


@dataclass(frozen=True)
class SteepestImage:
    """The largest local Jacobian norm found, the image `(C, H, W)` that attains it, and the largest of the data."""

    value: float
    image: Tensor
    data_value: float


def lipschitz_lower_ascent(
    model: nn.Module,
    images: Tensor,
    *,
    starts: int = 8,
    steps: int = 60,
    batch_size: int = BATCH,
    max_exact_classes: int = MAX_EXACT,
) -> SteepestImage:
    """max ||J(x)||_2 over images x in [0, 1] that a gradient ascent visits; at least the maximum over the data.

    The Jacobian of a ReLU network is piecewise constant: its norm has the gradient 0 almost everywhere. So the ascent
    is on u^T J_beta(x) v of a smoothed network (`SmoothedRelus`, beta from 10 to 130), u and v following the leading
    singular pair by one power step each time; every 10 steps and at the end the norm of the network itself is taken,
    and the largest one seen is the result, in float64. Every value is a lower bound, however the search went.

    Args:
        model: from images in [0, 1] to logits `(N, K)`. It isn't changed.
        images: float in [0, 1], shape `(N, C, H, W)`, N at least 1.
        starts: the search begins at so many images, those with the largest norms, and at as many of uniform noise.
        steps: of the ascent, each about 7 forward passes.
        batch_size: images at a time; it changes the search by rounding only.
        max_exact_classes: as `lipschitz_lower_jacobian`.

    Raises:
        MetricNotDefinedError: as `frozen_network.freeze`; a slope is NaN or infinite at an image; the network isn't
            twice differentiable.
        ValueError: there are no images, or a number is out of its range.
    """
    if starts < 1 or steps < 0:
        raise ValueError(f"starts >= 1 and steps >= 0 are needed, got {starts} and {steps}")
    frozen = freeze(model, images)
    norms = large_norms(frozen, images, batch_size, max_exact_classes)
    steepest = norms.argsort(descending=True, stable=True)[:starts].to(images.device)
    data_value = exact_norm_at(frozen, images[norms.argmax().to(images.device)], max_exact_classes)
    begin = torch.cat([images[steepest].detach().cpu().float(), _noise(images[0], starts)])
    best, best_norm = begin[:0], begin.new_zeros(0, dtype=torch.float64)
    for part in image_batches(begin, batch_size):
        found, reached = _ascend(frozen, part, steps, max_exact_classes)
        best, best_norm = torch.cat([best, found]), torch.cat([best_norm, reached])
    image = best[best_norm.argmax()]
    value = exact_norm_at(frozen, image, max_exact_classes)
    if value <= data_value:
        return SteepestImage(data_value, images[norms.argmax().to(images.device)].detach().cpu(), data_value)
    return SteepestImage(value, image, data_value)


def _noise(like: Tensor, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(stream_seed("starts of the ascent"))
    return torch.stack([torch.rand(like.shape, generator=generator) for _ in range(count)])


def _ascend(frozen: FrozenNetwork, begin: Tensor, steps: int, max_exact_classes: int) -> tuple[Tensor, Tensor]:
    """The steepest image on the way from each of `begin`, and ||J|| there."""
    x = frozen.prepare(begin)
    best, best_norm = x, norms_at(frozen, x, len(x), max_exact_classes).nan_to_num()
    generator = torch.Generator().manual_seed(stream_seed("left singular vector", frozen.classes))
    u = torch.randn(frozen.classes, generator=generator).to(x).expand(len(x), -1)
    for step in range(steps):
        progress = step / max(steps - 1, 1)
        uphill, u = _uphill(frozen.fast, x, u, _between(_BETAS, progress))
        length = x[0].numel() ** 0.5 * _between(_STEP_LENGTHS, progress)
        x = (x + length * _unit(uphill)).clamp(0, 1)
        if (step + 1) % _STEPS_APART == 0 or step + 1 == steps:
            norms = norms_at(frozen, x, len(x), max_exact_classes)
            better = norms > best_norm  # a slope of NaN isn't
            best = torch.where(better.to(x.device).view(-1, 1, 1, 1), x, best)
            best_norm = torch.where(better, norms, best_norm)
    return best.cpu(), best_norm


def _between(ends: tuple[float, float], progress: float) -> float:
    """Geometrically from the first to the second as `progress` goes from 0 to 1."""
    return ends[0] * (ends[1] / ends[0]) ** progress


def _uphill(network: nn.Module, x: Tensor, u: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The gradient of ||J_beta(x)^T u|| in x, and J_beta v for v = J_beta^T u / ||J_beta^T u||, of length 1."""
    with torch.enable_grad(), SmoothedRelus(beta):
        x = x.detach().requires_grad_()
        u = _unit(u.detach()).requires_grad_()
        logits = network(x)
        if not logits.requires_grad:
            return torch.zeros_like(x), u.detach()
        row = torch.autograd.grad(logits, x, u, create_graph=True)[0]
        slope = (row * _unit(row.detach())).sum()
        try:
            uphill, left = torch.autograd.grad(slope, (x, u), allow_unused=True)
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            raise MetricNotDefinedError(f"the network isn't twice differentiable: {reason}") from error
    uphill = torch.zeros_like(x) if uphill is None else torch.nan_to_num(uphill, posinf=0.0, neginf=0.0)
    if left is None:  # linear in u, and yet without a derivative
        raise MetricNotDefinedError("the network isn't twice differentiable: no gradient of its slopes")
    return uphill, torch.where(left.any(1, keepdim=True), _unit(left), u.detach())  # no direction: the one before


def _unit(values: Tensor) -> Tensor:
    """Each of (N, ...) divided by its L2 norm; 0 stays 0."""
    norms = values.flatten(1).norm(dim=1).clamp(min=torch.finfo(values.dtype).tiny)
    return values / norms.view(-1, *[1] * (values.dim() - 1))
