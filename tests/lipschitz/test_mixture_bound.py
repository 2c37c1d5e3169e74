"""The slope of a mixture normalization: bounds against autograd, and where there is a global one."""

import math

import pytest
import torch
from torch import Tensor

from convbench.lipschitz import lipschitz_upper_product, mixture_slope_bound
from convbench.norms import MixtureNorm2d

CHANNELS = 3


def layer(components: int = 3, *, shared: bool = False, scale: str = "fisher", seed: int = 0) -> MixtureNorm2d:
    """A layer with a drawn state, in float64 and evaluation mode."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    norm = MixtureNorm2d(CHANNELS, components, scale=scale).double().eval()
    shares = torch.ones(components) if shared else 0.2 + draw(components)
    state = {
        "weight": 2 * draw(CHANNELS) - 1,
        "running_mean": draw(CHANNELS),
        "running_var": 0.5 + draw(CHANNELS),
        "comp_weight": shares / shares.sum(),
        "comp_mean": 4 * draw(components, CHANNELS) - 2,
        "comp_var": (0.1 + draw(1, CHANNELS)).expand(components, -1) if shared else 0.1 + draw(components, CHANNELS),
    }
    norm.load_state_dict(norm.state_dict() | state)
    return norm


def slopes(norm: MixtureNorm2d, vectors: Tensor) -> Tensor:
    """||J|| at each of `(N, C)` channel vectors, by autograd."""
    x = vectors.T[None, :, None].clone().requires_grad_()  # every vector is a pixel, and pixels are apart
    y = norm(x)
    rows = [torch.autograd.grad(y[0, c].sum(), x, retain_graph=True)[0][0, :, 0].T for c in range(CHANNELS)]
    return torch.linalg.matrix_norm(torch.stack(rows, 1), 2)


def directions(count: int, seed: int = 1) -> Tensor:
    x = torch.randn(count, CHANNELS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x / x.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("scale", ["fisher", "none"])
@pytest.mark.parametrize("components", [2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_no_slope_in_a_ball_or_a_box_is_above_its_bound(components, scale, seed):
    norm = layer(components, scale=scale, seed=seed)
    center = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    radii = torch.linspace(0, 1, 4000, dtype=torch.float64)[:, None]
    for radius in (0.5, 3.0, 20.0):
        ball = center + radius * radii * directions(4000)
        assert slopes(norm, ball).max() <= mixture_slope_bound(norm, radius, center)
    sides = torch.tensor([0.0, 5.0, 1.0], dtype=torch.float64)
    box = center + sides * (2 * torch.rand(4000, CHANNELS, dtype=torch.float64) - 1)
    assert slopes(norm, box).max() <= mixture_slope_bound(norm, sides, center)


def test_the_slopes_of_the_components_alone_are_no_bound():
    norm = layer(3)
    gains = (norm.comp_weight.clamp_min(norm.min_weight).rsqrt()[:, None] * norm.weight.abs()) / (
        norm.comp_var * (norm.running_var + norm.eps) + norm.eps
    ).sqrt()
    assert slopes(norm, 3 * directions(4000)).max() > gains.max()


def test_between_two_equal_modes_the_bound_is_attained():
    """K = 2, one channel, equal variances v: at the midpoint J = A + A m^2 / v for means -m, m, and so is the bound."""
    norm = MixtureNorm2d(1, 2, scale="none", eps=1e-12).double().eval()
    with torch.no_grad():
        norm.comp_mean.copy_(torch.tensor([[-1.5], [1.5]]))
        norm.comp_var.fill_(0.25)
    exact = 2.0 * (1 - 1.5**2 / 0.25)  # y_j - y_k and g_j - g_k point in opposite ways: the slope is negative
    middle = torch.zeros(1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    slope = float(torch.autograd.grad(norm(middle).sum(), middle)[0])
    assert slope == pytest.approx(exact, rel=1e-9)
    assert mixture_slope_bound(norm) == pytest.approx(2.0 * (1 + 1.5**2 / 0.25), rel=1e-9)


def test_a_bound_for_all_vectors_exists_only_where_variances_and_weights_are_shared():
    shared, apart = layer(3, shared=True), layer(3)
    bound = mixture_slope_bound(shared)
    assert bound < math.inf
    assert mixture_slope_bound(shared, 1e6) == pytest.approx(bound, rel=1e-12)
    for radius in (1.0, 30.0, 1000.0):
        assert slopes(shared, radius * directions(2000)).max() <= bound
    assert lipschitz_upper_product(torch.nn.Sequential(shared, torch.nn.Flatten()), (CHANNELS, 2, 2)) >= bound
    assert mixture_slope_bound(apart) == math.inf


def test_without_shared_variances_the_slope_does_grow_as_the_square_of_the_radius():
    norm = layer(2)
    bounds = [mixture_slope_bound(norm, radius) for radius in (1e3, 1e4)]
    assert bounds[1] == pytest.approx(100 * bounds[0], rel=0.02)


def test_one_component_has_the_slope_of_batch_normalization():
    norm = layer(1)
    x = torch.randn(1, CHANNELS, 2, 2, dtype=torch.float64)
    expected = (norm.weight / (norm.running_var + norm.eps).sqrt()).abs().max().detach()
    assert mixture_slope_bound(norm) == pytest.approx(float(expected), rel=1e-9)
    change = (norm(x + 1.0) - norm(x)).detach().abs().max()
    assert float(change) == pytest.approx(mixture_slope_bound(norm), rel=1e-6)


def test_what_has_no_bound_is_refused():
    with pytest.raises(ValueError, match="without running statistics"):
        mixture_slope_bound(MixtureNorm2d(CHANNELS, 2, track_running_stats=False))
    for radius in (-1.0, math.nan):
        with pytest.raises(ValueError, match="at least 0"):
            mixture_slope_bound(layer(2), radius)
