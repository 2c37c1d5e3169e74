"""Group and instance normalization, and modes, in the bounds of a network's Lipschitz constant."""

import math

import pytest
import torch
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz import lipschitz_lower_jacobian, lipschitz_upper_product
from convbench.norms import NORMS
from convbench.spectral.layer_table import layer_table


def network(norm: nn.Module) -> nn.Module:
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -2.0, 1.0, 1.5]))
    return nn.Sequential(norm, nn.Flatten())


@pytest.mark.parametrize("name", ["group:groups=2,eps=0.01", "layer:eps=0.01", "instance:eps=0.01"])
def test_the_bound_of_an_image_norm_is_its_slope_on_a_flat_image(name):
    model = network(NORMS.build(name).on_output(4))
    upper = lipschitz_upper_product(model, (4, 3, 3))
    assert upper == pytest.approx(2 / 0.1, rel=1e-9)
    flat = torch.full((1, 4, 3, 3), 0.5, dtype=torch.float64)
    images = torch.cat([flat, torch.rand(3, 4, 3, 3, dtype=torch.float64)])
    lower = lipschitz_lower_jacobian(model.double(), images)
    assert lower.image == 0
    assert 0.5 * upper < lower.value <= upper


def test_layer_normalization_over_pixels_has_that_bound_too():
    norm = nn.LayerNorm((4, 3, 3), eps=0.01)
    nn.init.constant_(norm.weight, -3.0)
    model = nn.Sequential(norm, nn.Flatten())
    flat = torch.full((1, 4, 3, 3), 0.5, dtype=torch.float64)
    upper = lipschitz_upper_product(model, (4, 3, 3))
    assert upper == pytest.approx(3 / 0.1, rel=1e-9)
    assert lipschitz_lower_jacobian(model.double(), flat).value == pytest.approx(upper, rel=1e-9)


def test_one_mode_has_the_bound_of_batch_normalization_and_several_have_none():
    one, two = (network(NORMS.build(f"mode:modes={k}").on_output(4)) for k in (1, 2))
    assert lipschitz_upper_product(one, (4, 3, 3)) == pytest.approx(2 / math.sqrt(1 + 1e-5), rel=1e-9)
    assert lipschitz_upper_product(two, (4, 3, 3)) == math.inf


def test_an_instance_norm_with_running_statistics_has_no_rule():
    norm = nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
    with pytest.raises(MetricNotDefinedError, match="no Lipschitz rule for InstanceNorm2d"):
        lipschitz_upper_product(network(norm), (4, 3, 3))


@pytest.mark.parametrize("name", ["group", "layer", "instance", "mode"])
def test_a_composition_that_is_not_affine_is_left_out_with_the_reason(name):
    torch.manual_seed(0)
    unit = NORMS.build(name)(nn.Conv2d(3, 4, 3, padding=1))
    if name == "mode":  # random images see one mode only, and still it is not affine
        nn.init.constant_(unit.get_submodule("norm.gate").bias[:1], 50)
    (row,) = layer_table(nn.Sequential(unit), (3, 6, 6), conditioning=False)
    assert (row.unit, row.composed) == ("0", None)
    assert "isn't affine in evaluation mode" in row.missing["composed"]
