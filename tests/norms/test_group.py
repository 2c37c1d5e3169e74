"""Group, layer and instance normalization against loops, and what becomes of odd channels and of single pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convbench.errors import ConfigError
from convbench.norms import NORMS
from convbench.norms.group import number_of_groups

# name -> channels per group, of 6
NAMES = {"group:groups=2": 3, "group": 3, "layer:eps=0.1": 6, "instance": 1, "in:eps=0.01": 1}


def built(name, channels=6, dtype=torch.float64):
    module = NORMS.build(name).on_output(channels).to(dtype)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(-1, 2, channels))
        module.bias.copy_(torch.linspace(3, 1, channels))
    return module


def reference(x, size, gamma, beta, eps):
    y = np.empty_like(x)
    for n in range(x.shape[0]):
        for first in range(0, x.shape[1], size):
            part = x[n, first : first + size]
            mean = part.sum() / part.size
            variance = sum((value - mean) ** 2 for value in part.flat) / part.size
            for c in range(first, first + size):
                y[n, c] = gamma[c] * (x[n, c] - mean) / np.sqrt(variance + eps) + beta[c]
    return y


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_every_group_has_its_own_moments(name, training):
    module = built(name).train(training)
    x = torch.randn(3, 6, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 7
    expected = reference(x.numpy(), NAMES[name], module.weight.tolist(), module.bias.tolist(), module.eps)
    assert np.abs(module(x).detach().numpy() - expected).max() < 1e-12


@given(st.integers(1, 300), st.integers(1, 70))
def test_the_number_of_groups_divides_the_channels_and_leaves_two_in_each(channels, groups):
    number = number_of_groups(channels, groups)
    assert channels % number == 0
    assert groups % number == 0
    assert number == 1 or channels // number >= 2
    larger = range(number + 1, min(channels // 2, groups) + 1)
    assert not any(channels % d == 0 and groups % d == 0 for d in larger)


def test_the_papers_default_on_common_widths():
    widths = {64: 32, 128: 32, 256: 32, 48: 16, 32: 16, 16: 8, 28: 4, 3: 1, 1: 1}
    assert {c: NORMS.build("group").on_output(c).num_groups for c in widths} == widths


def test_a_single_pixel_cannot_be_normalized_by_itself():
    module = NORMS.build("instance").on_output(4)
    for training in (True, False):
        # One line in the command line, and a ValueError to who catches torch's.
        for kind in (ConfigError, ValueError):
            with pytest.raises(kind, match=r"1x1 pixels has no variance.*norm 'group' or 'layer', or `where`"):
                module.train(training)(torch.randn(2, 4, 1, 1))
        with pytest.raises(ValueError, match="more than 1 spatial element"):
            nn.InstanceNorm2d(4).train(training)(torch.randn(2, 4, 1, 1))
    assert module(torch.randn(2, 4, 1, 2)).isfinite().all()
    for name in ("group", "layer"):  # several channels in a group
        y = NORMS.build(name).on_output(4)(torch.randn(2, 4, 1, 1))
        assert y.isfinite().all()
        assert y.std() > 0.1


def test_what_torch_refuses_is_refused():
    with pytest.raises(ValueError, match="expected 3D or 4D input"):
        NORMS.build("instance").on_output(4)(torch.randn(2, 4))
    with pytest.raises(ValueError, match="expected 3D or 4D input"):
        NORMS.build("instance").on_output(4)(torch.randn(2, 4, 3, 3, 3))
    with pytest.raises(ValueError, match="num_features"):
        NORMS.build("instance").on_output(4)(torch.randn(2, 5, 3, 3))
    with pytest.raises(RuntimeError, match="channels"):
        NORMS.build("group").on_output(4)(torch.randn(2, 6, 3, 3))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        NORMS.build("layer").on_output(1)(torch.randn(1, 1, 1, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group:groups=0", "groups must be at least 1, got 0"),
        ("group:eps=0", "norm 'group': eps must be positive"),
        ("layer:eps=-1", "norm 'layer': eps must be positive"),
        ("instance:eps=nan", "norm 'instance': eps must be positive"),
        ("layer:groups=2", "has no option 'groups=2'"),
    ],
)
def test_options_out_of_range_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        NORMS.build(text)


@pytest.mark.parametrize("name", ["group", "layer", "instance"])
def test_a_constant_image_gives_beta_and_finite_gradients(name):
    module = built(name, dtype=torch.float32)
    x = torch.full((2, 6, 4, 4), 4.0, requires_grad=True)
    y = module(x)
    y.square().sum().backward()
    assert (y - module.bias[:, None, None]).abs().max() < 1e-3
    assert x.grad.isfinite().all()


def test_models_have_no_bias_beside_these():
    assert all(NORMS.build(name).has_shift for name in NAMES)
    assert isinstance(NORMS.build("group")(nn.Conv2d(3, 8, 3)).get_submodule("norm"), nn.GroupNorm)
