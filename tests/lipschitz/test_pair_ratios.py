"""The steepest chord between images against a loop over pairs, and below what it can't exceed."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz import lipschitz_lower_jacobian, lipschitz_lower_pairs


def images(count: int = 9) -> torch.Tensor:
    return torch.rand(count, 2, 5, 5, generator=torch.Generator().manual_seed(1))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 6))


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_the_steepest_pair_is_that_of_a_loop(batch_size, monkeypatch):
    monkeypatch.setattr("convbench.lipschitz.pair_ratios._ROWS", 4)
    model, given = network(), images().double()
    found = lipschitz_lower_pairs(model, given.float(), noise=0, batch_size=batch_size)
    with torch.no_grad():
        y = model.double()(given.float().double()).numpy()
    x = given.float().double().flatten(1).numpy()
    ratios = {
        (i, j): np.linalg.norm(y[i] - y[j]) / np.linalg.norm(x[i] - x[j])
        for i, j in itertools.combinations(range(9), 2)
    }
    best = max(ratios, key=ratios.__getitem__)
    assert found.value == pytest.approx(ratios[best], rel=1e-12)
    assert (found.first, found.second) == best


def test_noise_makes_pairs_of_its_own_and_ratios_stay_below_the_constant():
    model = nn.Sequential(nn.Flatten(), nn.Linear(50, 4, bias=False))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[0, 0] = 3.0  # steep in one pixel, in which the images don't differ
    given = images()
    given[:, 0, 0, 0] = 0.5
    assert lipschitz_lower_pairs(model, given, noise=0).value == 0.0
    found = lipschitz_lower_pairs(model, given)
    assert found.second is None
    assert 0 < found.value < 3.0
    one = lipschitz_lower_pairs(model, given[:1])  # an image's noise doesn't depend on how many there are
    assert one.value <= found.value
    assert lipschitz_lower_pairs(model, given, batch_size=1) == found


def test_on_a_smooth_network_small_noise_shows_at_most_the_local_slope_and_all_of_it_in_one_dimension():
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.Tanh()).double()
    given = torch.linspace(0.1, 0.9, 5, dtype=torch.float64).view(5, 1, 1, 1)
    slope = lipschitz_lower_jacobian(model, given).value
    assert lipschitz_lower_pairs(model, given, noise=1e-6).value == pytest.approx(slope, rel=1e-4)


def test_equal_images_make_no_pair():
    same = images(1).repeat(3, 1, 1, 1)
    with pytest.raises(MetricNotDefinedError, match="two images that differ"):
        lipschitz_lower_pairs(network(), same, noise=0)
    assert lipschitz_lower_pairs(network(), same).value > 0
    close = torch.cat([same, same[:1]])
    close[3, 0, 0, 0] += 2e-7  # next to each other: the difference keeps its digits
    found = lipschitz_lower_pairs(network(), close, noise=0)
    assert found.second == 3
    assert 0 < found.value <= lipschitz_lower_jacobian(network(), close).value * (1 + 1e-6)
