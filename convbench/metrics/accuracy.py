"""Accuracy and its 95 % Wilson score interval; negative log-likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.metrics.contract import PREDICTION_METRICS

if TYPE_CHECKING:
    import torch

_WILSON = "Wilson 1927, JASA 22(158), doi:10.1080/01621459.1927.10502953"


def _wilson(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    from convbench.statistics.intervals import wilson_interval

    low, high = wilson_interval(_correct(logits, labels), len(labels))
    return float(low), float(high)


def _correct(logits: torch.Tensor, labels: torch.Tensor) -> int:
    return int((logits.argmax(dim=1) == labels).sum())


@PREDICTION_METRICS.register("accuracy", higher_is_better=True, reference="top-1, share of images")
def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images whose largest logit is the label's, in [0, 1]."""
    return _correct(logits, labels) / len(labels)


@PREDICTION_METRICS.register("accuracy_lower", higher_is_better=True, reference=_WILSON)
def accuracy_lower(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Lower end of the 95 % Wilson interval of the accuracy, in [0, 1]."""
    return _wilson(logits, labels)[0]


@PREDICTION_METRICS.register("accuracy_upper", higher_is_better=True, reference=_WILSON)
def accuracy_upper(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Upper end of the 95 % Wilson interval of the accuracy, in [0, 1]."""
    return _wilson(logits, labels)[1]


@PREDICTION_METRICS.register("nll", higher_is_better=False, reference="mean cross-entropy, in nats")
def nll(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean negative log-likelihood of the labels under softmax(logits), in nats, at least 0."""
    import torch.nn.functional as F

    return float(F.cross_entropy(logits.double(), labels))
