"""Certified radii and accuracy: the constant is sqrt(2), and not smaller."""

import math

import pytest
import torch

from convbench.lipschitz import certified_accuracy, certified_radii


def test_the_radius_of_a_linear_classifier_is_attained():
    """f(x) = L x on the plane: from x, the boundary between the classes is at the certified distance, exactly."""
    upper = 3.0
    x = torch.tensor([[0.9, 0.2], [0.1, 0.4], [0.3, 0.8]], dtype=torch.float64)
    radii = certified_radii(upper * x, torch.tensor([0, 1, 0]), upper)
    assert radii.tolist() == pytest.approx([0.7 / math.sqrt(2), 0.3 / math.sqrt(2), 0.0], rel=1e-12)
    toward = torch.tensor([-1.0, 1.0], dtype=torch.float64) / math.sqrt(2)
    for factor, classified in ((0.999, 0), (1.001, 1)):
        assert int((upper * (x[0] + factor * radii[0] * toward)).argmax()) == classified


def test_no_perturbation_within_the_radius_changes_the_class():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    x = torch.randn(50, 8, generator=generator, dtype=torch.float64)
    labels = (x @ weight.T).argmax(1)
    upper = float(torch.linalg.matrix_norm(weight, 2))
    radii = certified_radii(x @ weight.T, labels, upper)
    assert (radii > 0).all()
    for rival in range(5):  # the worst direction towards each other class
        step = weight[rival] - weight[labels]
        step = step / step.norm(dim=1, keepdim=True).clamp(min=1e-12)
        assert torch.equal(((x + 0.999 * radii[:, None] * step) @ weight.T).argmax(1), labels)


def test_certified_accuracy_falls_from_accuracy_to_zero():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.5], [3.0, 2.0, 0.0]])
    labels = torch.tensor([0, 1, 1])
    values = [certified_accuracy(logits, labels, 2.0, eps) for eps in (0.0, 0.1, 0.3, 36 / 255, 1.0)]
    assert values == [2 / 3, 2 / 3, 1 / 3, 2 / 3, 0.0]
    assert certified_accuracy(logits, labels, math.inf, 0.0) == 2 / 3
    assert certified_accuracy(logits, labels, math.inf, 1e-9) == 0.0
    assert certified_accuracy(logits, labels, 0.0, 1e9) == 2 / 3


def test_a_tie_or_nan_certifies_nothing():
    logits = torch.tensor([[1.0, 1.0], [math.nan, 0.0], [0.0, math.nan], [math.inf, 0.0]])
    assert certified_radii(logits, torch.zeros(4, dtype=torch.long), 1.0).tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("logits", "upper", "eps"),
    [
        ((2, 1), 1.0, 0.1),
        ((2,), 1.0, 0.1),
        ((3, 2), 1.0, 0.1),
        ((2, 2), -1.0, 0.1),
        ((2, 2), math.nan, 0.1),
        ((2, 2), 1.0, -0.1),
    ],
)
def test_what_makes_no_sense_is_refused(logits, upper, eps):
    with pytest.raises(ValueError, match=r"at least 0|aren't"):
        certified_accuracy(torch.zeros(logits), torch.zeros(2, dtype=torch.long), upper, eps)
