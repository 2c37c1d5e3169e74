"""Frobenius norm and smallest singular value of layers, against their matrices."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from convbench.errors import MetricNotDefinedError, UnknownNameError
from convbench.spectral import extremes
from convbench.spectral.extremes import smallest_value
from convbench.spectral.frobenius import frobenius_norm
from convbench.spectral.operator import LinearMap
from convbench.spectral.smallest import smallest_singular_value

CIRCULAR = {"padding_mode": "circular"}
LAYERS = {
    "3x3": lambda: nn.Conv2d(3, 4, 3, padding=1),
    "wide padding": lambda: nn.Conv2d(2, 3, (3, 5), padding=(3, 4)),
    "stride 2": lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1),
    "stride 3, not all pixels seen": lambda: nn.Conv2d(3, 4, 2, stride=3),
    "dilation": lambda: nn.Conv2d(3, 4, 3, dilation=2, padding=(1, 2)),
    "groups": lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2),
    "same": lambda: nn.Conv2d(2, 3, (3, 1), padding="same"),
    "circular": lambda: nn.Conv2d(3, 4, 3, padding=1, **CIRCULAR),
    "circular, taps that see the same pixel": lambda: nn.Conv2d(2, 2, 5, dilation=3, padding=6, **CIRCULAR),
    "reflect": lambda: nn.Conv2d(3, 4, 3, padding=2, padding_mode="reflect"),
    "replicate": lambda: nn.Conv2d(3, 4, 5, padding=3, padding_mode="replicate"),
    "transposed": lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
    "transposed groups": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, dilation=2),
}


def matrix(module: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    module = copy.deepcopy(module).double().eval()
    basis = torch.eye(math.prod(input_shape), dtype=torch.float64).view(-1, *input_shape)
    with torch.no_grad():
        return (module(basis) - module(torch.zeros_like(basis[:1]))).flatten(1)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_the_frobenius_norm_is_that_of_the_matrix(name, scale):
    layer = LAYERS[name]()
    with torch.no_grad():
        layer.weight *= scale
    shape = (layer.in_channels, 7, 6)
    output_size = layer(torch.zeros(1, *shape)).shape[-2:]
    true = float(matrix(layer, shape).norm())
    assert frobenius_norm(layer, (7, 6), tuple(output_size)) == pytest.approx(true, rel=1e-13)


def test_the_frobenius_norm_of_the_zero_kernel_is_zero():
    layer = nn.Conv2d(2, 2, 3)
    nn.init.zeros_(layer.weight)
    assert frobenius_norm(layer, (5, 5), (3, 3)) == 0.0


@pytest.mark.parametrize("name", LAYERS)
def test_the_smallest_singular_value_is_that_of_the_matrix(name):
    layer = LAYERS[name]()
    shape = (layer.in_channels, 7, 6)
    true = torch.linalg.svdvals(matrix(layer, shape))
    expected = float(true[-1]) if true[-1] > 1e-12 * true[0] else 0.0
    assert smallest_singular_value(layer, (7, 6), float(true[0])) == pytest.approx(expected, rel=1e-8)
    if expected > 1e-5 * true[0]:
        assert smallest_value(LinearMap(layer, shape), float(true[0])) == pytest.approx(expected, rel=1e-8)
    else:
        with pytest.raises(MetricNotDefinedError, match="below 1e-05 of the norm"):
            smallest_value(LinearMap(layer, shape), float(true[0]))


@pytest.mark.parametrize("shape", [(20, 30), (30, 20)])
def test_the_smallest_singular_value_of_a_linear_layer(shape):
    layer = nn.Linear(*shape)
    true = torch.linalg.svdvals(layer.weight.detach().double())
    assert smallest_singular_value(layer, (), float(true[0])) == pytest.approx(float(true[-1]), rel=1e-12)


def test_layers_that_lose_rank_have_the_smallest_value_zero():
    lost = nn.Conv2d(3, 8, 1, stride=2)  # 4 * 3 inputs for 8 outputs, but only 3 of them are read
    assert smallest_singular_value(lost, (6, 6), 1.0) == 0.0
    equal = nn.Linear(5, 5)
    nn.init.ones_(equal.weight)
    assert smallest_singular_value(equal, (), 5.0) == 0.0
    zero = nn.Conv2d(2, 2, 3, padding=1)
    nn.init.zeros_(zero.weight)
    assert smallest_singular_value(zero, (6, 6), 0.0) == 0.0


def test_what_is_out_of_reach_is_said(monkeypatch):
    layer = nn.Conv2d(5, 5, 3, padding=1)
    with pytest.raises(MetricNotDefinedError, match="500 singular values is too large for the fast budget"):
        smallest_singular_value(layer, (10, 10), 1.0, budget="fast")
    with pytest.raises(MetricNotDefinedError, match="matrix of 1300x1300 is too large"):
        smallest_singular_value(nn.Linear(1300, 1300), (), 1.0, budget="fast")
    with pytest.raises(UnknownNameError, match="unknown budget 'cheap'"):
        smallest_singular_value(layer, (10, 10), 1.0, budget="cheap")
    monkeypatch.setattr(extremes, "GRAM_LIMIT", 400)
    with pytest.raises(MetricNotDefinedError, match="500 singular values, and the smallest is sought among 400"):
        smallest_value(LinearMap(layer, (5, 10, 10)), 1.0)
