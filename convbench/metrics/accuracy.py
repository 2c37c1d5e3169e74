"""Accuracy and its 95 % Wilson score interval; negative log-likelihood."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convbench.metrics.contract import PREDICTION_METRICS

if TYPE_CHECKING:
    import torch

Z_95 = 1.959963984540054  # the normal quantile at 0.975
_WILSON = "Wilson 1927, JASA 22(158), doi:10.1080/01621459.1927.10502953"


def wilson_interval(correct: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a share: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), p = correct/n.

    Args:
        correct: successes, in [0, n].
        n: trials, at least 1; with none the interval is [0, 1].
    """
    if n == 0:
        return 0.0, 1.0
    p = correct / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # Rounding must not push the ends past the share itself: 0 of n starts at exactly 0, n of n ends at 1.
    low = 0.0 if correct == 0 else (centre - half) / (1 + z * z / n)
    high = 1.0 if correct == n else (centre + half) / (1 + z * z / n)
    return low, high


def _correct(logits: torch.Tensor, labels: torch.Tensor) -> int:
    return int((logits.argmax(dim=1) == labels).sum())


@PREDICTION_METRICS.register("accuracy", higher_is_better=True, reference="top-1, share of images")
def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images whose largest logit is the label's, in [0, 1]."""
    return _correct(logits, labels) / len(labels)


@PREDICTION_METRICS.register("accuracy_lower", higher_is_better=True, reference=_WILSON)
def accuracy_lower(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Lower end of the 95 % Wilson interval of the accuracy, in [0, 1]."""
    return wilson_interval(_correct(logits, labels), len(labels))[0]


@PREDICTION_METRICS.register("accuracy_upper", higher_is_better=True, reference=_WILSON)
def accuracy_upper(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Upper end of the 95 % Wilson interval of the accuracy, in [0, 1]."""
    return wilson_interval(_correct(logits, labels), len(labels))[1]


@PREDICTION_METRICS.register("nll", higher_is_better=False, reference="mean cross-entropy, in nats")
def nll(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean negative log-likelihood of the labels under softmax(logits), in nats, at least 0."""
    import torch.nn.functional as F

    return float(F.cross_entropy(logits.double(), labels))
