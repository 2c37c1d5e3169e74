"""The closed-form backward pass of mixture normalization against a literal implementation with loops and autograd."""

import pytest
import torch

from convbench.norms import MixtureNorm2d
from convbench.norms.mixture_transform import BatchMoments, MixtureTransform, batch_moments
from convbench.norms.position_layout import Planes, layout_of

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


def transform(x, resp, gamma, beta, kappa, scale):
    layout = layout_of(x)
    with torch.no_grad():
        shift = x.mean((0, 2, 3))
        xs = layout.view(x) - layout.per_channel(shift)
        flat = resp.flatten(2) if layout is Planes else resp.movedim(1, 0).flatten(1)
        var = x.var((0, 2, 3), correction=0)
        moments = batch_moments(layout, flat, xs, xs.square(), var, kappa)
        share = moments.mass_k / moments.mass_k.sum()
        gain = share.rsqrt() if scale == "fisher" else torch.ones_like(share)
    assert isinstance(moments, BatchMoments)
    return MixtureTransform.apply(x, gamma, beta, xs, flat, shift, moments, gain, EPS, kappa, layout)


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


@pytest.mark.parametrize("components", [2, 3])
@pytest.mark.parametrize("kappa", [0, 0.01])
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
    with torch.no_grad():
        assert torch.equal(module(x), module(x))


def test_the_jacobian_in_evaluation_is_that_of_two_modes():
    """Two equal components at distance |d| = 6 sigma: the largest stretch is sqrt(2) * (36 / 4 - 1) in the middle."""
    module = MixtureNorm2d(2, 2, eps=1e-14, dtype=torch.float64).eval()
    with torch.no_grad():
        module.comp_mean.copy_(torch.tensor([[-3.0, 0], [3, 0]]))
    jacobian = torch.autograd.functional.jacobian(module, torch.zeros(1, 2, 1, 1, dtype=torch.float64))
    assert abs(torch.linalg.matrix_norm(jacobian.view(2, 2), 2) - 8 * 2**0.5) < 1e-6


def test_saved_for_backward_is_the_input_and_the_responsibilities():
    sizes = []
    x = randn(8, 64, 8, 8, dtype=torch.float32).requires_grad_()
    module = MixtureNorm2d(64)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
        module(x)
    assert sum(sizes) < 1.15 * x.numel()
