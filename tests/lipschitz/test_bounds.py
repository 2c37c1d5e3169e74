"""Lower and upper bounds of a network's Lipschitz constant, against constants known in closed form."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz import lipschitz_lower_jacobian, lipschitz_upper_product
from convbench.models.standardize import Classifier, Standardize
from convbench.norms import ConvNorm2d, MixtureNorm2d, NormalizedConv2d
from convbench.spectral import spectral_norm

SHAPE = (3, 8, 8)
DIMENSION = 3 * 8 * 8


@pytest.fixture(autouse=True)
def seed() -> None:
    """Weights are drawn from the global generator."""
    torch.manual_seed(0)


def images(count: int = 6, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


def exact_norm(network: nn.Module, shape: tuple[int, ...] = SHAPE) -> float:
    """Of an affine network, by a full SVD."""
    network = network.double().eval()
    with torch.no_grad():
        basis = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
        matrix = network(basis) - network(torch.zeros_like(basis[:1]))
    network.float()
    return float(torch.linalg.svdvals(matrix)[0])


def linear(rows: int, columns: int, weight: torch.Tensor | None = None) -> nn.Linear:
    layer = nn.Linear(columns, rows)
    if weight is not None:
        with torch.no_grad():
            layer.weight[:] = weight
    return layer


LINEAR = {
    "one layer": lambda: nn.Sequential(nn.Flatten(), nn.Linear(DIMENSION, 10)),
    "two layers": lambda: nn.Sequential(nn.Flatten(), nn.Linear(DIMENSION, 40), nn.Linear(40, 10)),
    "convolution and pooling": lambda: nn.Sequential(
        NormalizedConv2d(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 5),
    ),
    "convnorm": lambda: nn.Sequential(
        NormalizedConv2d(ConvNorm2d(3, 8, 3, padding=1), nn.Identity()), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "standardized": lambda: Classifier(
        Standardize((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)), nn.Sequential(nn.Flatten(), nn.Linear(DIMENSION, 10))
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_on_a_linear_network_the_bounds_enclose_the_constant(name):
    network = LINEAR[name]()
    exact = exact_norm(network)
    lower = lipschitz_lower_jacobian(network, images()).value
    assert 0.99 * exact <= lower <= exact * (1 + 1e-12)
    assert lower <= lipschitz_upper_product(network, SHAPE)


def test_on_one_linear_layer_the_bounds_meet():
    network = LINEAR["one layer"]()
    lower = lipschitz_lower_jacobian(network, images()).value
    upper = lipschitz_upper_product(network, SHAPE)
    assert lower <= upper <= lower * (1 + 1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_standardization_counts_and_so_does_repeating_a_grey_channel(channels):
    std = (0.2, 0.25, 0.5)
    network = nn.Sequential(Standardize((0.5, 0.5, 0.5), std, channels, 3), nn.Flatten())
    expected = 1 / 0.2 if channels == 3 else math.sqrt(sum(1 / s**2 for s in std))
    assert lipschitz_upper_product(network, (channels, 4, 4)) == pytest.approx(expected, rel=1e-6)
    exact = exact_norm(network, (channels, 4, 4))
    assert exact == pytest.approx(expected, rel=1e-6)


def test_a_relu_network_made_by_hand_has_its_constant_found_from_both_sides():
    # f(x) = (relu(2 x_1), relu(-3 x_2)) * 5: slope 15 where x_2 < 0, which images don't reach, else 10
    first = linear(2, 2, torch.tensor([[2.0, 0.0], [0.0, -3.0]]))
    nn.init.zeros_(first.bias)
    network = nn.Sequential(nn.Flatten(), first, nn.ReLU(), linear(2, 2, 5 * torch.eye(2)))
    assert lipschitz_upper_product(network, (2, 1, 1)) == pytest.approx(15.0, rel=1e-6)
    found = lipschitz_lower_jacobian(network, images(4, (2, 1, 1)))
    assert found.value == pytest.approx(10.0, rel=1e-12)
    outside = torch.tensor([0.5, 0.5, 0.5, -0.5]).view(2, 2, 1, 1)
    found = lipschitz_lower_jacobian(network, outside)
    assert (found.value, found.image) == (pytest.approx(15.0, rel=1e-12), 1)


class Residual(nn.Module):
    """x + f(x), or f(x) - x, or x + x."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.branch = linear(12, 12)

    def forward(self, x):
        x = torch.flatten(x, 1)
        if self.kind == "add":
            return x + self.branch(x)
        if self.kind == "in place":
            y = self.branch(x)
            y += x
            return y
        return self.branch(x) - x if self.kind == "subtract" else torch.add(x, x)


@pytest.mark.parametrize("kind", ["add", "in place", "subtract", "double"])
def test_a_residual_connection_adds_its_constant(kind):
    network = Residual(kind)
    branch = spectral_norm(network.branch, (1, 1)).value
    expected = 2.0 if kind == "double" else 1 + branch
    upper = lipschitz_upper_product(network, (3, 2, 2))
    assert upper == pytest.approx(expected, rel=1e-9)
    assert lipschitz_lower_jacobian(network, images(3, (3, 2, 2))).value <= upper


class Branches(nn.Module):
    """Two convolutions side by side, concatenated; one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return torch.cat([F.relu(self.left(x)), self.right(x), x], dim=1).flatten(1)


def test_a_concatenation_adds_in_squares():
    network = Branches()
    left, right = (spectral_norm(conv, (8, 8)).upper for conv in (network.left, network.right))
    expected = math.sqrt(left**2 + right**2 + 1)
    upper = lipschitz_upper_product(network, SHAPE)
    assert upper == pytest.approx(expected, rel=1e-9)
    assert lipschitz_lower_jacobian(network, images(2)).value <= upper


def test_a_batch_norm_after_a_convolution_is_folded_wherever_it_is():
    class Separate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
            nn.init.normal_(self.bn.weight)

        def forward(self, x):
            return F.relu(self.bn(self.conv(x)), inplace=True).mean((2, 3))

    network = Separate().eval()
    folded = spectral_norm(nn.Sequential(network.conv, network.bn), (8, 8)).upper
    assert lipschitz_upper_product(network, SHAPE) == pytest.approx(folded / 8, rel=1e-9)


def test_a_vector_mixture_has_no_finite_constant():
    norm = MixtureNorm2d(4, components=2)
    network = nn.Sequential(NormalizedConv2d(nn.Conv2d(3, 4, 3), norm), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    network(torch.randn(8, *SHAPE))
    assert lipschitz_upper_product(network, SHAPE) == math.inf
    assert lipschitz_lower_jacobian(network, images()).value < math.inf
    with torch.no_grad():
        network[3].weight.zero_()
    assert lipschitz_upper_product(network, SHAPE) == 0.0  # a constant network, not NaN


class Fourier(nn.Module):
    """A user's module whose function has no rule."""

    def forward(self, x):
        return torch.fft.fft2(x).real


UNKNOWN = {
    "LocalResponseNorm '0'": lambda: nn.Sequential(nn.LocalResponseNorm(2), nn.Flatten()),
    "function 'fft_fft2'": lambda: nn.Sequential(Fourier(), nn.Flatten()),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_module_without_a_rule_is_named_and_the_bound_withheld(name):
    with pytest.raises(MetricNotDefinedError, match=f"no Lipschitz rule for .*{name}"):
        lipschitz_upper_product(UNKNOWN[name](), SHAPE)


class Forward(nn.Module):
    """A network of one function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x,
        lambda x: x * x.mean((2, 3), keepdim=True),
        lambda x: 1 / x,
        lambda x: F.dropout(x),
        lambda x: F.group_norm(x, 1),
        lambda x: x[torch.tensor([0, 0])],
        lambda x: torch.add(x, x, alpha=3),
        lambda x: (x, x),
        lambda x: x if x.sum() > 0 else -x,
    ],
)
def test_functions_without_a_constant_are_withheld(function):
    with pytest.raises(MetricNotDefinedError):
        lipschitz_upper_product(Forward(function), SHAPE)


def test_a_product_of_two_results_is_withheld_with_the_reason():
    with pytest.raises(MetricNotDefinedError, match="'mul' multiplies two results that both depend on the image"):
        lipschitz_upper_product(Forward(lambda x: x * x.mean((2, 3), keepdim=True)), SHAPE)


def test_a_network_that_answers_differently_each_time_is_refused():
    class Noisy(nn.Module):
        def forward(self, x):
            return torch.flatten(x, 1) + torch.rand(1)

    with pytest.raises(MetricNotDefinedError, match="different logits each time"):
        lipschitz_upper_product(Noisy(), SHAPE)


def test_an_image_smaller_than_the_kernel_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 9), nn.Flatten())
    with pytest.raises(MetricNotDefinedError, match=r"float64 image of 3x8x8.*Kernel size"):
        lipschitz_upper_product(network, SHAPE)


@pytest.mark.parametrize("last", [1e-140, 1e140, 0.0])
def test_a_product_is_not_infinite_because_its_factors_are_large(last):
    """Three layers of norm 1e140, the product of which is out of range, and one that makes up for them, or not."""
    layers = [linear(2, 2, 1.0 * torch.eye(2)).double() for _ in range(4)]
    for layer, scale in zip(layers, (1e140, 1e140, 1e140, last), strict=True):
        with torch.no_grad():
            layer.weight *= scale
    network = nn.Sequential(nn.Flatten(), *layers)
    if last < 1:
        assert lipschitz_upper_product(network, (2, 1, 1)) == pytest.approx(1e280 if last else 0.0, rel=1e-9)
    else:
        with pytest.raises(MetricNotDefinedError, match=r"finite, but too large for a number: about 1e56[01]"):
            lipschitz_upper_product(network, (2, 1, 1))


def test_weights_that_are_not_finite_are_refused():
    network = LINEAR["one layer"]()
    with torch.no_grad():
        network[1].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"parameter '1.weight' has 1 NaN"):
        lipschitz_upper_product(network, SHAPE)
    with pytest.raises(MetricNotDefinedError, match="NaN or infinite"):
        lipschitz_lower_jacobian(network, images())


def test_the_network_is_left_as_it_was():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 10))
    network.train()
    network[1].eval()
    network[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    given = images()
    lipschitz_upper_product(network, SHAPE)
    lipschitz_lower_jacobian(network, given)
    assert [module.training for module in network] == [True, False, True, True, True]
    assert [p.requires_grad for p in network.parameters()] == [False, True, True, True, True, True]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not given.requires_grad
    assert torch.equal(given, images())
