"""Numbers that the pages in docs/norms state, and choices that they give a reason for."""

import copy

import pytest
import torch
from torch import nn

import convbench
from convbench.norms import NORMS, ConvNorm2d, MixtureNorm2d
from convbench.norms.convnorm_linear import convnorm_linear
from convbench.norms.mixtures.gaussian_mixture import Mixture, fit_mixture, log_densities


def randn(*shape, seed=1, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def bare(*arguments, **options):
    torch.manual_seed(0)
    return ConvNorm2d(*arguments, **({"affine": False, "bn": False, "bias": False} | options))


@pytest.mark.parametrize(("channels", "deviation"), [(64, 0.06), (128, 0.04)])
def test_how_flat_the_preconditioner_begins(channels, deviation):
    v = bare(channels, 64, 3).preconditioner((18, 18))
    found = (v / v.mean((1, 2), keepdim=True) - 1).square().mean().sqrt()
    assert abs(found / deviation - 1) < 0.1


@pytest.mark.parametrize(
    ("channels", "stride", "smallest", "largest"),
    [(16, 1, 0.05, 0.1), (64, 1, 0.05, 0.1), (16, 2, 0.07, 0.19), (64, 2, 0.07, 0.19), (3, 1, 0.25, 0.4)],
)
def test_how_far_the_output_grid_is_from_the_published_operator(channels, stride, smallest, largest):
    x = torch.rand(2, channels, 16, 16, generator=torch.Generator().manual_seed(0))
    full, output = (bare(channels, 32, 3, stride, 1, grid=grid) for grid in ("full", "output"))
    expected = full(x)
    assert smallest < (output(x) - expected).abs().max() / expected.abs().max() < largest


def test_on_the_output_grid_only_epsilon_bounds_a_kernel_whose_spectrum_vanishes():
    laplacian = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(2, 1, 3, 3)
    x, largest = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)), {}
    for options in ({"grid": "full"}, {"grid": "output"}, {"grid": "output", "eps_rel": 1e-4}):
        layer = bare(1, 2, 3, padding=1, **options)
        with torch.no_grad():
            layer.weight.copy_(laplacian)
            largest[tuple(options.values())] = float(layer(x).abs().max())
    assert largest["full",] < 2
    assert largest["output",] > 1e4
    assert largest["output", 1e-4] < 20


@pytest.mark.parametrize(("eps_rel", "largest"), [(1e-12, 0.5), (1e-8, 0.005)])
@pytest.mark.parametrize("batch", [2, 32])  # by each way to compute it
def test_how_many_digits_float32_leaves_a_kernel_whose_spectrum_vanishes(eps_rel, largest, batch):
    layer = bare(3, 32, 3, padding=1, eps_rel=eps_rel)
    nn.init.constant_(layer.weight, 1 / 9)
    x = torch.rand(batch, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    exact = copy.deepcopy(layer).double()(x.double())
    assert (layer(x) - exact).abs().max() / exact.abs().max() < largest


@pytest.mark.parametrize(("cin", "cout"), [(3, 5), (8, 4), (1, 4)])
def test_the_bounds_of_the_norm_hold_in_float32(cin, cout):
    layer, basis = bare(cin, cout, 3, padding="same", padding_mode="circular"), torch.eye(cin * 42).view(-1, cin, 6, 7)
    with torch.no_grad():
        norm = torch.linalg.matrix_norm(layer(basis).flatten(1), 2)
    assert max(1, cout / cin) ** 0.5 - 1e-4 <= norm <= cout**0.5 + 1e-4


@pytest.mark.parametrize("kernel", [1, 2, 5, (3, 4)])
@pytest.mark.parametrize("torus", [(9, 12), (8, 7)])
def test_float32_weights_give_the_preconditioner_of_float64(kernel, torus):
    layer = bare(16, 8, kernel)
    fourier = torch.fft.rfft2(layer.weight.detach().double(), s=torus).abs().square().sum(1).rsqrt()
    assert (layer.preconditioner(torus) / fourier - 1).abs().max() < 1e-6


@pytest.mark.parametrize("batch", [4, 32])  # by each way to compute it
@pytest.mark.parametrize("channels", [1, 9])
def test_images_of_other_channels_are_refused_in_the_same_words(batch, channels):
    for layer in (bare(8, 32, 3, padding=1), MixtureNorm2d(8)):
        with pytest.raises(ValueError, match=f"expected 8 channels, got {channels}"):
            layer(torch.zeros(batch, channels, 12, 12))


@pytest.mark.parametrize(("cin", "cout", "groups"), [(8, 8, 8), (4, 8, 4), (8, 4, 2), (6, 12, 2)])
def test_the_bounds_of_the_norm_with_groups(cin, cout, groups):
    layer = bare(cin, cout, 3, groups=groups, dtype=torch.float64)
    blocks = layer.effective_symbol(9, 8).permute(2, 3, 0, 1).unflatten(2, (groups, cout // groups)).flatten(0, 2)
    largest = torch.linalg.svdvals(blocks).max()
    assert max(1, cout / cin) ** 0.5 - 1e-9 <= largest <= (cout / groups) ** 0.5 + 1e-9


def test_a_depthwise_channel_keeps_its_energy():
    layer = bare(6, 6, 3, padding="same", padding_mode="circular", groups=6, dtype=torch.float64)
    x = randn(2, 6, 8, 9, dtype=torch.float64)
    assert (layer(x).square().sum((2, 3)) / x.square().sum((2, 3)) - 1).abs().max() < 1e-10


@pytest.mark.parametrize("eps_rel", [1e-12, 1e-30])
def test_a_spectrum_that_rounds_below_zero_gives_no_nan(eps_rel):
    layer = bare(1, 3, 3, padding=1, eps_rel=eps_rel, dtype=torch.float64)
    kernels = [[0.0, 1, 0, 1, -4, 1, 0, 1, 0], [1.0, 0, -1, 2, 0, -2, 1, 0, -1], [1.0, -2, 1, -2, 4, -2, 1, -2, 1]]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(kernels).view(3, 1, 3, 3) / 3)
    for size in range(4, 14):
        assert layer(randn(1, 1, size, size + 1, dtype=torch.float64)).isfinite().all()


def test_a_linear_layer_that_is_not_learned_stays_so():
    linear = nn.Linear(5, 3)
    linear.weight.requires_grad_(False)
    assert not convnorm_linear(linear)[1].weight.requires_grad
    assert convnorm_linear(nn.Linear(5, 3))[1].weight.requires_grad


def test_k_means_starts_at_rows_that_are_far_from_each_other():
    rows = 0.01 * randn(4000, 4)
    rows[7] = 100.0
    mixture = fit_mixture(rows, 2, generator=torch.Generator().manual_seed(0), restarts=1, lloyd=0, em_steps=0)
    assert mixture.weight_k.min() < 1e-3
    assert abs(float(mixture.mean_kc.max()) - 100) < 2


def test_the_likeliest_of_several_starts_is_kept():
    centers = 3 * randn(5, 8, seed=4)
    rows = (centers[:, None] + randn(5, 200, 8)).flatten(0, 1)
    rows = (rows - rows.mean(0)) / rows.std(0)

    def score(seed, restarts):  # the first start is the same
        mixture = fit_mixture(rows, 5, generator=torch.Generator().manual_seed(seed), restarts=restarts)
        return float(log_densities(mixture, rows).logsumexp(1).mean())

    gains = [score(seed, 3) - score(seed, 1) for seed in range(20)]
    assert min(gains) > -1e-6
    assert 2 <= sum(gain > 0.1 for gain in gains) <= 10  # one start ends in a local optimum in a fifth of the cases


def test_a_mode_that_is_one_point_attracts_its_neighbours_too():
    """Its posterior would otherwise hinge on how far the mean of the batch, in whose units it is, moves."""
    point, narrow = (
        Mixture(torch.ones(2) / 2, torch.tensor([[0.0], [1.0]]), torch.tensor([[var], [1.0]])) for var in (0.0, 1e-2)
    )
    rows = torch.linspace(-0.5, 1.5, 9)[:, None]
    assert torch.equal(log_densities(point, rows), log_densities(narrow, rows))


def test_expectation_maximization_tells_components_at_the_same_place():
    """K-means sees distances only; two modes around one centre differ in their widths alone."""
    rows = torch.cat([randn(2000, 8), 5 * randn(2000, 8, seed=2)])
    rows = rows / rows.std(0)
    draw = torch.Generator().manual_seed(0)
    with_em, without = (fit_mixture(rows, 2, generator=draw, em_steps=steps) for steps in (20, 0))
    ratio = [float(m.var_kc.mean(1).max() / m.var_kc.mean(1).min()) for m in (with_em, without)]
    assert abs(ratio[0] - 25) < 3
    assert ratio[1] < 5


def test_a_refit_draws_other_rows_than_the_fit_before_it():
    x, found = randn(64, 4, 8, 8), []
    for step in (0, 16):
        module = MixtureNorm2d(4, dead=0.9, fit_rows=32, restarts=1)
        module.num_batches_tracked.fill_(step)
        module(x)
        found.append(module.comp_mean.sort(0)[0])
    assert (found[0] - found[1]).abs().max() > 0.01


def test_rows_are_drawn_from_the_whole_batch():
    x = torch.zeros(64, 2, 8, 8)
    x[:32], x[32:] = 0.1 * randn(32, 2, 8, 8), 3 + 0.1 * randn(32, 2, 8, 8, seed=2)  # the first 64 are of one mode
    module = MixtureNorm2d(2, 2, momentum=1.0, fit_rows=64)
    y = module(x)
    assert (module.comp_weight - 0.5).abs().max() < 1e-3
    assert (y.var() - 2).abs() < 0.05


@pytest.mark.parametrize(("distance", "factor"), [(6.0, 1.004), (50.0, 1.3)])
def test_how_much_kappa_widens_modes_that_are_far_apart(distance, factor):
    x = 0.1 * randn(64, 2, 16, 8)
    x[:, :, 8:] += distance
    y = MixtureNorm2d(2, 2, kappa=0.01)(x)
    mode, pixels = x[:, :, 8:].var(correction=0), x[:, 0, 8:].numel()
    added = 0.01 * (x[:, 0].var() + (distance / 2) ** 2) / pixels
    assert abs((mode + added) / mode - factor) < (factor - 1) / 10
    torch.testing.assert_close(y[:, :, 8:].var(correction=0), 2 * mode / (mode + added), rtol=1e-2, atol=0)


@pytest.mark.parametrize("far", [1e20, -1e30])  # whose square is infinite in float32
@pytest.mark.parametrize("gradient", [True, False])
def test_a_vector_that_is_infinitely_unlikely_is_no_nan(far, gradient):
    module = MixtureNorm2d(4)
    x = randn(8, 4, 6, 6)
    module(x)
    x[0, :, 0, 0] = far
    with torch.set_grad_enabled(gradient):
        y = module.eval()(x)
    assert y.isfinite().all()
    assert (y[0, :, 0, 0] / far > 0.1).all()


def test_evaluation_adds_eps_to_the_variance_of_a_component():
    module = MixtureNorm2d(2, 2, eps=0.25, scale="none").eval()
    with torch.no_grad():
        module.comp_mean.copy_(torch.tensor([[-8.0, -8.0], [8.0, 8.0]]))
        module.comp_var.zero_()
    x = torch.full((1, 2, 1, 1), 8 * 1.25**0.5 + 0.5)  # half a unit from the second component; eps is all its variance
    assert (module(x) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("name", NORMS.names())
def test_every_norm_takes_a_place(name):
    model = nn.Sequential(*(layer for _ in range(3) for layer in (nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU())))
    converted = convbench.convert(model, f"{name}:where=last:2")
    assert [layer.converted for layer in converted.report.layers] == [False, True, True]
    assert type(converted.model[0]) is nn.Conv2d
    assert type(converted.model[1]) is nn.BatchNorm2d
