"""Slopes of margins against one gradient at a time, and against what is known in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz import local_jacobian_norms, margin_gradients


def images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 2, 5, 5, generator=torch.Generator().manual_seed(1))


def network(classes: int = 6) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, classes)).double().eval()


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_slopes_are_those_of_one_gradient_at_a_time(batch_size):
    model, given = network(), images()
    found = margin_gradients(model, given, batch_size=batch_size)
    for place, image in enumerate(given.double()):
        logits = model(image[None])[0]
        c = int(logits.argmax())
        assert int(found.predicted[place]) == c
        l2, linf = [], []
        for j in range(6):
            if j != c:
                x = image.clone()[None].requires_grad_()
                y = model(x)[0]
                (y[c] - y[j]).backward()
                gradient = x.grad.numpy().ravel()
                l2.append(np.linalg.norm(gradient))
                linf.append(np.abs(gradient).sum())
        assert float(found.l2[place]) == pytest.approx(max(l2), rel=1e-12)
        assert float(found.linf[place]) == pytest.approx(max(linf), rel=1e-12)


def test_of_a_linear_network_they_are_the_distances_between_the_rows_of_its_weight():
    model = nn.Sequential(nn.Flatten(), nn.Linear(50, 2)).double()
    gap = (model[1].weight[0] - model[1].weight[1]).detach().numpy()
    found = margin_gradients(model, images())
    np.testing.assert_allclose(found.l2, np.linalg.norm(gap), rtol=1e-12)
    np.testing.assert_allclose(found.linf, np.abs(gap).sum(), rtol=1e-12)
    # a step of L-infinity length t changes a margin by at most t ||gap||_1, and the step against its signs does
    x = images(1).double()
    step = 0.01 * torch.from_numpy(np.sign(gap)).view(1, 2, 5, 5)
    change = (model(x + step) - model(x)) @ torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert float(change.detach()) == pytest.approx(0.01 * float(found.linf[0]), rel=1e-9)


def test_no_margin_is_steeper_than_the_jacobian_allows():
    model = network()
    found, norms = margin_gradients(model, images()), local_jacobian_norms(model, images())
    assert torch.all(found.l2 <= 2**0.5 * norms * (1 + 1e-12))
    assert torch.all(found.l2 <= found.linf)
    assert torch.all(found.linf <= 50**0.5 * found.l2 * (1 + 1e-12))


def test_one_class_has_no_margin():
    with pytest.raises(MetricNotDefinedError, match=r"the network has 1 logit\(s\); this needs 2"):
        margin_gradients(network(1), images())
