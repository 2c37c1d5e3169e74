"""Convolutions with their normalization, as one affine map."""

import math

import pytest
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.norms import ConvNorm2d, MixtureNorm2d, NormalizedConv2d
from convbench.spectral import spectral_norm


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
