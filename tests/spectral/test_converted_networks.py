"""The composed norms of networks that `convert` made, against the Jacobian of convolution and normalization."""

import pytest
import torch
from torch import nn

import convbench
from convbench.errors import MetricNotDefinedError
from convbench.metrics import NETWORK_METRICS
from convbench.norms import NORMS


def network():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5)
    nn.init.uniform_(norm.weight, 2, 3)  # so that one that is forgotten shows
    return nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.Linear(180, 2))


@pytest.mark.parametrize("name", ["spectral", "oni"])
def test_the_upper_bound_does_not_see_how_a_converted_network_is_put_together(name):
    model, images = convbench.convert(network(), name).model, torch.rand(4, 3, 6, 6)
    model(images)
    in_a_row = nn.Sequential(model[0].conv, *model[1:]).eval()
    bound = NETWORK_METRICS.entry("lipschitz_upper_product").function
    assert bound(model.eval(), images) == bound(in_a_row, images)


@pytest.mark.parametrize("name", NORMS.names())
def test_the_normalization_behind_a_converted_convolution_is_in_its_composed_norm(name):
    model, images = convbench.convert(network(), name).model, torch.rand(4, 3, 6, 6)
    model(images)
    model.eval()
    layer, (one, other) = model[:2], torch.rand(2, 1, 3, 6, 6)  # the convolution, and the place of its normalization
    composed = NETWORK_METRICS.entry("spectral_norm_composed").function
    with torch.no_grad():
        zero = layer(torch.zeros(1, 3, 6, 6))
        matrix = (layer(torch.eye(108).view(108, 3, 6, 6)) - zero).flatten(1)
        is_affine = torch.allclose(layer(one + other) + zero, layer(one) + layer(other), atol=1e-4)
    if type(layer[0]) is nn.Conv2d and isinstance(layer[1], nn.Identity):
        with pytest.raises(MetricNotDefinedError, match="no convolution is followed by a normalization"):
            composed(model, images)
    elif not is_affine:
        with pytest.raises(MetricNotDefinedError, match="isn't affine in evaluation mode"):
            composed(model, images)
    else:
        found = composed(model, images)["0"]
        assert found == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)), rel=1e-4)
