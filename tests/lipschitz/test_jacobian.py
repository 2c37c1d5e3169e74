"""The local Jacobian norms against torch's own Jacobian, image by image."""

import numpy as np
import pytest
import torch
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz import lipschitz_lower_jacobian, local_jacobian_norms


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
    rows = [torch.autograd.functional.jacobian(network, image[None].double()) for image in images]
    network.float().train()
    return [float(np.linalg.svd(row.reshape(row.shape[1], -1).numpy(), compute_uv=False)[0]) for row in rows]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_largest_norm_and_its_image_are_found(network, images, batch_size):
    norms = reference(network, images)
    found = lipschitz_lower_jacobian(network, images, batch_size=batch_size)
    assert found.value == pytest.approx(max(norms), rel=1e-12)
    assert found.image == norms.index(max(norms))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("exact", [200, 3])
def test_every_norm_is_that_of_its_image_alone(network, images, batch_size, exact):
    found = local_jacobian_norms(network.double(), images, batch_size=batch_size, max_exact_classes=exact)
    # 7 steps of the iteration span all 7 logits: it is exact here
    np.testing.assert_allclose(found.numpy(), reference(network, images), rtol=1e-10)


def test_many_classes_are_iterated_from_below(network, images):
    torch.manual_seed(2)
    network[-1] = nn.Linear(54, 300)
    with torch.no_grad():
        network[-1].weight[0].mul_(4)  # the singular values of noise are nearly equal, those of networks aren't
    norms = np.array(reference(network, images))
    found = local_jacobian_norms(network.double(), images).numpy()
    assert np.all(found <= norms * (1 + 1e-12))
    assert np.all(found >= 0.999 * norms)
    largest = lipschitz_lower_jacobian(network.float(), images)
    assert 0.999 * norms.max() <= largest.value <= norms.max() * (1 + 1e-12)
    assert largest == lipschitz_lower_jacobian(network, images, batch_size=1)


def test_a_screen_finds_what_all_jacobians_show():
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 10)]
    network = nn.Sequential(*layers)
    images = torch.rand(400, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    images[57] *= 0.05  # one image unlike the others, outside of the pilot
    network(images)
    norms = reference(network, images)
    whole = lipschitz_lower_jacobian(network, images, screen=False)
    assert (whole.value, whole.image) == (pytest.approx(max(norms), rel=1e-12), int(np.argmax(norms)))
    for batch_size in (7, 400):
        assert lipschitz_lower_jacobian(network, images, batch_size=batch_size) == whole


def test_a_screen_takes_few_jacobians_whole(monkeypatch):
    from convbench.lipschitz import jacobian

    torch.manual_seed(3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))
    with torch.no_grad():
        network[3].weight[0].mul_(10)  # one direction dominates
    taken = []
    monkeypatch.setattr(jacobian, "norms_at", lambda *a, f=jacobian.norms_at: (taken.append(len(a[1])), f(*a))[1])
    lipschitz_lower_jacobian(network, torch.rand(400, 1, 8, 8), batch_size=8)
    assert sum(taken) < 100


def test_it_works_where_gradients_are_off(network, images):
    largest = max(reference(network, images))
    with torch.no_grad():
        assert lipschitz_lower_jacobian(network, images).value == pytest.approx(largest, rel=1e-12)
    with torch.inference_mode():
        inside = images.clone()
    assert lipschitz_lower_jacobian(network, inside).value == pytest.approx(largest, rel=1e-12)


@pytest.mark.parametrize("count", [3, 300])
def test_a_constant_network_has_slope_zero(images, count):
    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones(len(x), count, dtype=x.dtype)

    assert lipschitz_lower_jacobian(Constant(), images).value == 0.0
    assert lipschitz_lower_jacobian(Constant(), images.repeat(40, 1, 1, 1)).value == 0.0


def test_what_has_no_jacobian_is_refused(network, images):
    with pytest.raises(ValueError, match="at least one image"):
        lipschitz_lower_jacobian(network, images[:0])
    with pytest.raises(MetricNotDefinedError, match=r"logits of shape \(N, K\)"):
        lipschitz_lower_jacobian(network[:3], images)
