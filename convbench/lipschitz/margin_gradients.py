"""Slopes of the margins of a network at images: what a small change of the image does to the decision."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convbench.lipschitz.frozen_network import freeze
from convbench.lipschitz.local_norms import BATCH, check_slopes, image_batches, pull


@dataclass(frozen=True)
class MarginGradients:
    """Of each image: c is the class that the network gives it, f the logits, the maximum over all other classes j.

    Args:
        l2: max_j ||grad (f_c - f_j)||_2, the local slope of a margin per unit of L2; float64 `(N,)`.
        linf: max_j ||grad (f_c - f_j)||_1, the same per unit of the L-infinity distance; float64 `(N,)`.
        predicted: c, int64 `(N,)`.
    """

    l2: Tensor
    linf: Tensor
    predicted: Tensor


def margin_gradients(model: nn.Module, images: Tensor, *, batch_size: int = BATCH) -> MarginGradients:
    """The steepest margin at each image, in logits per unit of distance between images in [0, 1].

    The margin f_c - f_j reaches 0 where the decision falls to j; the dual norm of its gradient is its local Lipschitz
    constant (Hein & Andriushchenko 2017, arXiv:1705.08475, theorem 2.1, whose constants over a ball these bound from
    below). ||grad (f_c - f_j)||_2 is at most sqrt(2) ||J||_2. Exact for any number of classes: one vector-Jacobian
    product for each.

    Args:
        model: from images in [0, 1] to logits `(N, K)`, K at least 2. It isn't changed.
        images: float in [0, 1], shape `(N, C, H, W)`, N at least 1.
        batch_size: images at a time; it changes a value by rounding only.

    Raises:
        MetricNotDefinedError: as `frozen_network.freeze`; one class; a slope is NaN or infinite.
        ValueError: there are no images.
    """
    frozen = freeze(model, images, least_classes=2)
    l2, linf, predicted = [], [], []
    for part in image_batches(images, batch_size):
        x = frozen.prepare(part)
        with torch.no_grad():
            best = frozen.fast(x).argmax(1)
        whole = torch.eye(frozen.classes, dtype=x.dtype, device=x.device)
        steepest = torch.zeros(2, len(x), dtype=torch.float64)
        cotangents = whole[best] - whole[:, None]  # (K, N, K): e_c - e_j, 0 for j = c
        for row in pull(frozen.fast, x, cotangents):
            row = row.flatten(1).double()
            slopes = torch.stack([row.norm(dim=1), row.norm(p=1, dim=1)]).cpu()
            steepest = torch.maximum(steepest, slopes)  # keeps NaN
        l2.append(steepest[0])
        linf.append(steepest[1])
        predicted.append(best.cpu())
    result = MarginGradients(torch.cat(l2), torch.cat(linf), torch.cat(predicted))
    check_slopes(result.l2)
    check_slopes(result.linf)
    return result
