"""||J(x)||_2, the local Lipschitz constant of the logits at an image, for many images.

For K logits J is K x D: K vector-Jacobian products over a batch give it exactly, and its norm is a K x K eigenproblem.
Many classes are iterated on the K-dimensional side instead, and the value stays below.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz.frozen_network import FrozenNetwork, freeze, in_float64
from convbench.runtime import stream_seed

BATCH = 32  # images at a time: their activations stay in the cache of a CPU
MAX_EXACT = 200  # logits; more are iterated
_LANCZOS_STEPS = 20
_CHUNK_BYTES = 128 * 2**20
_MOST_VALUES = 2**20  # of the images of a batch: 341 of 3 x 32 x 32, 6 of 3 x 224 x 224


def local_jacobian_norms(
    model: nn.Module, images: Tensor, *, batch_size: int = BATCH, max_exact_classes: int = MAX_EXACT
) -> Tensor:
    """||J(x)||_2 for each image x, J the Jacobian of the logits with respect to the image, in evaluation mode.

    L2 of the logits over L2 of the pixels in [0, 1]. At a kink of a ReLU network PyTorch chooses the slope. Computed
    in the model's own precision; a different batch size changes a value by rounding only.

    Args:
        model: from images in [0, 1] to logits `(N, K)`. It isn't changed.
        images: float in [0, 1], shape `(N, C, H, W)`, N at least 1.
        batch_size: images at a time, fewer where their Jacobians wouldn't fit into 128 MiB.
        max_exact_classes: more classes are handled by 20 steps of the Lanczos iteration (Golub & Kahan 1965), whose
            value is at most the norm.

    Returns:
        float64, shape `(N,)`.

    Raises:
        MetricNotDefinedError: as `frozen_network.freeze`; or a slope is NaN or infinite.
        ValueError: there are no images.
    """
    frozen = freeze(model, images)
    norms = norms_at(frozen, images, batch_size, max_exact_classes)
    check_slopes(norms)
    return norms


def check_slopes(values: Tensor) -> None:
    """Raise where a slope is NaN or infinite."""
    if not torch.isfinite(values).all():
        raise MetricNotDefinedError("the Jacobian of the logits is NaN or infinite")


def norms_at(
    frozen: FrozenNetwork, images: Tensor, batch_size: int = BATCH, max_exact_classes: int = MAX_EXACT
) -> Tensor:
    """||J(x)||_2 of the fast copy: float64 `(N,)` on the CPU; NaN where the Jacobian isn't finite."""
    if frozen.classes > max_exact_classes:
        parts = (frozen.prepare(part) for part in image_batches(images, batch_size))
        return torch.cat([lanczos_norms(frozen.fast, part, frozen.classes) for part in parts])
    directions = torch.eye(frozen.classes, dtype=torch.float64)
    return torch.cat([top_singular_value(gram) for gram in grams(frozen, images, directions, batch_size)])


def exact_norm_at(frozen: FrozenNetwork, image: Tensor, max_exact_classes: int = MAX_EXACT) -> float:
    """||J(x)||_2 of the float64 copy at one image `(C, H, W)`."""
    x = in_float64(image[None])
    if frozen.classes > max_exact_classes:
        return float(lanczos_norms(frozen.exact, x, frozen.classes))
    rows = pulled_rows(frozen.exact, x, torch.eye(frozen.classes, dtype=torch.float64))
    check_slopes(rows)
    return float(torch.linalg.svdvals(rows[0])[0])


def grams(frozen: FrozenNetwork, images: Tensor, directions: Tensor, batch_size: int) -> Iterator[Tensor]:
    """(Q^T J(x)) (Q^T J(x))^T for the columns of Q, batch by batch: float64 `(B, m, m)` on the CPU.

    Args:
        directions: Q, shape `(K, m)`: m vector-Jacobian products per image.
    """
    size = min(batch_size, max(1, _CHUNK_BYTES // (8 * directions.shape[1] * images[0].numel())))
    for part in image_batches(images, size):
        rows = pulled_rows(frozen.fast, frozen.prepare(part), directions).double()
        yield (rows @ rows.mT).cpu()


def image_batches(images: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """`images` in parts of at most `batch_size`, fewer where they are large: activations grow with the pixels."""
    return images.split(min(batch_size, max(1, _MOST_VALUES // images[0].numel())))


def top_singular_value(gram: Tensor) -> Tensor:
    """||A||_2 from A A^T, shape `(N, m, m)` -> `(N,)`; NaN where the entries aren't finite."""
    finite = torch.isfinite(gram).all(-1).all(-1)
    norms = torch.full((len(gram),), torch.nan, dtype=torch.float64)
    norms[finite] = torch.linalg.eigvalsh(gram[finite])[:, -1].clamp(min=0).sqrt()
    return norms


def pulled_rows(network: nn.Module, x: Tensor, directions: Tensor) -> Tensor:
    """Q^T J(x), shape `(N, m, D)`, for the columns of `directions` (K, m)."""
    return torch.stack([row.flatten(1) for row in pull(network, x, directions.T)], 1)


def pull(network: nn.Module, x: Tensor, cotangents: Tensor) -> Iterator[Tensor]:
    """The gradient in the image of <q, logits>, (N, C, H, W), for each q of `cotangents`, (m, K) or (m, N, K)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = network(x)
    for place, q in enumerate(cotangents.to(logits)):
        if not logits.requires_grad:  # the logits don't depend on the image
            yield torch.zeros_like(x)
            continue
        try:
            more = place + 1 < len(cotangents)
            yield torch.autograd.grad(logits, x, q.expand_as(logits), retain_graph=more)[0]
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            raise MetricNotDefinedError(f"the network isn't differentiable: {reason}") from error


def lanczos_norms(network: nn.Module, x: Tensor, classes: int, steps: int = _LANCZOS_STEPS) -> Tensor:
    """||J(x)||_2 from below: ||J^T u|| for the best unit vector u of a Krylov space of J J^T, float64 `(N,)`.

    Each step is one vector-Jacobian and one Jacobian-vector product of the whole batch; the basis is kept orthogonal
    in the K-dimensional space. All images start from one vector, so that none depends on its batch.
    """
    generator = torch.Generator().manual_seed(stream_seed("lanczos", classes))
    start = torch.randn(classes, generator=generator, dtype=torch.float64).to(x)
    try:
        products = Products(network, x)
        u = (start / start.norm()).expand(len(x), -1)
        basis, images = [], []
        for _ in range(min(steps, classes)):
            basis.append(u)
            images.append(products.jvp(products.vjp(u)))  # J J^T u
            u = _unit(_without(_without(images[-1], basis), basis))  # twice, against rounding
        q = torch.stack(basis, 2).double()
        ritz = q.mT @ torch.stack(images, 2).double()
        if not torch.isfinite(ritz).all():
            return torch.full((len(x),), torch.nan, dtype=torch.float64)
        y = torch.linalg.eigh((ritz + ritz.mT) / 2).eigenvectors[:, :, -1:]
        best = _unit((q @ y).squeeze(2)).to(x)
        length = best.double().norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
        return (products.vjp(best).flatten(1).double().norm(dim=1) / length).cpu()
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise MetricNotDefinedError(f"the network isn't twice differentiable: {reason}") from error


class Products:
    """J(x) and its transpose as operators for a batch of images, after one forward and one backward pass.

    J^T u is linear in u, and its derivative is J: reverse mode twice, which costs what forward mode does and asks less
    of a user's own modules.
    """

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        with torch.enable_grad():
            self._x = x.detach().requires_grad_()
            self._logits = network(self._x)
            self._u = torch.zeros_like(self._logits, requires_grad=True)
            constant = not self._logits.requires_grad
            self._pulled = None if constant else torch.autograd.grad(self._logits, self._x, self._u, create_graph=True)

    def vjp(self, u: Tensor) -> Tensor:
        """J^T u: `(N, K)` -> `(N, C, H, W)`."""
        if self._pulled is None:
            return torch.zeros_like(self._x)
        return torch.autograd.grad(self._logits, self._x, u, retain_graph=True)[0]

    def jvp(self, v: Tensor) -> Tensor:
        """J v: `(N, C, H, W)` -> `(N, K)`."""
        if self._pulled is None:
            return torch.zeros_like(self._u)
        return torch.autograd.grad(self._pulled, self._u, v, retain_graph=True)[0]


def _without(vectors: Tensor, basis: list[Tensor]) -> Tensor:
    for other in basis:
        vectors = vectors - (other * vectors).sum(1, keepdim=True) * other
    return vectors


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)
