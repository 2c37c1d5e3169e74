"""The local Jacobian norm against torch's own Jacobian, image by image."""

import pytest
import torch
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz import lipschitz_lower_jacobian


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(54, 7),
    ]
    return nn.Sequential(*layers)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def reference(network: nn.Module, images: torch.Tensor) -> list[float]:
    network = network.double().eval()
    jacobians = [torch.autograd.functional.jacobian(network, image[None].double()).reshape(7, -1) for image in images]
    network.float().train()
    return [float(torch.linalg.svdvals(jacobian)[0]) for jacobian in jacobians]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_largest_norm_and_its_image_are_found(network, images, batch_size):
    norms = reference(network, images)
    found = lipschitz_lower_jacobian(network, images, batch_size=batch_size)
    assert found.value == pytest.approx(max(norms), rel=1e-12)
    assert found.image == norms.index(max(norms))


def test_many_classes_are_iterated_from_below(network, images):
    largest = max(reference(network, images))
    found = lipschitz_lower_jacobian(network, images, max_exact_classes=3)
    assert 0.95 * largest <= found.value <= largest * (1 + 1e-12)
    assert found == lipschitz_lower_jacobian(network, images, max_exact_classes=3)


def test_it_works_where_gradients_are_off(network, images):
    largest = max(reference(network, images))
    with torch.no_grad():
        assert lipschitz_lower_jacobian(network, images).value == pytest.approx(largest, rel=1e-12)


def test_a_constant_network_has_slope_zero(images):
    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 3, dtype=x.dtype)

    assert lipschitz_lower_jacobian(Constant(), images).value == 0.0


def test_what_has_no_jacobian_is_refused(network, images):
    with pytest.raises(ValueError, match="at least one image"):
        lipschitz_lower_jacobian(network, images[:0])
    with pytest.raises(MetricNotDefinedError, match=r"logits of shape \(N, K\)"):
        lipschitz_lower_jacobian(network[:3], images)
