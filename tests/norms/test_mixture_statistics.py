"""What mixture normalization does to a distribution, and what it learns about it while training."""

import copy

import pytest
import torch
from torch import nn

from convbench.norms import MixtureNorm2d
from convbench.norms.channel_moments import channel_moments
from convbench.norms.mixtures.batch_passes import passes_of
from convbench.norms.mixtures.transform import assign
from convbench.norms.process_sums import of_this_process


def draw(weights, means, stds, rows, seed=0, channels_first=True):
    """Rows of a planted Gaussian mixture as images of one pixel row, and the component of each row."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.multinomial(torch.tensor(weights), rows, replacement=True, generator=generator)
    noise = torch.randn(rows, means.shape[1], generator=generator)
    x = means[label] + stds[label] * noise
    return x.view(rows // 16, 16, 1, -1).permute(0, 3, 1, 2).contiguous(), label


def modes(components, channels=4):
    """Means along a line, the outer ones 60 sigma apart in each channel."""
    direction = torch.randn(channels, generator=torch.Generator().manual_seed(3)).sign()
    return torch.linspace(0, 60, components)[:, None] * direction


def rows_of(y):
    return y.permute(0, 2, 3, 1).flatten(0, 2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_one_component_is_batch_normalization_bit_for_bit(training, affine, momentum):
    ours, theirs = (kind(6, momentum=momentum, affine=affine) for kind in (one_component, nn.BatchNorm2d))
    for seed in range(3):
        x = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(seed)) * 3 + 1
        ours(x), theirs(x)
    ours.train(training), theirs.train(training)
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    outputs = [ours(inputs[0]), theirs(inputs[1])]
    assert torch.equal(*outputs)
    for y in outputs:
        y.sin().sum().backward()
    assert torch.equal(inputs[0].grad, inputs[1].grad)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def one_component(num_features, **options):
    return MixtureNorm2d(num_features, 1, **options)


def test_the_general_path_with_one_component_is_batch_normalization_too():
    ours, theirs = MixtureNorm2d(6, 1), nn.BatchNorm2d(6)
    for seed in range(5):
        x = torch.randn(8, 6, 5, 5, generator=torch.Generator().manual_seed(seed)) * 3 + 1
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        ya, yb = ours._normalize_by_batch(a, of_this_process), theirs(b)
        ya.sin().sum().backward(), yb.sin().sum().backward()
        assert (ya - yb).abs().max() < 1e-5
        assert (a.grad - b.grad).abs().max() < 1e-5
        assert (ours.weight.grad - theirs.weight.grad).abs().max() < 1e-5 * theirs.weight.grad.abs().max()
    assert (ours.eval()._normalize_by_running(x) - theirs.eval()(x)).abs().max() < 1e-5
    assert (ours.running_mean - theirs.running_mean).abs().max() < 1e-6
    assert (ours.running_var - theirs.running_var).abs().max() < 1e-5


def test_running_mean_and_variance_are_batch_normalizations():
    ours, theirs = MixtureNorm2d(6), nn.BatchNorm2d(6)
    for seed in range(5):
        x = torch.randn(8, 6, 5, 5, generator=torch.Generator().manual_seed(seed)) * 3 + 100
        ours(x), theirs(x)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-5, atol=0)
    assert torch.equal(ours.num_batches_tracked, theirs.num_batches_tracked)


WEIGHTS = {2: [0.7, 0.3], 3: [0.5, 0.3, 0.2]}


@pytest.mark.parametrize("components", [2, 3])
@pytest.mark.parametrize("scale", ["fisher", "none"])
@pytest.mark.parametrize("seed", range(5))
def test_each_mode_is_normalized_by_itself(components, scale, seed):
    x, label = draw(WEIGHTS[components], modes(components), torch.ones(components, 4), 16384, seed)
    y = rows_of(MixtureNorm2d(4, components, scale=scale, seed=seed)(x))
    shares = [(label == k).float().mean() for k in range(components)]
    for k, share in enumerate(shares):
        mode = y[label == k]
        assert mode.mean(0).abs().max() < 2e-2
        expected = 1 / share if scale == "fisher" else 1
        assert (mode.var(0, correction=0) / expected - 1).abs().max() < (5e-2 if scale == "fisher" else 2e-2)
    total = components if scale == "fisher" else 1
    assert (y.var(0, correction=0) / total - 1).abs().max() < 1e-2
    assert y.mean(0).abs().max() < 1e-2


def test_identical_components_scale_by_the_sum_of_the_roots_of_their_shares():
    module = MixtureNorm2d(4, 3).eval()
    with torch.no_grad():
        module.comp_weight.copy_(torch.tensor(WEIGHTS[3]))
    x = torch.randn(64, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = module.comp_weight.sqrt().sum() * x / (1 + 2e-5) ** 0.5
    assert (module(x) - expected).abs().max() < 1e-3


@pytest.fixture(scope="module")
def planted():
    """A module trained on a planted mixture of three modes in 16 channels, ten sigma apart."""
    generator = torch.Generator().manual_seed(1)
    means = torch.randn(3, 16, generator=generator) * 10 / 32**0.5
    stds = 0.5 + torch.rand(3, 16, generator=generator)
    module = MixtureNorm2d(16, 3)
    with torch.no_grad():
        for seed in range(100):
            module(draw(WEIGHTS[3], means, stds, 2048, seed)[0])
    return module, means, stds


def test_a_planted_mixture_is_found(planted):
    module, means, stds = planted
    std = (module.running_var + module.eps).sqrt()
    found = module.comp_mean * std + module.running_mean
    order = [int((found - mean).square().sum(1).argmin()) for mean in means]
    assert sorted(order) == [0, 1, 2]
    assert (module.comp_weight[order] - torch.tensor(WEIGHTS[3])).abs().max() < 0.03
    assert ((found[order] - means) / stds).abs().max() < 0.15
    assert ((module.comp_var * std**2)[order] / stds**2 - 1).abs().max() < 0.25


def test_evaluation_is_close_to_training_on_the_same_distribution(planted):
    module, means, stds = planted
    x, _ = draw(WEIGHTS[3], means, stds, 2048, seed=500)
    with torch.no_grad():
        in_training = copy.deepcopy(module).train()(x)
        in_evaluation = copy.deepcopy(module).eval()(x)
    assert (in_training - in_evaluation).norm() / in_training.norm() < 0.15


@pytest.mark.parametrize("dead", [0, 0.02])
def test_a_mode_that_stays_away_for_a_while_is_found_again(planted, dead):
    """Its component waits where it was, or, refitted, helps out elsewhere until the mode is back."""
    start, means, stds = planted
    module = copy.deepcopy(start).train()
    module.dead = dead
    with torch.no_grad():
        for seed in range(100):
            module(draw([0.625, 0.375, 0.0], means, stds, 2048, seed)[0])
        assert all(buffer.isfinite().all() for buffer in module.buffers())
        assert dead or module.comp_weight.min() < 1e-4
        for seed in range(60):
            module(draw(WEIGHTS[3], means, stds, 2048, seed)[0])
    assert (module.comp_weight.sort()[0] - torch.tensor(WEIGHTS[3]).sort()[0]).abs().max() < 0.05


@pytest.mark.parametrize("speed", [0.25, 1.0])
def test_drifting_modes_are_followed(planted, speed):
    """Centres that move by up to one sigma from batch to batch: each vector still goes to its own mode."""
    start, means, stds = planted
    module, generator = copy.deepcopy(start).train(), torch.Generator().manual_seed(7)
    mixture = module._running_mixture(torch.float32)
    found = mixture.mean_kc * module.running_var.sqrt() + module.running_mean
    order = torch.stack([(found - mean).square().sum(1).argmin() for mean in means])
    for seed in range(30):
        means = means + speed * stds * torch.randn(16, generator=generator).sign()
        x, label = draw(WEIGHTS[3], means, stds, 2048, seed)
        with torch.no_grad():
            moments = channel_moments(x, of_this_process)
            mixture = module._running_mixture(x.dtype)
            std = (moments.var_c + module.eps).sqrt()
            (resp,) = assign(x, passes_of(x), mixture, moments, std, module.kappa, of_this_process).resp
            y = rows_of(module(x))
        assert (resp.argmax(1).flatten() == order[label]).float().mean() > 0.98
        for k in range(3):
            assert y[label == k].mean(0).abs().max() < 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_order_of_components_does_not_matter(planted, dtype):
    module, means, stds = planted
    module = copy.deepcopy(module).to(dtype).eval()
    x = draw(WEIGHTS[3], means, stds, 256)[0].to(dtype)
    expected = module(x)
    for name in ("comp_weight", "comp_mean", "comp_var"):
        getattr(module, name).copy_(getattr(module, name)[[2, 0, 1]])
    assert (module(x) - expected).abs().max() < (1e-9 if dtype == torch.float64 else 1e-5)


def test_the_order_of_images_does_not_matter(planted):
    start, means, stds = planted
    x = draw(WEIGHTS[3], means, stds, 2048)[0]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        straight, shuffled = (copy.deepcopy(start).train()(images) for images in (x, x[order]))
    assert (straight[order] - shuffled).abs().max() < 1e-4
