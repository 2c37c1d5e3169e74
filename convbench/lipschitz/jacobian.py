"""A lower bound of a network's Lipschitz constant: its largest local slope over given images.

Where f is differentiable, ||J_f(x)||_2 at any x is at most the Lipschitz constant. For K logits J is K x D: K
vector-Jacobian products give it exactly, and its norm is a K x K eigenproblem. Many classes are iterated instead, and
the value stays below. (ReLU networks are differentiable almost everywhere; on a kink PyTorch chooses the slope.)
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convbench.errors import MetricNotDefinedError

_CHUNK_BYTES = 128 * 2**20
_POWER_STEPS = 30
_SEED = 0


@dataclass(frozen=True)
class LocalJacobian:
    """The largest local Jacobian norm found, and the index of the image that attains it."""

    value: float
    image: int


def lipschitz_lower_jacobian(
    model: nn.Module, images: Tensor, *, batch_size: int = 64, max_exact_classes: int = 200
) -> LocalJacobian:
    """max over the images of ||J(x)||_2, J the Jacobian of the logits with respect to the image, in evaluation mode.

    The image is chosen in the model's own precision, its norm is then computed in float64: compared with an upper
    bound in float64, rounding can't turn the order round.

    Args:
        model: from images in [0, 1] to logits `(N, K)`. It isn't changed.
        images: float in [0, 1], shape `(N, C, H, W)`, N at least 1.
        batch_size: images at a time, fewer where their Jacobians wouldn't fit into 128 MiB.
        max_exact_classes: more classes are handled by power iteration, from below.

    Raises:
        MetricNotDefinedError: logits or slopes are NaN or infinite, or the network isn't differentiable.
        ValueError: there are no images.
    """
    if len(images) == 0:
        raise ValueError("the local Jacobian needs at least one image")
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    first = next((t for t in (*twin.parameters(), *twin.buffers()) if t.is_floating_point()), images)
    images = images.detach().to(device=first.device, dtype=first.dtype)
    exact = max_exact_classes
    norms = torch.cat([_jacobian_norms(twin, part, exact) for part in _batches(twin, images, batch_size, exact)])
    if not torch.isfinite(norms).all():
        raise MetricNotDefinedError("the Jacobian of the logits is NaN or infinite")
    index = int(norms.argmax())
    twin = twin.to(device="cpu", dtype=torch.float64)
    image = images[index : index + 1].to(device="cpu", dtype=torch.float64)
    return LocalJacobian(float(_jacobian_norms(twin, image, exact)), index)


def _batches(model: nn.Module, images: Tensor, batch_size: int, exact: int) -> tuple[Tensor, ...]:
    with torch.no_grad():
        logits = model(images[:1])
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise MetricNotDefinedError("the network doesn't return logits of shape (N, K)")
    rows = min(logits.shape[1], exact)
    return images.split(min(batch_size, max(1, _CHUNK_BYTES // (rows * images[0].nbytes))))


def _jacobian_norms(model: nn.Module, images: Tensor, exact: int) -> Tensor:
    """||J(x)||_2 for each image: float64 `(N,)`; from below where the network has more than `exact` logits."""
    with torch.enable_grad():
        x = images.clone().requires_grad_()
        logits = model(x)
        if not logits.requires_grad:  # the logits don't depend on the image
            return torch.zeros(len(images), dtype=torch.float64)
        try:
            power = logits.shape[1] > exact
            return _norms_by_power_iteration(logits, x) if power else _norms_by_rows(logits, x)
        except RuntimeError as error:
            raise MetricNotDefinedError(f"the network isn't differentiable: {error}") from error


def _norms_by_rows(logits: Tensor, x: Tensor) -> Tensor:
    rows = [torch.autograd.grad(logits[:, k].sum(), x, retain_graph=True)[0].flatten(1) for k in range(logits.shape[1])]
    jacobian = torch.stack(rows, 1).double()
    if not torch.isfinite(jacobian).all():
        return torch.full((len(x),), torch.nan, dtype=torch.float64)
    return torch.linalg.eigvalsh(jacobian @ jacobian.mT)[:, -1].clamp(min=0).sqrt().cpu()


def _norms_by_power_iteration(logits: Tensor, x: Tensor) -> Tensor:
    """||J v|| for the unit vector v after some steps v <- J^T J v: never above the norm."""
    u = torch.zeros_like(logits, requires_grad=True)
    pulled = torch.autograd.grad(logits, x, u, create_graph=True)[0]  # J^T u, linear in u: its derivative is J
    generator = torch.Generator().manual_seed(_SEED)
    v = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
    norms = torch.zeros(len(x))
    for _ in range(_POWER_STEPS):
        v = v / v.flatten(1).norm(dim=1).clamp(min=torch.finfo(v.dtype).tiny).view(-1, 1, 1, 1)
        image = torch.autograd.grad(pulled, u, v, retain_graph=True)[0]
        norms = image.norm(dim=1)
        v = torch.autograd.grad(logits, x, image, retain_graph=True)[0]
    return norms.detach().double().cpu()
