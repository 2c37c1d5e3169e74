"""The closed-form backward pass of mixture normalization against a literal implementation with loops and autograd."""

import pytest
import torch
from torch import nn

from convbench.norms import MixtureNorm2d
from convbench.norms.channel_moments import channel_moments
from convbench.norms.mixtures import position_layout
from convbench.norms.mixtures.batch_passes import TorchPasses, passes_of
from convbench.norms.mixtures.gaussian_mixture import Mixture
from convbench.norms.mixtures.position_layout import Planes
from convbench.norms.mixtures.transform import Assignment, MixtureTransform, assign
from convbench.norms.process_sums import of_this_process

EPS = 1e-5


def randn(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def literal(x, resp, gamma, beta, kappa, scale):
    """The definition, one component at a time; `resp` is (N, K, H, W)."""
    total = x.numel() / x.shape[1]
    y = torch.zeros_like(x)
    for k in range(resp.shape[1]):
        r = resp[:, k : k + 1]
        smooth = r + kappa / total
        mass = smooth.sum()
        mean = (smooth * x).sum((0, 2, 3), keepdim=True) / mass
        var = (smooth * (x - mean) ** 2).sum((0, 2, 3), keepdim=True) / mass
        share = mass / (total + resp.shape[1] * kappa)
        gain = 1 / share.sqrt() if scale == "fisher" else 1
        y = y + r * gain * (x - mean) / (var + EPS).sqrt()
    return y * gamma[:, None, None] + beta[:, None, None]


def moments_of(x, resp, kappa):
    """Mass, mean and variance of each component, one at a time."""
    total, found = x.numel() / x.shape[1], []
    for k in range(resp.shape[1]):
        smooth = resp[:, k : k + 1] + kappa / total
        mean = (smooth * x).sum((0, 2, 3), keepdim=True) / smooth.sum()
        var = (smooth * (x - mean) ** 2).sum((0, 2, 3)) / smooth.sum()
        found.append((smooth.sum(), mean.flatten(), var))
    return [torch.stack(part) for part in zip(*found, strict=True)]


def transform(x, resp, gamma, beta, kappa, scale):
    passes = passes_of(x)
    with torch.no_grad():
        shift = x.mean((0, 2, 3))
        mass, mean, var = moments_of(x, resp, kappa)
        blocks = resp.split(passes.images) if isinstance(passes, TorchPasses) else [resp]
        parts = [r.flatten(2) if passes.layout is Planes else r.movedim(1, 0).flatten(1) for r in blocks]
        positions = torch.tensor(x.numel() / x.shape[1], dtype=torch.float64)
        batch = Assignment(parts, positions, shift, mass, mean - shift, var)
        gain = batch.share_k.rsqrt() if scale == "fisher" else torch.ones_like(mass)
    return MixtureTransform.apply(x, gamma, beta, batch, gain, EPS, kappa, passes, of_this_process)


@pytest.fixture(params=["one block", "blocks of 3"], autouse=True)
def block_size(request, monkeypatch):
    """Batches fall apart into several blocks, the last of them smaller, or are one."""
    if request.param == "blocks of 3":
        monkeypatch.setattr(position_layout, "BLOCK_VALUES", 100)


def problem(components, dtype=torch.float64, memory_format=torch.contiguous_format):
    x = (randn(4, 5, 3, 2, dtype=dtype) * 2 + 1).contiguous(memory_format=memory_format).requires_grad_()
    resp = (3 * randn(4, components, 3, 2, seed=2, dtype=dtype)).softmax(1)
    gamma, beta = (1 + randn(5, seed=s, dtype=dtype).requires_grad_() for s in (3, 4))
    return x, resp, gamma.detach().requires_grad_(), beta.detach().requires_grad_()


@pytest.mark.parametrize("components", [1, 2, 3])
@pytest.mark.parametrize("kappa", [0, 0.01, 1.0])
@pytest.mark.parametrize("scale", ["fisher", "none"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_equal_the_literal_loop(components, kappa, scale, memory_format):
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        x, resp, gamma, beta = problem(components, dtype, memory_format)
        upstream = randn(4, 5, 3, 2, seed=5, dtype=dtype)
        ours = transform(x, resp, gamma, beta, kappa, scale)
        theirs = literal(x, resp, gamma, beta, kappa, scale)
        assert (ours - theirs).abs().max() < tolerance * theirs.abs().max()
        gradients = (torch.autograd.grad(y, (x, gamma, beta), upstream) for y in (ours, theirs))
        for a, b in zip(*gradients, strict=True):
            assert (a - b).abs().max() < tolerance * b.abs().max()
        assert (
            torch.autograd.grad(transform(x, resp, gamma, beta, kappa, scale).sin().sum(), x)[0]
            .sum((0, 2, 3))
            .abs()
            .max()
            < 100 * tolerance
        )  # as in batch normalization: the mean of the batch has no influence


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kappa", [0, 0.01])
def test_assignment_is_bayes_rule_and_its_moments_are_the_weighted_ones(kappa, memory_format):
    x = (randn(4, 5, 3, 2) * 2 + 1).contiguous(memory_format=memory_format)
    mixture = Mixture(torch.tensor([0.5, 0.3, 0.2]).double(), randn(3, 5, seed=2), 0.5 + randn(3, 5, seed=3).abs())
    passes = passes_of(x)
    moments = channel_moments(x, of_this_process)
    batch = assign(x, passes, mixture, moments, (moments.var_c + EPS).sqrt(), kappa, of_this_process)

    count, mean, var = moments
    assert count == 24
    torch.testing.assert_close(mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(var, x.var((0, 2, 3), correction=0))
    z = (x - mean[:, None, None]) / (var[:, None, None] + EPS).sqrt()
    densities = []
    for k in range(3):
        normal = torch.distributions.Normal(mixture.mean_kc[k], mixture.var_kc[k].sqrt())
        densities.append(mixture.weight_k[k] * normal.log_prob(z.movedim(1, -1)).sum(-1).exp())
    resp = torch.stack(densities, 1) / sum(densities)[:, None]
    if passes.layout is Planes:
        found = torch.cat(batch.resp).view_as(resp)
    else:
        found = torch.cat(batch.resp, 1).view(3, 4, 3, 2).movedim(0, 1)
    torch.testing.assert_close(found, resp)
    mass, means, variances = moments_of(x, resp, kappa)
    torch.testing.assert_close(batch.mass_k, mass)
    torch.testing.assert_close(batch.mean_kc + mean, means)
    torch.testing.assert_close(batch.var_kc, variances)


@pytest.mark.parametrize(("components", "kappa"), [(1, 0.01), (2, 0), (3, 0.01)])
def test_gradcheck_of_the_transform(components, kappa):
    x, resp, gamma, beta = problem(components)
    assert torch.autograd.gradcheck(lambda *a: transform(a[0], resp, *a[1:], kappa, "fisher"), (x, gamma, beta))


@pytest.mark.parametrize("components", [1, 2, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradcheck_of_the_evaluated_module(components, memory_format):
    module = MixtureNorm2d(4, components, dtype=torch.float64)
    for seed in range(3):
        module(randn(4, 4, 5, 5, seed=seed))
    module.eval()
    x = randn(2, 4, 3, 2, seed=9).contiguous(memory_format=memory_format).requires_grad_()
    assert torch.autograd.gradcheck(module, (x,))
    expected = module(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(module(x), expected)  # block by block


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own forward mode uses it
def test_evaluation_works_under_the_transforms_of_torch_func():
    module = MixtureNorm2d(4, dtype=torch.float64)
    module(randn(4, 4, 5, 5))
    module.eval()
    x, tangent = randn(4, 4, 3, 2, seed=9), randn(4, 4, 3, 2, seed=10)
    forward = torch.func.jvp(module, (x,), (tangent,))[1]
    backward = torch.func.vjp(module, x)[1](tangent)[0]
    torch.testing.assert_close((forward * tangent).sum(), (backward * tangent).sum())
    with torch.no_grad():
        torch.testing.assert_close(torch.func.jvp(module, (x,), (tangent,))[1], forward)
        torch.testing.assert_close(torch.func.vmap(module)(x[:, None])[:, 0], module(x))


def test_the_jacobian_in_evaluation_is_that_of_two_modes():
    """Two equal components at distance |d| = 6 sigma: the largest stretch is sqrt(2) * (36 / 4 - 1) in the middle."""
    module = MixtureNorm2d(2, 2, eps=1e-14, dtype=torch.float64).eval()
    with torch.no_grad():
        module.comp_mean.copy_(torch.tensor([[-3.0, 0], [3, 0]]))
    jacobian = torch.autograd.functional.jacobian(module, torch.zeros(1, 2, 1, 1, dtype=torch.float64))
    assert abs(torch.linalg.matrix_norm(jacobian.view(2, 2), 2) - 8 * 2**0.5) < 1e-6


def test_saved_for_backward_is_little_more_than_batch_normalization_saves():
    def saved(module):
        sizes = []
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.nbytes), t)[1], lambda t: t)
        with hooks:
            module(randn(8, 64, 8, 8, dtype=torch.float32).requires_grad_())
        return sum(sizes)

    assert saved(MixtureNorm2d(64)) < 1.1 * saved(nn.BatchNorm2d(64))
