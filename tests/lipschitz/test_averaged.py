"""The averaged bound: between the true constant and the product rule, and worked out by hand where that is possible."""

import math

import pytest
import torch
from torch import nn

from convbench.lipschitz import lipschitz_lower_jacobian, lipschitz_upper_averaged, lipschitz_upper_product
from convbench.lipschitz.kernels import Kernel, kernel_upper
from convbench.models import MODELS
from convbench.models.standardize import Classifier, Standardize
from convbench.norms import NORMS


@pytest.fixture(autouse=True)
def seed() -> None:
    """Weights are drawn from the global generator."""
    torch.manual_seed(0)


def norm_of(matrix: torch.Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix.detach().double(), 2))


class Block(nn.Module):
    """W2 act(W1 x) + x on vectors of six entries."""

    def __init__(self, activation: nn.Module, residual: bool = True) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 9), nn.Linear(9, 6)
        self.activation, self.residual = activation, residual

    def forward(self, x):
        x = torch.flatten(x, 1)
        y = self.second(self.activation(self.first(x)))
        return x + y if self.residual else y


@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [
        (nn.ReLU(), 0.0, 1.0),
        (nn.LeakyReLU(0.2), 0.2, 1.0),
        (nn.GELU(), 1 - 1.1289042, 1.1289042),
        (nn.Sigmoid(), 0.0, 0.25),
        (nn.Identity(), 1.0, 1.0),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("residual", [True, False])
def test_one_block_of_matrices_has_the_bound_of_the_formula(activation, low, high, residual):
    network = Block(activation, residual)
    w1, w2 = network.first.weight.double(), network.second.weight.double()
    middle, half, skip = (low + high) / 2, (high - low) / 2, torch.eye(6) if residual else torch.zeros(6, 6)
    averaged = norm_of(middle * w2 @ w1 + skip) + half * norm_of(w2) * norm_of(w1)
    plain = high * norm_of(w2) * norm_of(w1) + residual
    shape = (6, 1, 1)
    assert lipschitz_upper_averaged(network, shape) == pytest.approx(min(averaged, plain), rel=1e-6)
    assert lipschitz_upper_product(network, shape) == pytest.approx(plain, rel=1e-6)


def test_a_chain_of_three_matrices_has_the_bound_of_combettes_and_pesquet():
    network = nn.Sequential(nn.Flatten(), nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 4))
    w1, w2, w3 = (network[i].weight.double() for i in (1, 3, 5))
    # L <= theta_3 / 4 with theta_l = sum over k < l of theta_k ||W_l ... W_k+1||, theta_0 = 1
    theta_1 = norm_of(w1)
    theta_2 = norm_of(w2 @ w1) + theta_1 * norm_of(w2)
    theta_3 = norm_of(w3 @ w2 @ w1) + theta_1 * norm_of(w3 @ w2) + theta_2 * norm_of(w3)
    upper = lipschitz_upper_averaged(network, (5, 1, 1), steps=2)
    assert upper == pytest.approx(theta_3 / 4, rel=1e-9)
    images = torch.rand(16, 5, 1, 1)
    lower = lipschitz_lower_jacobian(network, images).value
    assert lower <= upper < lipschitz_upper_product(network, (5, 1, 1))


def test_linear_layers_in_a_row_are_composed_without_any_step():
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 9), nn.Dropout(), nn.Linear(9, 4))
    exact = norm_of(network[3].weight.double() @ network[1].weight.double())
    assert lipschitz_upper_averaged(network, (6, 1, 1), steps=0) == pytest.approx(exact, rel=1e-9)


def test_standardization_is_composed_with_the_first_convolution():
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    std = (0.1, 0.5, 1.0)
    network = nn.Sequential(Standardize((0.5, 0.5, 0.5), std), conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    exact = lipschitz_lower_jacobian(network, torch.rand(1, 3, 5, 5)).value
    assert lipschitz_upper_averaged(network, (3, 5, 5)) == pytest.approx(exact, rel=1e-9)
    assert lipschitz_upper_product(network, (3, 5, 5)) > 1.1 * exact


GEOMETRIES = {
    "same": ((3, 3), (-1, -1), (1, 1), (6, 6), (6, 6)),
    "stride": ((3, 3), (-1, -1), (2, 2), (7, 7), (4, 4)),
    "padded after only": ((2, 3), (0, 0), (1, 1), (5, 5), (5, 5)),
    "padded before only": ((3, 2), (-2, -1), (1, 1), (5, 4), (5, 4)),
    "cropped": ((2, 2), (1, 2), (1, 1), (6, 6), (3, 3)),
    "composed strides": ((5, 5), (-3, -3), (4, 4), (8, 8), (2, 2)),
    "beyond the image": ((3, 3), (-1, -1), (1, 1), (4, 4), (6, 6)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("start", [0, -1])
def test_the_norm_of_a_kernel_is_that_of_its_matrix_or_a_little_more(name, start):
    size, low, stride, inputs, outputs = GEOMETRIES[name]
    taps = torch.randn(2, 3, *size, dtype=torch.float64)
    rows = [
        (o, p, q) for o in range(2) for p in range(start, start + outputs[0]) for q in range(start, start + outputs[1])
    ]
    columns = [(c, i, j) for c in range(3) for i in range(inputs[0]) for j in range(inputs[1])]
    matrix = torch.zeros(len(rows), len(columns), dtype=torch.float64)
    for r, (o, p, q) in enumerate(rows):
        for t, (c, i, j) in enumerate(columns):
            u, v = i - stride[0] * p - low[0], j - stride[1] * q - low[1]
            if 0 <= u < size[0] and 0 <= v < size[1]:
                matrix[r, t] = taps[o, c, u, v]
    regions = ((0, inputs[0]), (0, inputs[1])), ((start, start + outputs[0]), (start, start + outputs[1]))
    upper, exact = kernel_upper(Kernel(taps, low, stride), *regions), norm_of(matrix)
    assert exact * (1 - 1e-12) <= upper <= 1.25 * exact  # a pixel of such small images is much


@pytest.mark.parametrize("steps", [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_composed_kernels_do_what_one_after_the_other_does(steps):
    first = Kernel(torch.randn(4, 2, 3, 2, dtype=torch.float64), (-1, 0), (steps[0], 1))
    second = Kernel(torch.randn(3, 4, 2, 3, dtype=torch.float64), (0, -2), (steps[1], 1))

    def value(kernel, x, at):
        patch = torch.zeros(kernel.taps.shape[1:], dtype=torch.float64)
        for u in range(kernel.size[0]):
            for v in range(kernel.size[1]):
                patch[:, u, v] = x(
                    kernel.stride[0] * at[0] + kernel.low[0] + u, kernel.stride[1] * at[1] + kernel.low[1] + v
                )
        return (kernel.taps * patch).sum((1, 2, 3))

    def image(i, j):
        return torch.tensor([math.sin(3.1 * i + 1.7 * j), math.cos(0.9 * i * j + i)], dtype=torch.float64)

    for at in ((0, 0), (1, -2), (-3, 2)):
        inner = value(second, lambda i, j: value(first, image, (i, j)), at)
        assert torch.allclose(value(second.after(first), image, at), inner, atol=1e-12)


class ConvBlock(nn.Module):
    """A residual block of two padded convolutions on a small image, where the border counts."""

    def __init__(self, stride: int, activation: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, stride=stride, padding=1)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.skip = nn.Conv2d(2, 3, 1, stride=stride)
        self.activation = activation

    def forward(self, x):
        y = self.skip(x) + self.second(self.activation(self.first(x)))
        return torch.flatten(y, 1)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Identity(), nn.Hardtanh(-9, 9)], ids=lambda a: type(a).__name__)
def test_padding_between_two_convolutions_is_accounted_for(stride, activation):
    """With an identity between them the network is linear: a bound that forgot the crop could be below its norm."""
    for attempt in range(4):
        torch.manual_seed(attempt)
        network = ConvBlock(stride, activation)
        with torch.no_grad():  # all signs equal: the border is where the composition without crop is larger or smaller
            for parameter in network.parameters():
                parameter.copy_(parameter.abs() if attempt < 2 else parameter)
        lower = lipschitz_lower_jacobian(network, torch.rand(3, 2, 5, 5), max_exact_classes=100).value
        upper, product = (rule(network, (2, 5, 5)) for rule in (lipschitz_upper_averaged, lipschitz_upper_product))
        assert lower <= upper <= product


def trained(model: str, norm: str, size: int) -> tuple[nn.Module, torch.Tensor]:
    """A network with statistics of noise, whose gains differ."""
    built = Classifier(Standardize((0.5,) * 3, (0.25,) * 3), MODELS.build(model, NORMS.build(norm), 10))
    images = torch.rand(6, 3, size, size)
    for _ in range(2):
        built(images)
    return built, images


@pytest.mark.parametrize("norm", sorted(NORMS.names()))
def test_every_norm_in_a_residual_network_keeps_the_order(norm):
    built, images = trained("resnet8", norm, 6)
    lower = lipschitz_lower_jacobian(built, images[:2]).value
    upper, product = (rule(built, images.shape[1:]) for rule in (lipschitz_upper_averaged, lipschitz_upper_product))
    assert 0 < lower <= upper <= product


@pytest.mark.parametrize("model", [pytest.param("densenet40:growth=1", marks=pytest.mark.slow), "simple_cnn:width=2"])
def test_other_families_of_models_keep_the_order(model):
    built, images = trained(model, "bn", 8)
    lower = lipschitz_lower_jacobian(built, images[:2]).value
    upper, product = (rule(built, images.shape[1:]) for rule in (lipschitz_upper_averaged, lipschitz_upper_product))
    assert 0 < lower <= upper <= product


def test_a_residual_network_is_bounded_far_better_than_by_the_product():
    built, images = trained("resnet8", "none", 6)
    one, two = (lipschitz_upper_averaged(built, (3, 6, 6), steps=steps) for steps in (1, 2))
    assert two <= one < 0.5 * lipschitz_upper_product(built, images.shape[1:])


def test_scaling_the_last_layer_scales_the_bound():
    network = Block(nn.ReLU(), residual=False)
    before = lipschitz_upper_averaged(network, (6, 1, 1))
    with torch.no_grad():
        network.second.weight *= 1e-3
    assert lipschitz_upper_averaged(network, (6, 1, 1)) == pytest.approx(1e-3 * before, rel=1e-6)


class Overwritten(nn.Module):
    """f(x) = W relu(x) - W relu(x) / 2, where the second term reads what an in-place ReLU left."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.linear(torch.flatten(x, 1))
        y = self.relu(x)
        return y - self.other(x)


def test_a_result_that_is_overwritten_and_used_again_is_left_to_the_product_rule():
    network = Overwritten()
    with torch.no_grad():
        network.other.weight.copy_(0.5 * torch.eye(4))
    upper = lipschitz_upper_averaged(network, (4, 1, 1))
    assert upper == lipschitz_upper_product(network, (4, 1, 1))


class Means(nn.Module):
    """A convolution, and the mean over some axes of as many channels as there are columns."""

    def __init__(self, axes: tuple[int, int]) -> None:
        super().__init__()
        self.conv, self.axes = nn.Conv2d(3, 4, 3, padding=1), axes

    def forward(self, x):
        return self.conv(x).mean(self.axes)


@pytest.mark.parametrize("axes", [(2, 3), (-1, -2), (1, 2)])
def test_a_mean_is_taken_over_the_axes_that_are_named(axes):
    network = Means(axes)
    exact = lipschitz_lower_jacobian(network, torch.rand(1, 3, 5, 4)).value
    upper, product = (rule(network, (3, 5, 4)) for rule in (lipschitz_upper_averaged, lipschitz_upper_product))
    assert exact <= upper <= product
    if axes != (1, 2):
        assert upper == pytest.approx(exact, rel=1e-9)


class Dense(nn.Module):
    """A convolution of the image beside an activated convolution of it, as densely connected networks have it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(5, 2, 3, padding=1)

    def forward(self, x):
        return torch.flatten(self.second(torch.cat([x, torch.relu(self.first(x))], 1)), 1)


def test_a_concatenation_is_composed_with_what_follows():
    network = Dense()
    upper, product = (rule(network, (2, 6, 6)) for rule in (lipschitz_upper_averaged, lipschitz_upper_product))
    lower = lipschitz_lower_jacobian(network, torch.rand(4, 2, 6, 6), max_exact_classes=100).value
    assert lower <= upper < product
