"""The constants of single operations: each is attained or kept to on random inputs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convbench.lipschitz import lipschitz_lower_jacobian, lipschitz_upper_product
from convbench.lipschitz.activations import GELU_TANH_SLOPE, SLOPES, slope_range

ELEMENTWISE = sorted(SLOPES.keys() - {"neg", "clamp", "hardshrink", "softmax", "softmin"})


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_slopes_in_the_table_are_the_largest_and_no_larger(name):
    function = getattr(F, name, getattr(torch, name, None))
    x = torch.linspace(-8, 8, 160_001, dtype=torch.float64).requires_grad_()
    largest = float(torch.autograd.grad(function(x).sum(), x)[0].abs().max())
    assert largest <= SLOPES[name] * (1 + 1e-12)
    assert largest >= SLOPES[name] * (1 - 2e-3)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_smallest_slopes_are_the_smallest_and_no_smaller(name):
    function, slopes = getattr(F, name, getattr(torch, name, None)), slope_range(name)
    assert slopes is not None
    x = torch.linspace(-8, 8, 160_001, dtype=torch.float64).requires_grad_()
    smallest = float(torch.autograd.grad(function(x).sum(), x)[0].min())
    assert slopes[0] - 1e-12 <= smallest <= slopes[0] + 0.02  # softsign and tanh come near 0 only far away


@pytest.mark.parametrize(("parameter", "slopes"), [(0.2, (0.2, 1.0)), (-0.5, (-0.5, 1.0)), (3.0, (1.0, 3.0))])
def test_a_leaky_relu_has_its_two_slopes(parameter, slopes):
    assert slope_range("leaky_relu", parameter=parameter) == slopes


def test_a_function_that_jumps_or_mixes_entries_has_no_range_of_slopes():
    assert [slope_range(name) for name in ("hardshrink", "softmax", "fft")] == [None] * 3


def test_gelu_by_tanh_is_a_little_steeper():
    x = torch.linspace(0, 3, 100_001, dtype=torch.float64).requires_grad_()
    largest = float(torch.autograd.grad(F.gelu(x, approximate="tanh").sum(), x)[0].max())
    assert SLOPES["gelu"] < largest <= GELU_TANH_SLOPE <= largest * 1.0001


class Flat(nn.Module):
    """A function of images, and logits from it."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return torch.flatten(self.function(x), 1)


# function of (N, 2, 7, 7) -> its constant
EXACT = {
    "leaky relu": (nn.LeakyReLU(2.0), 2.0),
    "leaky relu, function": (lambda x: F.leaky_relu(x, 3.0), 3.0),
    "elu": (nn.ELU(2.5), 2.5),
    "prelu": (nn.PReLU(init=-1.5), 1.5),
    "relu in place": (lambda x: F.relu_(x + 0), 1.0),
    "method": (lambda x: x.sigmoid(), 0.25),
    "dropout": (nn.Dropout(0.5), 1.0),
    "dropout at evaluation": (lambda x: F.dropout(x, 0.5, False), 1.0),
    "max pool 2": (nn.MaxPool2d(2), 1.0),
    "max pool 3 stride 2": (nn.MaxPool2d(3, stride=2, padding=1), 2.0),
    "max pool 3 stride 1": (lambda x: F.max_pool2d(x, 3, 1), 3.0),
    "max pool dilated": (nn.MaxPool2d(2, stride=2, dilation=2), 2.0),
    "average pool": (nn.AvgPool2d(7), 1 / 7),
    "average pool by function": (lambda x: F.avg_pool2d(x, 2), 1 / 2),
    "shortcut A": (nn.Sequential(nn.AvgPool2d(1, 2), nn.ConstantPad3d((0, 0, 0, 0, 0, 3), 0.0)), 1.0),
    "shortcut A by slicing": (lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)), 1.0),
    "global average": (nn.AdaptiveAvgPool2d(1), 1 / 7),
    "global average by function": (lambda x: F.adaptive_avg_pool2d(x, (1, 1)), 1 / 7),
    "mean": (lambda x: x.mean(dim=(2, 3)), 1 / 7),
    "repeated": (lambda x: x.repeat(1, 3, 1, 1), 3**0.5),
    "constant factor": (lambda x: 4 * x / 2 - 1, 2.0),
    "factor per channel": (lambda x: x * torch.tensor([3.0, -5.0]).view(1, 2, 1, 1), 5.0),
    "parts": (lambda x: torch.cat(x.chunk(2, dim=1)[:1], 1), 1.0),
    "sizes": (lambda x: x.view(x.size(0), -1) * (x.shape[1] - 5), 3.0),
    "broadcast": (lambda x: x.mean((2, 3), keepdim=True) + torch.zeros(1, 1, 7, 7), 1.0),
    "adaptive, uneven": (nn.AdaptiveAvgPool2d(3), None),
    "average, padded": (nn.AvgPool2d(3, stride=2, padding=1), None),
    "reflection": (nn.ReflectionPad2d(1), 2.0),
    "clamp": (lambda x: torch.clamp(x, 0, 1), 1.0),
}


@pytest.mark.parametrize("name", EXACT)
def test_an_operation_has_its_constant_and_keeps_to_it(name):
    function, constant = EXACT[name]
    network = Flat(function)
    upper = lipschitz_upper_product(network, (2, 7, 7))
    if constant is not None:
        assert upper == pytest.approx(constant, rel=1e-6)
    x = torch.randn(2, 2, 7, 7, generator=torch.Generator().manual_seed(0))
    assert lipschitz_lower_jacobian(network, x, max_exact_classes=1000).value <= upper * (1 + 1e-12)
