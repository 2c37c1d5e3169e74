"""How far confidence and accuracy lie apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convbench.metrics.contract import PREDICTION_METRICS

if TYPE_CHECKING:
    import torch

BINS = 15


@PREDICTION_METRICS.register(
    "ece", higher_is_better=False, reference="Guo et al. 2017, arXiv 1706.04599, eq. 3; 15 equal bins"
)
def ece(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Expected calibration error: Σ_b |B_b|/n · |accuracy(B_b) - mean confidence(B_b)|, in [0, 1].

    Bins are (b/15, (b+1)/15]; the first includes 0, so that a confidence of exactly 1 lies in the last bin. NaN where a
    logit is.
    """
    confidence, predicted = logits.double().softmax(dim=1).max(dim=1)
    if confidence.isnan().any():
        return math.nan
    bins = (confidence * BINS).ceil().sub(1).clamp(0, BINS - 1).long()
    gap = (predicted == labels).double() - confidence
    return float(confidence.new_zeros(BINS).index_add_(0, bins, gap).abs().sum() / len(labels))


@PREDICTION_METRICS.register(
    "brier",
    higher_is_better=False,
    reference="Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2",
)
def brier(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Brier score: mean over the images of Σ_k (p_k - [k = label])², in [0, 2]."""
    import torch.nn.functional as F

    p = logits.double().softmax(dim=1)
    return float((p - F.one_hot(labels, p.shape[1])).square().sum(dim=1).mean())
