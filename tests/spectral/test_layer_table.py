"""The table of layers: against dense matrices, for every normalization, and with layers that are broken."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convbench.errors import ConfigError, MetricNotDefinedError, UnknownNameError
from convbench.models import MODELS
from convbench.norms import NORMS, ConvNorm2d, MixtureNorm2d, NormalizedConv2d
from convbench.spectral.layer_table import layer_table, with_conditioning
from convbench.spectral.layers import linear_layers
from convbench.spectral.stages import is_batch_norm


class Network(nn.Module):
    """Every kind of layer, a convolution with batch norm as its sibling, and one that isn't used."""

    def __init__(self, norm: nn.Module | None = None, conv: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = NormalizedConv2d(conv or nn.Conv2d(3, 6, 3, padding=1), norm or nn.BatchNorm2d(6))
        self.conv = nn.Conv2d(6, 8, 3, stride=2, padding=1, padding_mode="circular")
        self.bn = nn.BatchNorm2d(8)
        self.bare = nn.Conv2d(8, 4, 1)
        self.unused = nn.Conv2d(9, 9, 3)
        self.head = nn.Linear(4 * 16, 10)

    def forward(self, x):
        x = self.bn(self.conv(self.stem(x).relu()))
        return self.head(self.bare(x.relu()).flatten(1))


def trained(network: nn.Module, size: int = 8) -> nn.Module:
    """`network` after two batches of noise, with slopes of its own in every batch normalization."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.normal_(module.weight)
    for _ in range(2):
        network(torch.rand(8, 3, size, size))
    return network


def matrix(module: nn.Module, input_shape: tuple[int, ...]) -> torch.Tensor:
    module = copy.deepcopy(module).double().eval()
    basis = torch.eye(math.prod(input_shape), dtype=torch.float64).view(-1, *input_shape)
    with torch.no_grad():
        return (module(basis) - module(torch.zeros_like(basis[:1]))).flatten(1)


def rows_of(network: nn.Module, image_shape=(3, 8, 8), **options):
    return {row.name: row for row in layer_table(network, image_shape, **options)}


@pytest.mark.parametrize("gain", [1.0, -2.0, 0.0])
def test_a_gain_that_all_channels_share_scales_the_norm_of_the_layer(gain):
    network = Network()
    for norm in (network.stem.norm, network.bn):
        nn.init.constant_(norm.weight, gain)
    network.bn.running_var[2] = 0.5  # and one that they don't
    for name, unit, shape in (
        ("stem.conv", network.stem, (3, 8, 8)),
        ("conv", nn.Sequential(network.conv, network.bn), (6, 8, 8)),
    ):
        row = rows_of(network)[name]
        true = float(torch.linalg.svdvals(matrix(unit.eval(), shape))[0])
        assert row.composed.value == pytest.approx(true, rel=1e-6, abs=0)
        assert row.composed.lower <= true * (1 + 1e-13)
        assert row.composed.upper >= true * (1 - 1e-13)


def test_every_number_is_that_of_the_layer_s_matrix():
    network = trained(Network())
    rows = rows_of(network)
    assert list(rows) == ["stem.conv", "conv", "bare", "head"]
    shapes = {"stem.conv": (3, 8, 8), "conv": (6, 8, 8), "bare": (8, 4, 4), "head": (64,)}
    for name, row in rows.items():
        layer = network.get_submodule(name)
        true = torch.linalg.svdvals(matrix(layer, shapes[name]))
        assert row.input_shape == shapes[name]
        assert row.norm.value == pytest.approx(float(true[0]), rel=1e-6)
        assert row.frobenius_norm == pytest.approx(float(true.norm()), rel=1e-12)
        assert row.stable_rank == pytest.approx(float(true.square().sum() / true[0] ** 2), rel=1e-5)
        assert row.sigma_min == pytest.approx(float(true[-1]), rel=1e-6)
        assert row.condition_number == pytest.approx(float(true[0] / true[-1]), rel=1e-5)
        kernel = torch.linalg.svdvals(layer.weight.detach().flatten(1))
        assert row.kernel_matrix_norm == pytest.approx(float(kernel[0]), rel=1e-6)
        assert row.kind == type(layer).__name__
        assert row.seconds > 0
    circular = copy.deepcopy(network.stem.conv)
    circular.padding_mode = "circular"
    true = torch.linalg.svdvals(matrix(circular, (3, 8, 8)))
    assert rows["stem.conv"].circular_norm == pytest.approx(float(true[0]), rel=1e-8)
    assert rows["conv"].circular_norm == pytest.approx(rows["conv"].norm.value, rel=1e-8)
    assert rows["head"].missing["circular_norm"] == "only convolutions have one"
    assert rows["conv"].geometry["stride"] == (2, 2)
    assert rows["head"].geometry == {"in_features": 64, "out_features": 10}


def test_compositions_fold_their_batch_norm():
    network = trained(Network())
    rows = rows_of(network, conditioning=False)
    pairs = {"stem.conv": ("stem", network.stem), "conv": ("conv", nn.Sequential(network.conv, network.bn))}
    for name, (unit, module) in pairs.items():
        row, norm = rows[name], module[1]
        slopes = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
        true = float(torch.linalg.svdvals(matrix(module, row.input_shape))[0])
        assert (row.unit, row.normalization) == (unit, "BatchNorm2d")
        assert row.composed.value == pytest.approx(true, rel=1e-6)
        assert row.bn_gain_max == pytest.approx(float(slopes.abs().max()), rel=1e-12)
        assert row.fold_ratio == pytest.approx(true / (row.norm.value * row.bn_gain_max), rel=1e-6)
        assert row.fold_ratio <= 1 + 1e-9
    assert (rows["bare"].unit, rows["bare"].composed) == ("", None)
    assert rows["bare"].missing["composed"] == "no normalization takes its output"


@pytest.mark.parametrize("norm", NORMS.names())
def test_every_normalization_has_its_rows(norm):
    size = 4
    try:
        network = trained(MODELS.build("resnet20", NORMS.build(norm), 10), size)
    except ConfigError:  # some don't take the single pixel that the last layers then have
        size = 8
        network = trained(MODELS.build("resnet20", NORMS.build(norm), 10), size)
    network.eval()
    rows = rows_of(network, (3, size, size), conditioning=False)
    units = {name: m for name, m in network.named_modules() if isinstance(m, NormalizedConv2d)}
    assert len(rows) == len(units) + 1
    assert not any(row.broken for row in rows.values())
    for row in rows.values():
        assert row.norm.lower <= row.norm.value <= row.norm.upper
        assert row.stable_rank >= 1 - 1e-9
        assert row.kernel_matrix_norm > 0
    first = next(iter(rows.values()))
    unit = units[first.unit]
    if first.composed is None:
        assert "isn't affine in evaluation mode" in first.missing["composed"]
        with torch.no_grad():  # and it isn't
            x, y = torch.randn(2, 1, 3, 4, 4)
            assert (unit(x + y) - unit(x) - unit(y) + unit(0 * x)).abs().max() > 1e-3
        return
    assert first.composed.value == pytest.approx(float(torch.linalg.svdvals(matrix(unit, (3, 4, 4)))[0]), rel=1e-6)
    plain = nn.Conv2d(3, 16, 3, padding=1, bias=False)
    plain.weight.data = unit.conv.weight.detach()
    assert first.norm.value == pytest.approx(float(torch.linalg.svdvals(matrix(plain, (3, 4, 4)))[0]), rel=1e-6)
    assert (first.fold_ratio is None) == (not is_batch_norm(unit.norm))


def test_pre_activation_networks_have_layers_without_a_composition():
    network = trained(MODELS.build("densenet40:growth=2", NORMS.build("bn"), 10), 4)
    rows = layer_table(network, (3, 4, 4), conditioning=False)
    alone = [row for row in rows if row.composed is None]
    assert len(alone) > len(rows) / 2
    assert {row.missing["composed"] for row in alone} == {"no normalization takes its output"}


def test_convnorm_counts_as_its_weight_and_as_the_whole_layer():
    layer = ConvNorm2d(3, 6, 3, stride=2, padding=1)
    network = nn.Sequential(NormalizedConv2d(layer, nn.Identity()), nn.Flatten(), nn.Linear(96, 10))
    rows = rows_of(trained(network))
    plain = nn.Conv2d(3, 6, 3, stride=2, padding=1)
    plain.weight = layer.weight
    assert list(rows) == ["0.conv", "2"]
    row = rows["0.conv"]
    assert (row.kind, row.unit, row.normalization) == ("ConvNorm2d", "0", "ConvNorm2d")
    assert row.norm.value == pytest.approx(float(torch.linalg.svdvals(matrix(plain, (3, 8, 8)))[0]), rel=1e-6)
    assert row.composed.value == pytest.approx(float(torch.linalg.svdvals(matrix(layer, (3, 8, 8)))[0]), rel=1e-6)
    assert row.bn_gain_max > 0
    assert row.fold_ratio is None


def test_a_mixture_beside_its_convolution_is_left_out_with_the_reason():
    network = Network()
    network.bn = MixtureNorm2d(8, components=2)
    row = rows_of(network, conditioning=False)["conv"]
    assert (row.unit, row.normalization, row.composed) == ("conv", "MixtureNorm2d", None)
    assert row.missing["composed"].startswith("Conv2d + MixtureNorm2d isn't affine")
    assert "composed" not in row.broken


def test_conditioning_can_be_added_later():
    network = trained(Network())
    rows = layer_table(network, (3, 8, 8), conditioning=False)
    assert all(row.sigma_min is None and row.circular_norm is None for row in rows)
    numbers = [{**vars(row), "seconds": 0} for row in with_conditioning(rows, network, (3, 8, 8))]
    assert numbers == [{**vars(row), "seconds": 0} for row in layer_table(network, (3, 8, 8))]


def test_a_layer_that_loses_rank_has_an_infinite_condition_number():
    network = nn.Sequential(nn.Conv2d(2, 8, 1, stride=2), nn.Flatten(), nn.Linear(128, 3))
    row = layer_table(network, (2, 8, 8))[0]
    assert (row.sigma_min, row.condition_number) == (0.0, math.inf)
    nn.init.zeros_(network[0].weight)
    row = layer_table(network, (2, 8, 8))[0]
    assert (row.norm.value, row.sigma_min, row.condition_number, row.stable_rank) == (0.0, 0.0, None, None)
    assert row.missing["condition_number"] == row.missing["stable_rank"] == "the operator is zero"


def test_the_fast_budget_serves_layers_that_the_exact_one_takes_long_for():
    network = nn.Sequential(nn.Conv2d(3, 40, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 10))
    exact, fast = (layer_table(network, (3, 40, 40), budget=b, conditioning=False)[0] for b in ("exact", "fast"))
    assert exact.norm.lower <= fast.norm.upper
    assert fast.norm.lower <= exact.norm.upper
    assert fast.norm.value == pytest.approx(exact.norm.value, rel=1e-2)
    row = layer_table(network, (3, 40, 40), budget="fast")[0]
    assert "too large for the fast budget" in row.missing["sigma_min"]


def test_an_unknown_budget_is_refused():
    with pytest.raises(UnknownNameError, match="unknown budget 'cheap'"):
        layer_table(Network(), (3, 8, 8), budget="cheap")


def test_progress_is_told():
    seen = []
    layer_table(Network(), (3, 8, 8), conditioning=False, on_layer=lambda *step: seen.append(step))
    assert seen == [(0, 4, "stem.conv"), (1, 4, "conv"), (2, 4, "bare"), (3, 4, "head"), (4, 4, "")]


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_broken_weight_is_named_and_the_others_keep_their_rows(value):
    network = trained(Network())
    before = rows_of(network)
    with torch.no_grad():
        network.conv.weight[0, 0, 0, 0] = value
    rows = rows_of(network)
    assert rows["conv"].norm is None
    for number in ("norm", "composed", "kernel_matrix_norm", "stable_rank", "sigma_min", "condition_number"):
        assert number in rows["conv"].broken
    assert "parameter 'weight' has 1 NaN or infinite values of 432" in rows["conv"].missing["norm"]
    for name in ("stem.conv", "bare", "head"):
        assert {**vars(rows[name]), "seconds": 0} == {**vars(before[name]), "seconds": 0}


def test_broken_statistics_break_the_composition_alone():
    network = trained(Network())
    network.bn.running_var[0] = math.nan
    row = rows_of(network, conditioning=False)["conv"]
    assert row.norm is not None
    assert "BatchNorm2d" in row.normalization
    assert "running_var' has 1 NaN" in row.missing["composed"]
    assert row.broken == {"composed", "fold_ratio"} | ({"bn_gain_max"} if row.bn_gain_max is None else set())


def test_a_kernel_larger_than_its_input_is_named_and_what_came_before_it_is_kept():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 7), nn.Flatten(), nn.Linear(5, 2))
    rows = layer_table(network, (3, 6, 6))
    assert [row.name for row in rows] == ["0", "1", "3"]
    assert rows[0].norm is not None
    assert "it doesn't take its input: " in rows[1].missing["norm"]
    assert "Kernel size" in rows[1].missing["norm"]
    assert "the forward pass failed before it: " in rows[2].missing["norm"]
    assert rows[1].broken >= {"norm", "composed", "sigma_min"}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_an_image_that_does_not_fit_at_all_is_refused():
    with pytest.raises(MetricNotDefinedError, match=r"layer 'stem.conv': it doesn't take its input: .*3 channels"):
        layer_table(Network(), (5, 8, 8))
    with pytest.raises(MetricNotDefinedError, match="neither a convolution nor a linear layer"):
        layer_table(nn.Flatten(), (3, 8, 8))


class Drops(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, training=True)


def test_a_network_that_is_not_deterministic_is_refused_by_name():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), Drops(), nn.Flatten(), nn.Linear(144, 2)).train()
    state = torch.get_rng_state()
    with pytest.raises(MetricNotDefinedError, match=r"isn't deterministic in evaluation mode.*'1' is the first module"):
        layer_table(network, (3, 8, 8))
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    usual = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 2)).train()
    assert len(layer_table(usual, (3, 8, 8), conditioning=False)) == 2
    assert usual[1].training


def test_the_network_is_left_as_it_was():
    network = trained(Network()).train()
    network.bn.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layers = linear_layers(network, (3, 8, 8))
    layer_table(network, (3, 8, 8), conditioning=False)
    assert [layer.output_shape for layer in layers] == [(6, 8, 8), (8, 4, 4), (4, 4, 4), (10,)]
    assert network.training
    assert network.stem.training
    assert not network.bn.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
