"""Metrics of predictions against references that share no code with ours."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import log_loss

from convbench.metrics import PREDICTION_METRICS


def sample(n: int = 200, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, classes, generator=generator) * 3, torch.randint(classes, (n,), generator=generator)


def measure(name: str, logits: torch.Tensor, labels: torch.Tensor) -> float:
    return PREDICTION_METRICS.build(name, logits, labels)


@pytest.mark.parametrize("entry", list(PREDICTION_METRICS), ids=lambda entry: entry.name)
def test_every_metric_is_described_directed_and_a_number(entry):
    assert entry.summary
    assert entry.reference
    assert entry.facts["higher_is_better"] in (True, False, None)
    logits, labels = sample()
    value = entry.function(logits, labels)
    assert isinstance(value, float)
    assert math.isfinite(value)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    assert entry.function(logits[order], labels[order]) == pytest.approx(value, rel=1e-12)


@given(n=st.integers(1, 5000), share=st.floats(0, 1))
def test_the_interval_of_the_accuracy_is_scipys(n, share):
    right = round(share * n)
    logits = torch.zeros(n, 2)
    logits[:right, 1] = 1
    labels = torch.ones(n, dtype=torch.int64)
    expected = binomtest(right, n).proportion_ci(confidence_level=0.95, method="wilson")
    low, high = measure("accuracy_lower", logits, labels), measure("accuracy_upper", logits, labels)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= right / n <= high <= 1


def test_accuracy_interval_and_nll():
    logits, labels = sample()
    right = (logits.numpy().argmax(1) == labels.numpy()).sum()
    assert measure("accuracy", logits, labels) == right / 200
    probabilities = np.exp(logits.double().numpy())
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert measure("nll", logits, labels) == pytest.approx(log_loss(labels.numpy(), probabilities), rel=1e-9)


def test_ece_is_that_of_a_loop_over_the_bins():
    logits, labels = sample()
    probabilities = logits.double().softmax(1)
    confidence, predicted = probabilities.max(1)
    expected = 0.0
    for b in range(15):
        inside = [i for i in range(200) if b / 15 < confidence[i] <= (b + 1) / 15]
        if inside:
            accuracy = np.mean([predicted[i].item() == labels[i].item() for i in inside])
            expected += len(inside) / 200 * abs(accuracy - np.mean([confidence[i].item() for i in inside]))
    assert measure("ece", logits, labels) == pytest.approx(expected, rel=1e-9)


def test_a_confidence_of_one_lies_in_the_last_bin():
    # Two certain answers, one of them wrong: accuracy 1/2 at confidence 1.
    logits = torch.tensor([[1000.0, 0.0], [1000.0, 0.0]])
    assert measure("ece", logits, torch.tensor([0, 1])) == 0.5
    assert measure("brier", logits, torch.tensor([0, 1])) == 1.0


def test_brier_is_the_mean_square_over_the_classes():
    logits, labels = sample()
    p = logits.double().softmax(1).numpy()
    expected = np.mean([sum((p[i, k] - float(k == labels[i].item())) ** 2 for k in range(5)) for i in range(200)])
    assert measure("brier", logits, labels) == pytest.approx(expected, rel=1e-12)


def test_the_logits_of_a_broken_network_have_no_calibration_error():
    assert math.isnan(measure("ece", torch.full((3, 4), math.nan), torch.tensor([0, 1, 2])))
