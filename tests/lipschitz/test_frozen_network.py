"""What every estimate from below works on: copies of a network that is a differentiable function of each image."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz import lipschitz_lower_jacobian, lipschitz_lower_pairs, local_jacobian_norms
from convbench.lipschitz.frozen_network import freeze
from convbench.models.standardize import Classifier, Standardize
from convbench.norms import NORMS, NormalizedConv2d


@pytest.fixture(autouse=True)
def seed() -> None:
    """Weights are drawn from the global generator."""
    torch.manual_seed(0)


def images(count: int = 3, channels: int = 2, size: int = 6) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


class Forward(nn.Module):
    """A linear layer, then a function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.linear = nn.Linear(72, 4)
        self.function = function

    def forward(self, x):
        return self.function(self.linear(x.flatten(1)))


class DropoutAlways(nn.Module):
    """Monte Carlo dropout, as people write it."""

    def forward(self, x):
        return F.dropout(x, 0.5, training=True)


class Shared(nn.Module):
    """A module that can't be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(72, 4)
        self.derived = self.linear.weight * 2  # not a leaf of the graph

    def forward(self, x):
        return F.linear(x.flatten(1), self.derived)


def nan_for_bright_images(x: torch.Tensor) -> torch.Tensor:
    return x * torch.tensor(math.nan)


REFUSED = {
    "isn't deterministic in evaluation mode.*'1' is the first": lambda: nn.Sequential(
        nn.Flatten(), DropoutAlways(), nn.Linear(72, 4)
    ),
    "depend on the other images of its batch": lambda: nn.Sequential(
        nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.Linear(72, 4)
    ),
    "the logits are NaN or infinite": lambda: Forward(nan_for_bright_images),
    "isn't differentiable: no gradient": lambda: Forward(torch.Tensor.detach),
    "can't be copied": Shared,
    "can't be applied to float64 images": lambda: Forward(lambda x: x @ torch.ones(4, 4)),
    r"doesn't return logits of shape \(N, K\)": lambda: Forward(lambda x: x.sum(1)),
    "has 1 NaN or infinite values": lambda: nan_weight(Forward(nn.Identity())),
}


def nan_weight(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(network.parameters())[0, 0] = math.nan
    return network


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_no_differentiable_function_of_an_image_is_refused_with_the_reason(reason):
    network = REFUSED[reason]()
    with pytest.raises(MetricNotDefinedError, match=reason):
        local_jacobian_norms(network, images())


def test_pairs_need_no_gradient():
    assert lipschitz_lower_pairs(Forward(torch.Tensor.detach), images()).value > 0


def test_a_slope_of_infinity_is_refused():
    network = Forward(lambda x: (x - x).sqrt() + x)  # finite logits, the slope of the root at 0 isn't
    with pytest.raises(MetricNotDefinedError, match="Jacobian of the logits is NaN or infinite"):
        lipschitz_lower_jacobian(network, images())


def small_network(channels: int = 2) -> nn.Sequential:
    layers = [NORMS.build("bn")(nn.Conv2d(channels, 5, 3, padding=1)), nn.ReLU(), nn.Flatten(), nn.Linear(180, 4)]
    network = nn.Sequential(*layers)
    network(torch.rand(8, channels, 6, 6))
    return network


def test_the_fast_copy_is_folded_and_the_same_function():
    network = small_network()
    frozen = freeze(network, images())
    unit = frozen.fast[0]
    assert isinstance(unit, NormalizedConv2d)
    assert isinstance(unit.norm, nn.Identity)
    torch.testing.assert_close(frozen.fast(frozen.prepare(images())), network.eval()(images()), rtol=1e-5, atol=1e-6)
    assert isinstance(network[0].norm, nn.BatchNorm2d)


def test_what_is_used_twice_or_watched_is_not_folded():
    shared = nn.BatchNorm2d(2)
    twice = nn.Sequential(
        nn.Conv2d(2, 2, 1), shared, nn.Conv2d(2, 2, 1), shared, nn.Flatten(), nn.Linear(72, 4)
    )  # one normalization behind two convolutions
    twice(images(8))
    watched = small_network()
    watched[0].conv.register_forward_hook(lambda module, inputs, output: output * 2)
    for network in (twice, watched):
        frozen = freeze(network, images())
        expected = network.eval().double()(images().double()).float()
        torch.testing.assert_close(frozen.fast(frozen.prepare(images())), expected, rtol=1e-5, atol=1e-6)


class Views(nn.Module):
    """A network whose `view` takes no other memory format than the usual one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 5, 3, padding=1), nn.Linear(180, 4)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).view(len(x), -1))


def jacobian_norms(network: nn.Module, given: torch.Tensor) -> torch.Tensor:
    network = network.eval().double()
    rows = [torch.autograd.functional.jacobian(network, image[None].double()).flatten(3) for image in given]
    network.float()
    return torch.stack([torch.linalg.svdvals(row.reshape(row.shape[1], -1))[0] for row in rows])


USERS = {
    "view": (Views, 2),
    "channels last": (lambda: small_network().to(memory_format=torch.channels_last), 2),
    "grey": (lambda: small_network(1), 1),
    "grey, repeated": (lambda: Classifier(Standardize((0.5,) * 3, (0.2, 0.3, 0.4), 1, 3), small_network(3)), 1),
    "in place": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 2)), 2),
}


@pytest.mark.parametrize("user", USERS)
def test_networks_as_users_write_them_are_measured(user):
    build, channels = USERS[user]
    network, given = build(), images(3, channels)
    expected = jacobian_norms(network, given)
    found = local_jacobian_norms(network, given.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("norm", ["mixture", "convnorm", "group", "mode"])
def test_normalizations_are_measured(norm):
    network = nn.Sequential(
        NORMS.build(norm)(nn.Conv2d(2, 4, 3, padding=1)), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)
    )
    network(torch.randn(16, 2, 6, 6))
    torch.testing.assert_close(
        local_jacobian_norms(network, images()), jacobian_norms(network, images()), rtol=1e-4, atol=0
    )


def test_every_estimate_leaves_the_network_as_it_was():
    from convbench.lipschitz import clever_scores, lipschitz_lower_ascent, margin_gradients

    network = small_network().train()
    network[0].eval()
    next(network.parameters()).requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    given = images()
    state = torch.random.get_rng_state()
    for estimate in (local_jacobian_norms, margin_gradients, lipschitz_lower_pairs, lipschitz_lower_jacobian):
        estimate(network, given)
    lipschitz_lower_ascent(network, given, starts=1, steps=2)
    clever_scores(network, given[:1], batches=2, samples=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [module.training for module in network] == [False, True, True, True]
    assert [parameter.requires_grad for parameter in network.parameters()].count(False) == 1
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(given, images())
