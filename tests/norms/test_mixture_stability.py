"""Mixture normalization where it could break: degenerate batches, outliers, dead components, NaN, odd options."""

import copy
import itertools

import pytest
import torch

from convbench.errors import ConfigError
from convbench.norms import NORMS, MixtureNorm2d
from convbench.norms.channel_moments import channel_moments
from convbench.norms.mixtures.batch_passes import passes_of
from convbench.norms.mixtures.gaussian_mixture import Mixture, fit_mixture
from convbench.norms.mixtures.transform import assign
from convbench.norms.process_sums import of_this_process


def randn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def run(module, x):
    """Output and gradient in training, and output in evaluation after it."""
    x = x.clone().requires_grad_()
    y = module.train()(x)
    y.sin().sum().backward()
    return y.detach(), x.grad, module.eval()(x).detach()


DEGENERATE = {
    "constant": lambda x: torch.full_like(x, 3.0),
    "zero": torch.zeros_like,
    "one channel constant": lambda x: x * (torch.arange(x.shape[1]) > 0)[:, None, None],
    "two values": lambda x: x.sign(),
    "huge": lambda x: x * 1e4,
    "tiny": lambda x: x * 1e-6,
    "far away": lambda x: x + 1e4,
    "equal rows": lambda x: x[:1, :, :1, :1].expand_as(x).clone(),
}


@pytest.mark.parametrize("change", DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_batches_stay_finite(change):
    shapes = [(2, 3, 1, 1), (1, 3, 1, 2), (3, 2, 1, 1), (4, 3, 2, 2), (2, 5, 4, 4)]
    for shape, components in itertools.product(shapes, [2, 3, 8]):
        module = MixtureNorm2d(shape[1], components)
        for seed in (1, 2):
            assert all(part.isfinite().all() for part in run(module, change(randn(*shape, seed=seed))))
        assert all(buffer.isfinite().all() for buffer in module.buffers())


def test_an_outlier_moves_only_itself():
    gradients = []
    for seed in range(40):
        x = randn(8, 4, 4, 4, seed=seed)
        x[0, 0, 0, 0] = 1e6
        y, gradient, _ = run(MixtureNorm2d(4, seed=seed), x)
        assert y.abs().max() < 20
        gradients.append(float(gradient.abs().max()))
    # One fit in a hundred finds six vectors of the noise that lie close together: steep, with an outlier or without.
    assert sorted(gradients)[-2] < 10
    assert max(gradients) < 25


def test_adding_a_constant_and_scaling_change_nothing():
    x = randn(8, 4, 6, 6) + 4 * randn(8, 1, 1, 1).sign()
    expected, _, _ = run(MixtureNorm2d(4, eps=1e-10), x)
    for scale, shift in ((0.1, 0.0), (7.0, 3.0), (1.0, 100.0)):
        assert (run(MixtureNorm2d(4, eps=1e-10), scale * x + shift)[0] - expected).abs().max() < 1e-3


@pytest.mark.parametrize("offset", [1e2, 1e3])
def test_float32_keeps_its_digits_far_from_zero(offset):
    x = randn(16, 8, 8, 8) + 3 * randn(16, 1, 1, 1, seed=2).sign() + offset
    module = MixtureNorm2d(8)
    exact = run(copy.deepcopy(module).double(), x.double())
    for ours, theirs in zip(run(module, x), exact, strict=True):
        error = (ours - theirs).abs().median() / theirs.abs().median()
        assert error < 1e-3


def test_no_responsibility_is_a_denormal_number():
    """They would make the products that follow up to ten times slower."""
    x = randn(16, 64, 8, 8) + 0.3 * randn(16, 64, 1, 1, seed=2)
    moments = channel_moments(x, of_this_process)
    far = Mixture(torch.ones(3) / 3, 0.8 * randn(3, 64, seed=3), torch.ones(3, 64))
    (resp,) = assign(x, passes_of(x), far, moments, moments.var_c.sqrt(), 0.01, of_this_process).resp
    assert ((resp > 0) & (resp < 1e-6)).any()
    assert not ((resp > 0) & (resp < 1e-12)).any()
    assert (resp.sum(1) - 1).abs().max() < 1e-6


def test_a_component_without_mass_is_not_amplified_without_bound():
    module = MixtureNorm2d(4, 3).eval()
    module.comp_weight.copy_(torch.tensor([1.0, 1e-12, 1e-12]))
    module.comp_mean[1:] = 50.0  # a vector there belongs to a component that had no mass in training
    y = module(torch.full((1, 4, 1, 1), 51.0))
    assert (y / (30**0.5) - 1).abs().max() < 1e-3  # one sigma from its mean, times sqrt(10 K)


def test_an_image_far_from_the_training_data_is_finite_and_not_zero():
    module = MixtureNorm2d(4)
    run(module, randn(8, 4, 6, 6))
    for far in (1e4, 1e15):
        y = module.eval()(torch.full((1, 4, 2, 2), far))
        assert y.isfinite().all()
        assert (y != 0).all()


def test_nan_goes_through_as_in_batch_normalization():
    for components in (1, 3):
        module, x = MixtureNorm2d(4, components), randn(8, 4, 6, 6)
        x[0, 0, 0, 0] = torch.nan
        y, _, _ = run(module, x)  # also the fit to the first batch must end
        assert y[:, 0].isnan().all()
        assert module.running_mean[0].isnan()
    module = MixtureNorm2d(4)
    run(module, randn(8, 4, 6, 6))
    y = module.eval()(x)
    assert y[0, 0, 0, 0].isnan()
    assert y[1:].isfinite().all()


def test_one_value_per_channel_is_refused_in_training_only():
    module = MixtureNorm2d(4)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        module(randn(1, 4, 1, 1))
    assert module.eval()(randn(1, 4, 1, 1)).isfinite().all()


def test_a_dead_component_is_refitted_and_the_same_after_resuming():
    def train(module, first, last):
        for seed in range(first, last):
            module(randn(4, 6, 5, 5, seed=seed))

    often = {"dead": 0.9, "refit_every": 2}
    module = MixtureNorm2d(6, **often)
    train(module, 0, 5)
    resumed = MixtureNorm2d(6, **often)
    resumed.load_state_dict(copy.deepcopy(module.state_dict()))
    train(module, 5, 10), train(resumed, 5, 10)
    for name, value in module.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name

    never = MixtureNorm2d(6, dead=0)
    train(never, 0, 10)
    assert not torch.equal(never.comp_mean, module.comp_mean)

    collapsed = MixtureNorm2d(6)
    run(collapsed, randn(4, 6, 5, 5))
    collapsed.comp_weight.copy_(torch.tensor([1.0, 1e-9, 1e-9]))
    collapsed.num_batches_tracked.fill_(16)
    run(collapsed, randn(4, 6, 5, 5))
    assert collapsed.comp_weight.min() > 0.02


def test_the_seed_decides_the_fit():
    x = randn(64, 8, 8, 8)
    one, same, other = (run(MixtureNorm2d(8, seed=seed, restarts=1), x)[0] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_without_running_statistics_the_batch_decides_in_evaluation_too():
    module = MixtureNorm2d(4, track_running_stats=False, affine=False)
    assert not module.state_dict()
    x = randn(8, 4, 6, 6)
    y, _, evaluated = run(module, x)
    assert torch.equal(y, evaluated)
    assert MixtureNorm2d(4, 1, track_running_stats=False).eval()(x).std() < 1.1


def test_reset_forgets_everything():
    module, fresh = MixtureNorm2d(4), MixtureNorm2d(4)
    run(module, randn(8, 4, 6, 6) + 1)
    module.reset_parameters()
    for name, value in fresh.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), name


def test_the_fit_finds_clusters_that_one_start_often_misses():
    centers = 12 * randn(5, 8, seed=4) / 4
    rows = (centers[:, None] + randn(5, 400, 8)).flatten(0, 1)
    rows = (rows - rows.mean(0)) / rows.std(0)
    mixture = fit_mixture(rows, 5, generator=torch.Generator().manual_seed(0))
    assert (mixture.weight_k - 0.2).abs().max() < 0.02
    assert (mixture.weight_k.sum() - 1).abs() < 1e-5


@pytest.mark.parametrize(
    "options",
    [
        {"components": 0},
        {"num_features": 0},
        {"eps": 0.0},
        {"momentum": 1.5},
        {"scale": "sqrt"},
        {"dead": -0.1},
        {"kappa": -1},
        {"min_weight": 0.0},
        {"restarts": 0},
        {"fit_rows": 0},
        {"components": 5, "fit_rows": 4},
        {"seed": -1},
    ],
)
def test_bad_arguments_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        MixtureNorm2d(**({"num_features": 4} | options))


def test_bad_input_is_refused():
    for shape, word in (((4, 4), "4D"), ((1, 4, 2, 2, 2), "4D"), ((2, 5, 3, 3), "4 channels")):
        with pytest.raises(ValueError, match=word):
            MixtureNorm2d(4)(randn(*shape))


@pytest.mark.parametrize(
    "text",
    ["mn:components=0", "mn:components=2049", "mixture:scale=x", "mixture:momentum=2", "bn:eps=0", "bn:momentum=-1"],
)
def test_bad_options_are_config_errors(text):
    with pytest.raises(ConfigError, match="must be"):
        NORMS.build(text)


def test_options_ride_in_the_name():
    module = NORMS.build("mn:components=5,scale=none,momentum=0.2,kappa=0.1").on_output(7)
    assert (module.components, module.scale, module.momentum, module.kappa) == (5, "none", 0.2, 0.1)
    assert module.comp_mean.shape == (5, 7)
