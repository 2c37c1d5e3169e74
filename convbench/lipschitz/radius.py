"""What a Lipschitz bound certifies: how far an image may be moved before the class can change.

For the logits f with constant L, f_c - f_j changes by at most sqrt(2) L |x - y|, because |e_c - e_j|_2 = sqrt(2): the
class c stays while the margin f_c - max_j f_j is larger than sqrt(2) L eps. (Tsuzuku, Sato & Sugiyama 2018,
arXiv:1802.04034, proposition 1.) Without a constraint on L in training the radii are usually far below one grey level.
"""

import math

import torch
from torch import Tensor


def certified_radii(logits: Tensor, labels: Tensor, upper: float) -> Tensor:
    """Per image the L2 radius, in units of [0, 1] pixels, within which every image is classified as its label.

        r = max(0, f_c - max over j != c of f_j) / (sqrt(2) L)

    Args:
        logits: `(N, K)`, of clean images, K at least 2.
        labels: int64 `(N,)`.
        upper: L, a certified upper bound of the Lipschitz constant; infinity certifies nothing.

    Returns:
        float64 `(N,)`: 0 where the image is misclassified or its logits are NaN or infinite; infinity where the network
        is constant and right. Errors of the logits' own arithmetic aren't covered.

    Raises:
        ValueError: `upper` is negative or NaN, there is one class only, or the shapes don't fit.
    """
    if not upper >= 0:
        raise ValueError(f"a Lipschitz bound is at least 0, got {upper}")
    if logits.dim() != 2 or logits.shape[1] < 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} aren't (N, K) and (N,)")
    values = logits.detach().double().cpu()
    chosen = labels.cpu()[:, None]
    others = values.scatter(1, chosen, -math.inf).amax(1)
    margins = (values.gather(1, chosen)[:, 0] - others).nan_to_num(nan=0.0, posinf=0.0).clamp(min=0)
    if upper == 0:
        return torch.where(margins > 0, math.inf, 0.0).double()
    return margins / (math.sqrt(2) * upper)


def certified_accuracy(logits: Tensor, labels: Tensor, upper: float, eps: float) -> float:
    """Share of images that are classified as their label together with every image closer than `eps`.

    Usually 0 at radii such as 36/255: bounds of networks that weren't trained for it are far too large.

    Args:
        logits, labels, upper: as in `certified_radii`.
        eps: the radius, L2 over pixels in [0, 1], at least 0; at 0 this is the accuracy (a tie between two classes
            counts as an error).
    """
    if not eps >= 0:
        raise ValueError(f"a radius is at least 0, got {eps}")
    radii = certified_radii(logits, labels, 1.0 if eps == 0 else upper)
    kept = radii > 0 if eps == 0 else radii >= eps
    return float(kept.double().mean()) if len(radii) else math.nan
