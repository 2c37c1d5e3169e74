"""Mode normalization against loops, its limit of one mode, and the ways in which it could go wrong."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from convbench.errors import ConfigError
from convbench.norms import NORMS
from convbench.norms.mode import ModeNorm2d


def built(modes=3, channels=4, dtype=torch.float64, **options):
    torch.manual_seed(0)
    module = ModeNorm2d(channels, modes, dtype=dtype, **options)
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    return module


def images(seed=1, dtype=torch.float64, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(6, 4, 3, 5, generator=generator, dtype=torch.float64) * 2
    return (x + torch.randn(6, 4, 1, 1, generator=generator, dtype=torch.float64) * 3 + offset).to(dtype)


def gates(module, x):
    a, b = module.gate.weight.detach().numpy(), module.gate.bias.detach().numpy()
    result = np.empty((len(x), module.modes))
    for n, image in enumerate(x):
        score = np.exp([a[k] @ image.mean(axis=(1, 2)) + b[k] for k in range(module.modes)])
        result[n] = score / score.sum()
    return result


def moments(gate, x):
    """Weighted mean and variance (K, C) over all positions, pixel by pixel."""
    n, channels, height, width = x.shape
    mean, var = np.zeros((2, gate.shape[1], channels))
    for k in range(gate.shape[1]):
        total = gate[:, k].sum() * height * width
        for c in range(channels):
            mean[k, c] = sum(gate[i, k] * x[i, c].sum() for i in range(n)) / total
            var[k, c] = sum(gate[i, k] * ((x[i, c] - mean[k, c]) ** 2).sum() for i in range(n)) / total
    return mean, var


def output(module, gate, mean, var, x):
    w, b, y = module.weight.detach().numpy(), module.bias.detach().numpy(), np.zeros(x.shape)
    for i, c in np.ndindex(x.shape[:2]):
        for k in range(gate.shape[1]):
            y[i, c] += gate[i, k] * (x[i, c] - mean[k, c]) / np.sqrt(var[k, c] + module.eps)
        y[i, c] = w[c] * y[i, c] + b[c]
    return y


def test_training_and_evaluation_are_the_loops_of_the_paper():
    module = built(momentum=0.3)
    share, mean, var = np.full(3, 1 / 3), np.zeros((3, 4)), np.ones((3, 4))
    for seed in range(3):
        x = images(seed)
        gate = gates(module, x.numpy())
        batch_mean, batch_var = moments(gate, x.numpy())
        expected = output(module, gate, batch_mean, batch_var, x.numpy())
        assert np.abs(module(x).detach().numpy() - expected).max() < 1e-12
        batch_share = gate.mean(axis=0)
        share = 0.7 * share + 0.3 * batch_share
        step = (0.3 * batch_share / share)[:, None]
        mean = mean + step * (batch_mean - mean)
        var = var + step * (batch_var * 90 / 89 - var)
    module.eval()
    x = images(9)
    expected = output(module, gates(module, x.numpy()), mean, var, x.numpy())
    assert np.abs(module(x).detach().numpy() - expected).max() < 1e-12
    assert int(module.num_batches_tracked) == 3


@pytest.mark.parametrize("momentum", [0.1, None])
def test_one_mode_is_batch_normalization(momentum):
    options = {"momentum": momentum, "dtype": torch.float64}
    ours, theirs = ModeNorm2d(4, 1, **options), nn.BatchNorm2d(4, **options)
    for seed in range(3):
        a, b = images(seed).requires_grad_(), images(seed).requires_grad_()
        ya, yb = ours(a), theirs(b)
        assert (ya - yb).abs().max() < 1e-12
        ya.sin().sum().backward(), yb.sin().sum().backward()
        assert (a.grad - b.grad).abs().max() < 1e-12
    for name in ("running_mean", "running_var"):
        assert (getattr(ours, name)[0] - getattr(theirs, name)).abs().max() < 1e-12
    assert (ours.weight.grad - theirs.weight.grad).abs().max() < 1e-12
    assert (ours.eval()(images()) - theirs.eval()(images())).abs().max() < 1e-12
    assert ours.gate is None


def test_two_kinds_of_images_are_normalized_apart():
    module = ModeNorm2d(1, 2, dtype=torch.float64)
    with torch.no_grad():
        module.gate.weight.copy_(torch.tensor([[50.0], [-50.0]]))
        module.gate.bias.zero_()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10, 1, 20, 20, generator=generator, dtype=torch.float64)
    x[:3] = 5 * x[:3] + 40
    x[3:] = x[3:] - 7
    for part in (module(x)[:3], module(x)[3:]):
        assert part.mean().abs() < 1e-6
        assert (part.var(correction=0) - 1).abs() < 1e-3
    assert (module.running_share - torch.tensor([0.3, 0.7]).double()).abs().max() < 0.2


def test_a_mode_without_images_stays_where_it_is_and_does_no_harm():
    module = ModeNorm2d(4, 2)
    with torch.no_grad():
        module.gate.weight.zero_()
        module.gate.bias.copy_(torch.tensor([0.0, -500.0]))  # its share underflows to zero
        module.running_mean[1] = 3
    for seed in range(3):
        x = images(seed, torch.float32).requires_grad_()
        y = module(x)
        y.square().mul(torch.linspace(0, 1, 4)[:, None, None]).sum().backward()
        assert y.isfinite().all()
        assert all(p.grad.isfinite().all() for p in (x, *module.parameters()))
    assert torch.equal(module.running_mean[1], torch.full((4,), 3.0))
    assert module.running_var.isfinite().all()
    x = images(4, torch.float32)
    usual = nn.functional.batch_norm(x, None, None, training=True)
    assert (module(x) - usual).abs().max() < 1e-5


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_the_formula(training):
    module = built(modes=2)
    module(images())
    module.train(training)
    names, parameters = zip(*module.named_parameters(), strict=True)
    module.momentum = 0.0  # gradcheck calls it again and again

    def function(x, *values):
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x,))

    inputs = (images()[:3, :, :2, :2].clone(), *(p.detach().clone() for p in parameters))
    assert torch.autograd.gradcheck(function, tuple(value.requires_grad_() for value in inputs))


@pytest.mark.parametrize("training", [True, False])
def test_a_large_mean_costs_no_more_digits_than_it_must(training):
    wide = built(modes=2)
    with torch.no_grad():
        wide.gate.weight.div_(1e4)
    narrow = copy.deepcopy(wide).float()
    for seed in range(60):
        x = images(seed, torch.float32, offset=1e4)
        wide(x.double()), narrow(x)
    wide.train(training), narrow.train(training)
    assert (wide(x.double()) - narrow(x)).abs().max() < 2e-2
    assert narrow.running_var.min() > 0


@pytest.mark.parametrize("x", [torch.zeros(3, 4, 2, 2), torch.full((2, 4, 1, 1), 1e6), images()[:2].float() * 1e-12])
def test_degenerate_batches_stay_finite(x):
    module = built(dtype=torch.float32)
    x = x.clone().requires_grad_()
    y = module(x)
    y.square().sum().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in (x, *module.parameters()))
    assert module.eval()(x).isfinite().all()


def test_bfloat16_images_have_statistics_in_float32():
    module = built(dtype=torch.float32)
    x = images(dtype=torch.bfloat16)
    y = copy.deepcopy(module)(x)
    assert y.dtype == torch.bfloat16
    assert (y.float() - module(x.float())).abs().max() < 2**-7 * y.float().abs().max()


def test_bad_input_is_refused():
    module = ModeNorm2d(4)
    for shape in ((2, 4), (2, 4, 3, 3, 3)):
        with pytest.raises(ValueError, match="expected 4D input"):
            module(torch.randn(shape))
    with pytest.raises(ValueError, match="expected 4 channels, got 5"):
        module(torch.randn(2, 5, 3, 3))
    with pytest.raises(ValueError, match="more than 1 value per channel when training"):
        module(torch.randn(1, 4, 1, 1))
    assert module.eval()(torch.randn(1, 4, 1, 1)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("modes=0", "modes must be at least 1, got 0"),
        ("momentum=1.5", r"momentum must be in \[0, 1\]"),
        ("eps=0", "eps must be positive"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=f"norm 'mode': {message}"):
        NORMS.build(f"mode:{options}")
