"""The search for steep images: above the data, below the constant where that is known."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz import lipschitz_lower_ascent, lipschitz_lower_jacobian
from convbench.lipschitz.smoothing import SmoothedRelus


def images(count: int = 6, *shape: int) -> torch.Tensor:
    return torch.rand(count, *(shape or (1, 6, 6)), generator=torch.Generator().manual_seed(1))


def relu_network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4)]
    return nn.Sequential(*layers)


def product_of_norms(network: nn.Module, shape: tuple[int, ...]) -> float:
    """An upper bound of the constant, from the SVD of each layer as a matrix."""
    bound, x = 1.0, torch.zeros(1, *shape)
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            basis = torch.eye(x[0].numel()).view(-1, *x.shape[1:])
            with torch.no_grad():
                bound *= float(torch.linalg.svdvals((layer(basis) - layer(torch.zeros_like(basis[:1]))).flatten(1))[0])
        x = layer(x)
    return bound


def jacobian_norm(network: nn.Module, image: torch.Tensor) -> float:
    jacobian = torch.autograd.functional.jacobian(network.double(), image[None].double())
    network.float()
    return float(torch.linalg.svdvals(jacobian.reshape(jacobian.shape[1], -1))[0])


def test_the_search_is_above_the_data_and_attained_by_its_image_in_the_box():
    network, given = relu_network(), images()
    data = lipschitz_lower_jacobian(network, given)
    found = lipschitz_lower_ascent(network, given, starts=3, steps=30)
    assert found.data_value == data.value
    assert found.value > 1.05 * data.value
    assert found.value <= product_of_norms(network, (1, 6, 6))
    assert 0 <= float(found.image.min()) <= float(found.image.max()) <= 1
    assert found.value == pytest.approx(jacobian_norm(network, found.image), rel=1e-9)
    again = lipschitz_lower_ascent(network, given, starts=3, steps=30, batch_size=2)
    assert again.value == pytest.approx(found.value, rel=1e-3)  # rounding, through 30 steps


def test_it_finds_the_constant_that_no_image_of_the_data_shows():
    # f(x) = 10 relu(x_1 + x_2 - 1.5) + x_1: the steep part is in a corner
    class Corner(nn.Module):
        def forward(self, x):
            x = x.flatten(1)
            return torch.stack([10 * F.relu(x.sum(1) - 1.5) + x[:, 0], x[:, 1]], 1)

    given = 0.6 * images(5, 2, 1, 1)  # within [0, 0.6]: flat
    slope = math.hypot(1, 1)
    found = lipschitz_lower_ascent(Corner(), given, starts=2, steps=60)
    exact = float(torch.linalg.svdvals(torch.tensor([[11.0, 10.0], [0.0, 1.0]], dtype=torch.float64))[0])
    assert found.data_value <= slope
    assert found.value == pytest.approx(exact, rel=1e-9)


def test_without_steps_or_curvature_the_data_is_the_result():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    exact = float(torch.linalg.svdvals(linear[1].weight.detach().double())[0])
    found = lipschitz_lower_ascent(linear, images(), starts=2, steps=3)
    assert found.value == pytest.approx(exact, rel=1e-12)
    network = relu_network()
    none = lipschitz_lower_ascent(network, images(), starts=1, steps=0)
    assert none.value >= lipschitz_lower_jacobian(network, images()).value


def test_many_classes_and_smooth_networks_are_searched_too():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 30), nn.GELU(), nn.Linear(30, 5))
    data = lipschitz_lower_jacobian(network, images(), max_exact_classes=3).value
    found = lipschitz_lower_ascent(network, images(), starts=2, steps=20, max_exact_classes=3)
    assert found.value > data
    assert found.value <= jacobian_norm(network, found.image) * (1 + 1e-9)


RELUS = {
    "module": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "torch.relu": torch.relu,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.clone().relu_(),
    "keyword": lambda x: F.relu(input=x),
    "leaky": nn.LeakyReLU(0.2),
    "relu6": nn.ReLU6(),
    "F.relu6": F.relu6,
    "hardtanh": nn.Hardtanh(-0.5, 2.0),
    "hardtanh, default": F.hardtanh,
}


@pytest.mark.parametrize("name", RELUS)
def test_every_way_to_write_a_relu_is_smoothed_and_near_its_limit_the_same(name):
    relu = RELUS[name]
    x = torch.linspace(-3, 3, 50, dtype=torch.float64).view(2, 25)
    exact = relu(x.clone())
    with SmoothedRelus(1e6):
        near = relu(x.clone())
    with SmoothedRelus(2.0):
        smooth = relu(x.clone())
    torch.testing.assert_close(near, exact, rtol=0, atol=1e-5)
    assert (smooth - exact).abs().max() > 0.1
    torch.testing.assert_close(relu(x.clone()), exact)  # nothing is left of it after the block


def test_the_bend_follows_the_scale_of_the_image_alone():
    x = torch.randn(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with SmoothedRelus(3.0):
        together, alone, larger = torch.relu(x), torch.relu(x[:1]), torch.relu(100 * x)
    torch.testing.assert_close(together[:1], alone)
    torch.testing.assert_close(larger, 100 * together)


class OnceOnly(torch.autograd.Function):
    """A user's operation whose gradient can't be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


class Squared(nn.Module):
    def forward(self, x):
        return OnceOnly.apply(x)


def test_a_network_that_is_differentiable_once_has_slopes_but_no_ascent():
    network = nn.Sequential(nn.Flatten(), Squared(), nn.Linear(36, 4))
    assert lipschitz_lower_jacobian(network, images()).value > 0
    with pytest.raises(MetricNotDefinedError, match="isn't twice differentiable"):
        lipschitz_lower_ascent(network, images(), starts=1, steps=1)
    with pytest.raises(MetricNotDefinedError, match="isn't twice differentiable"):
        lipschitz_lower_jacobian(network, images(), max_exact_classes=2)


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"steps": -1}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="are needed"):
        lipschitz_lower_ascent(relu_network(), images(), **wrong)
