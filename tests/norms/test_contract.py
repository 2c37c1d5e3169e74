"""Every registered normalization keeps the contract that models, training and evaluation rely on."""

import copy
import io

import pytest
import torch
from torch import nn

from convbench.errors import ConfigError
from convbench.norms import NORMS

CONVS = {
    "3x3": {"kernel_size": 3, "padding": 1},
    "1x1": {"kernel_size": 1},
    "stride 2": {"kernel_size": 3, "padding": 1, "stride": 2},
    "1x1, stride 2": {"kernel_size": 1, "stride": 2},
    "dilation 2": {"kernel_size": 3, "padding": 2, "dilation": 2},
    "depthwise": {"kernel_size": 3, "padding": 1, "groups": 4},
}


@pytest.fixture(params=NORMS.names())
def norm(request):
    return NORMS.build(request.param)


def images(size=10, number=8, seed=0, dtype=torch.float32):
    return torch.randn(number, 4, size, size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def build(norm, seed=0, **conv):
    torch.manual_seed(seed)
    return norm(nn.Conv2d(4, 8, bias=not norm.has_shift, **(conv or CONVS["3x3"])))


def train(module, optimizer, steps, first=0):
    for step in range(first, first + steps):
        optimizer.zero_grad()
        module(images(seed=step)).square().mul(torch.linspace(0, 1, 8)[:, None, None]).mean().backward()
        optimizer.step()


def trained(norm, **conv):
    module = build(norm, **conv)
    train(module, torch.optim.SGD(module.parameters(), 0.1), 3)
    return module


@pytest.mark.parametrize("conv", CONVS.values(), ids=CONVS.keys())
def test_shape_is_the_bare_convolutions(norm, conv):
    module = build(norm, **conv)
    assert module(images()).shape == nn.Conv2d(4, 8, **conv)(images()).shape
    one = images(number=1)
    assert module.eval()(one).shape == nn.Conv2d(4, 8, **conv)(one).shape


@pytest.mark.parametrize("conv", CONVS.values(), ids=CONVS.keys())
def test_gradients_reach_every_parameter_and_the_input(norm, conv):
    module, x = build(norm, **conv), images().requires_grad_()
    module(x).square().mul(torch.linspace(0, 1, 8)[:, None, None]).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0


def test_eval_treats_images_one_by_one(norm):
    module = trained(norm).eval()
    together = module(images(seed=9))
    alone = torch.cat([module(image) for image in images(seed=9).split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_eval_changes_no_state(norm):
    module = trained(norm).eval()
    before = copy.deepcopy(module.state_dict())
    module(images(size=14))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("conv", CONVS.values(), ids=CONVS.keys())
def test_state_dict_loads_into_a_fresh_module(norm, conv):
    module, fresh = trained(norm, **conv).eval(), build(norm, seed=1, **conv).eval()
    fresh(images(size=12))  # having seen another size must not matter
    fresh.load_state_dict(module.state_dict(), strict=True)
    for size in (10, 13):
        assert torch.equal(module(images(size=size)), fresh(images(size=size)))


def test_training_resumes_bit_for_bit(norm):
    module = build(norm)
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    train(module, optimizer, 5)
    file = io.BytesIO()
    torch.save((module.state_dict(), optimizer.state_dict()), file)
    train(module, optimizer, 15, first=5)

    resumed = build(norm, seed=1)
    optimizer = torch.optim.SGD(resumed.parameters(), 0.1, momentum=0.9)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    resumed.load_state_dict(weights)
    optimizer.load_state_dict(state)
    train(resumed, optimizer, 15, first=5)
    for name, value in module.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_deepcopy_is_equal_and_independent(norm):
    module = trained(norm).eval()
    twin = copy.deepcopy(module)
    expected = module(images())
    assert torch.equal(twin(images()), expected)
    train(twin.train(), torch.optim.SGD(twin.parameters(), 0.1), 1)
    assert torch.equal(module(images()), expected)


def test_no_grad_gives_the_same_output(norm):
    module = trained(norm)
    expected = copy.deepcopy(module)(images())
    with torch.no_grad():
        torch.testing.assert_close(copy.deepcopy(module)(images()), expected, rtol=1e-5, atol=1e-6)
        module.eval()
        with_gradient = torch.enable_grad()(module)(images())
        torch.testing.assert_close(module(images()), with_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_float32_agrees_with_float64(norm, training):
    module = trained(norm).train(training)
    twin = copy.deepcopy(module).double()
    wide = twin(images().double())
    assert wide.dtype == torch.float64
    torch.testing.assert_close(module(images()).double(), wide, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_autocast_is_close(norm, training):
    module = trained(norm).train(training)
    exact = copy.deepcopy(module)(images())
    with torch.autocast("cpu", torch.bfloat16):
        y = module(images())
    assert y.dtype == torch.bfloat16
    assert (y.float() - exact).square().mean().sqrt() < 2e-2 * exact.square().mean().sqrt()
    y.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [10, 20])
def test_channels_last_agrees(norm, training, size):
    def run(memory_format):
        module = copy.deepcopy(start).to(memory_format=memory_format)
        x = images(size).contiguous(memory_format=memory_format).requires_grad_()
        y = module(x)
        y.square().mul(torch.linspace(0, 1, 8)[:, None, None]).mean().backward()
        return [y, x.grad, *(p.grad for p in module.parameters()), *module.buffers()]

    start = trained(norm).train(training)
    start.zero_grad()
    usual, last = run(torch.contiguous_format), run(torch.channels_last)
    for a, b in zip(usual, last, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    for a, b in zip(last, run(torch.channels_last), strict=True):
        assert torch.equal(a, b)


def test_the_global_generator_is_not_touched(norm):
    module = build(norm)
    state = torch.get_rng_state()
    train(module, torch.optim.SGD(module.parameters(), 0.1), 2)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_number_that_is_none_is_an_option():
    for entry in NORMS:
        for option, parameter in entry.options.items():
            for value in ("nan", "inf", "-inf") if type(parameter.default) is float else ():
                with pytest.raises(ConfigError, match=f"norm '{entry.name}': {option} must be .*{value}"):
                    NORMS.build(f"{entry.name}:{option}={value}")


def test_every_entry_says_what_it_is():
    for entry in NORMS:
        assert entry.summary.endswith("."), entry.name
        assert entry.name in NORMS
