"""Convolutions with their normalization, and the walk over a network's layers."""

import math

import pytest
import torch
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.norms import ConvNorm2d, MixtureNorm2d, NormalizedConv2d
from convbench.spectral import spectral_norm
from convbench.spectral.layers import composed_norms, layer_inputs, layer_norms


def randomized(module: nn.Module) -> nn.Module:
    """`module` with slopes and statistics of its own in every batch normalization."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d | MixtureNorm2d):
            if norm.weight is not None:
                nn.init.normal_(norm.weight)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.2, 3.0)
    return module


COMPOSED = {
    "conv, bn": lambda: NormalizedConv2d(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)),
    "conv stride 2, bn": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)),
    "circular, bn": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, padding_mode="circular"), nn.BatchNorm2d(6), nn.Identity()
    ),
    "groups, bn": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, groups=3), nn.BatchNorm2d(6, affine=False)),
    "transposed, bn": lambda: nn.Sequential(
        nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, groups=1), nn.BatchNorm2d(4)
    ),
    "transposed groups, bn": lambda: nn.Sequential(nn.ConvTranspose2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)),
    "conv, mixture of one": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), MixtureNorm2d(6, components=1)),
    "conv, none": lambda: NormalizedConv2d(nn.Conv2d(3, 6, 3, padding=1), nn.Identity()),
}
CONVNORM = {
    "convnorm": lambda: ConvNorm2d(3, 6, 3, padding=1),
    "convnorm stride 2": lambda: ConvNorm2d(3, 6, 3, stride=2, padding=1),
    "convnorm groups": lambda: ConvNorm2d(4, 6, 3, padding=1, groups=2),
    "convnorm 1x1 stride 2": lambda: ConvNorm2d(4, 6, 1, stride=2),
    "convnorm even kernel": lambda: ConvNorm2d(3, 4, 4, padding=1),
    "convnorm without r": lambda: ConvNorm2d(3, 6, 3, padding=1, affine=False),
    "convnorm alone": lambda: ConvNorm2d(3, 6, 3, padding=1, affine=False, bn=False),
    "convnorm, bn outside": lambda: nn.Sequential(ConvNorm2d(3, 6, 3, padding=1, bn=False), nn.BatchNorm2d(6)),
    "convnorm circular": lambda: ConvNorm2d(3, 6, 3, padding=1, padding_mode="circular"),
}


@pytest.mark.parametrize("name", COMPOSED | CONVNORM)
@pytest.mark.parametrize("dense_limit", [10_000, 0])
def test_a_composition_has_the_norm_of_its_matrix(name, dense_limit, dense_norm):
    module = randomized((COMPOSED | CONVNORM)[name]())
    channels = next(m.in_channels for m in module.modules() if hasattr(m, "in_channels"))
    true = dense_norm(module, (channels, 7, 8))
    norm = spectral_norm(module, (7, 8), dense_limit=dense_limit)
    assert norm.value == pytest.approx(true, rel=1e-6)
    assert norm.lower <= true * (1 + 1e-12)
    assert true * (1 - 1e-12) <= norm.upper <= true * (1.15 if name in COMPOSED else 6.0)


def test_a_batch_norm_is_its_largest_slope(dense_norm):
    norm = randomized(nn.BatchNorm2d(4))
    assert spectral_norm(norm, (5, 5)).value == pytest.approx(dense_norm(norm, (4, 5, 5)), rel=1e-12)


class Network(nn.Module):
    """Every kind of layer, a bare convolution with batch norm, and one module that isn't used."""

    def __init__(self, norm: nn.Module, conv: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = NormalizedConv2d(conv or nn.Conv2d(3, 6, 3, padding=1), norm)
        self.conv = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.bare = nn.Conv2d(8, 4, 1)
        self.unused = nn.Conv2d(9, 9, 3)
        self.head = nn.Linear(4 * 16, 10)

    def forward(self, x):
        x = self.bn(self.conv(self.stem(x).relu()))
        return self.head(self.bare(x.relu()).flatten(1))


def test_the_input_size_of_each_layer_is_that_of_the_image_given():
    network = Network(nn.BatchNorm2d(6)).train()
    network.bn.eval()
    assert layer_inputs(network, (3, 8, 8)) == {
        "stem.conv": (3, 8, 8),
        "stem": (3, 8, 8),
        "conv": (6, 8, 8),
        "bare": (8, 4, 4),
        "head": (64,),
    }
    assert network.training
    assert network.stem.training
    assert not network.bn.training
    assert int(network.bn.num_batches_tracked) == 0
    assert not any(module._forward_hooks for module in network.modules())


def test_layers_and_compositions_are_measured_at_their_sizes(dense_norm):
    network = randomized(Network(nn.BatchNorm2d(6)))
    norms = layer_norms(network, (3, 8, 8))
    assert set(norms) == {"stem.conv", "conv", "bare", "head"}
    assert norms["conv"].value == pytest.approx(dense_norm(network.conv, (6, 8, 8)), rel=1e-6)
    composed = composed_norms(network, (3, 8, 8))
    assert set(composed.norms) == {"stem", "conv"}
    assert composed.left_out == {}
    assert composed.norms["stem"].value == pytest.approx(dense_norm(network.stem, (3, 8, 8)), rel=1e-6)
    both = nn.Sequential(network.conv, network.bn)
    assert composed.norms["conv"].value == pytest.approx(dense_norm(both, (6, 8, 8)), rel=1e-6)


def test_convnorm_counts_as_its_weight_and_as_the_whole_layer(dense_norm):
    layer = ConvNorm2d(3, 6, 3, stride=2, padding=1)
    network = nn.Sequential(NormalizedConv2d(layer, nn.Identity()), nn.Flatten(), nn.Linear(96, 10))
    plain = nn.Conv2d(3, 6, 3, stride=2, padding=1)
    plain.weight = layer.weight
    norms = layer_norms(network, (3, 8, 8))
    assert set(norms) == {"0.conv", "2"}
    assert norms["0.conv"].value == pytest.approx(dense_norm(plain, (3, 8, 8)), rel=1e-6)
    composed = composed_norms(network, (3, 8, 8)).norms
    assert set(composed) == {"0"}
    assert composed["0"].value == pytest.approx(dense_norm(layer, (3, 8, 8)), rel=1e-6)


def test_a_mixture_is_left_out_with_the_reason():
    norm = MixtureNorm2d(6, components=2)
    network = Network(norm)
    composed = composed_norms(network, (3, 8, 8))
    assert set(composed.norms) == {"conv"}
    assert set(composed.left_out) == {"stem"}
    assert composed.left_out["stem"].startswith("Conv2d + MixtureNorm2d isn't affine")


def test_a_broken_layer_is_named():
    network = Network(nn.BatchNorm2d(6))
    with torch.no_grad():
        network.conv.weight[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="layer 'conv': Conv2d: parameter 'weight' has 1 NaN"):
        layer_norms(network, (3, 8, 8))


def test_modes_and_hooks_are_restored_after_an_error():
    network = Network(nn.BatchNorm2d(6)).train()
    with pytest.raises(RuntimeError):
        layer_inputs(network, (5, 8, 8))
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_an_affine_module_of_an_unknown_kind_has_no_upper_bound(dense_norm):
    module = nn.AvgPool2d(3, stride=2)
    norm = spectral_norm(module, (2, 9, 9), dense_limit=0)
    assert norm.value == pytest.approx(dense_norm(module, (2, 9, 9)), rel=1e-6)
    assert norm.upper == math.inf


def test_a_layer_without_channels_or_gradient_is_refused():
    class Frozen(nn.Module):
        def forward(self, x):
            return x.detach() * 2

    with pytest.raises(MetricNotDefinedError, match="Frozen doesn't pass gradients"):
        spectral_norm(Frozen(), (3, 4, 4))
