"""Frozen batch normalization is batch normalization at evaluation, whatever is done to it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from convbench.errors import ConfigError
from convbench.lipschitz import lipschitz_upper_product
from convbench.models import MODELS
from convbench.norms import NORMS
from convbench.norms.frozen_bn import FrozenBatchNorm2d
from convbench.spectral.layer_table import layer_table


def trained(channels=6, **options):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(channels, **options)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    for _ in range(3):
        norm(torch.randn(4, channels, 5, 5) * 3 + 2)
    return norm


def images():
    return torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(1))


def test_it_is_the_affine_map_of_its_buffers():
    norm = FrozenBatchNorm2d.from_batch_norm(trained(eps=0.01)).double()
    x = images().double()
    w, b, mean, var = (getattr(norm, n).numpy() for n in ("weight", "bias", "running_mean", "running_var"))
    expected = np.empty(x.shape)
    for c in range(6):
        expected[:, c] = w[c] * (x.numpy()[:, c] - mean[c]) / np.sqrt(var[c] + 0.01) + b[c]
    assert np.abs(norm(x).numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"eps": 0.1}])
def test_it_is_batch_normalization_at_evaluation_bit_for_bit_and_never_changes(options):
    norm = trained(**options)
    frozen = FrozenBatchNorm2d.from_batch_norm(norm)
    expected = norm.eval()(images())
    assert frozen.training
    before = copy.deepcopy(frozen.state_dict())
    for _ in range(2):
        x = images().requires_grad_()
        y = frozen(x)
        assert torch.equal(y, expected)
        y.sum().backward()
        assert x.grad.abs().max() > 0
    assert not list(frozen.parameters())
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())


def test_what_it_took_over_is_a_copy():
    norm = trained()
    frozen = FrozenBatchNorm2d.from_batch_norm(norm)
    expected = frozen(images())
    norm(images() + 100)
    nn.init.zeros_(norm.weight)
    assert torch.equal(frozen(images()), expected)


@pytest.mark.parametrize("model", ["resnet8", "densenet40:growth=2"])
def test_networks_with_either_load_each_others_weights(model):
    torch.manual_seed(0)
    usual = MODELS.build(model, NORMS.build("bn"), 10)
    for _ in range(2):
        usual(torch.rand(4, 3, 16, 16))
    frozen = MODELS.build(model, NORMS.build("frozen_bn"), 10)
    frozen.load_state_dict(usual.state_dict(), strict=True)
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(frozen.train()(x), usual.eval()(x))
    MODELS.build(model, NORMS.build("bn"), 10).load_state_dict(frozen.state_dict(), strict=True)


def test_it_is_measured_as_the_batch_normalization_that_it_was():
    usual, frozen = (MODELS.build("simple_cnn:width=2", NORMS.build(name), 10) for name in ("bn", "frozen_bn"))
    for _ in range(2):
        usual(torch.rand(4, 3, 8, 8))
    frozen.load_state_dict(usual.state_dict())
    assert lipschitz_upper_product(frozen, (3, 8, 8)) == lipschitz_upper_product(usual, (3, 8, 8))
    ours, theirs = (layer_table(network, (3, 8, 8), conditioning=False) for network in (frozen, usual))
    assert [row.composed for row in ours] == [row.composed for row in theirs]
    assert [row.bn_gain_max for row in ours] == [row.bn_gain_max for row in theirs]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="expected 4D input"):
        FrozenBatchNorm2d(6)(torch.randn(2, 6))
    with pytest.raises(ValueError, match="expected 4D input"):
        FrozenBatchNorm2d(6)(torch.randn(2, 6, 3, 3, 3))
    with pytest.raises(ValueError, match="expected 6 channels, got 5"):
        FrozenBatchNorm2d(6)(torch.randn(2, 5, 3, 3))
    with pytest.raises(ValueError, match="without running statistics"):
        FrozenBatchNorm2d.from_batch_norm(nn.BatchNorm2d(6, track_running_stats=False))
    with pytest.raises(ConfigError, match="eps must be positive"):
        NORMS.build("frozen_bn:eps=0")
