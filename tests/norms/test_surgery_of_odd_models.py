"""convert() on what is no plain network: weights that are computed or shared, converted, wrapped, or not there yet."""

import copy
import itertools
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

import convbench
from convbench.errors import ConfigError
from convbench.norms import NORMS, ConvNorm2d, MixtureNorm2d


def images(channels=3, number=4):
    return torch.randn(number, channels, 9, 9, generator=torch.Generator().manual_seed(0))


def pairs(channels=(3, 6, 6), **conv):
    torch.manual_seed(0)
    layers = []
    for taken, given in itertools.pairwise(channels):
        layers += [nn.Conv2d(taken, given, 3, padding=1, bias=False, **conv), nn.BatchNorm2d(given), nn.ReLU()]
    model = nn.Sequential(*layers)
    model(images(channels[0]))
    return model


class Half(nn.Module):
    """A parametrization of the user's, which is no normalization."""

    def forward(self, weight):
        return weight / 2


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ["bn", "mixture:components=1", "frozen_bn"])
def test_a_normalization_of_the_weight_goes_and_its_kernel_stays(norm, training):
    model = pairs().train(training)
    spectral_norm(model[0], n_power_iterations=3)
    before = copy.deepcopy(model.state_dict())
    conversion = convbench.convert(model, norm)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert parametrize.is_parametrized(model[0])
    converted = conversion.model
    assert not any(map(parametrize.is_parametrized, converted.modules()))
    assert all(module.training == training for module in converted.modules())
    assert torch.equal(converted[0].conv.weight, model.eval()[0].weight)
    assert torch.equal(converted.eval()(images()), model(images()))  # its statistics are still those of its output
    assert conversion.report.layers[0].note.startswith("SpectralNorm of its weight removed; BatchNorm2d becomes")
    assert "removed" not in conversion.report.layers[1].note


@pytest.mark.parametrize("old", ["spectral", "oni"])
@pytest.mark.parametrize("new", ["weight", "convnorm", "spectral", "oni", "none"])
def test_one_normalization_of_the_weight_becomes_another(old, new):
    first = convbench.convert(pairs(), old).model.eval()
    kernel = first[0].conv.weight.detach()
    second = convbench.convert(first, new).model
    conv = second[0].conv
    names = {name for name, _ in NORMS.build(new).on_conv(nn.Conv2d(3, 6, 3)).named_parameters()}
    assert {name for name, _ in conv.named_parameters()} | {"bias"} == names | {"bias"}  # and none of the old one
    free = conv.weight if new in ("convnorm", "none", "weight") else conv.parametrizations.weight.original
    torch.testing.assert_close(free, kernel)
    second(images()).sum().backward()


def test_code_of_the_user_that_computes_a_weight_is_not_lost():
    model = pairs()
    parametrize.register_parametrization(model[0], "weight", Half())
    conversion = convbench.convert(model, "mixture")
    assert torch.equal(conversion.model[0].weight, model[0].weight)
    assert isinstance(conversion.model[1], MixtureNorm2d)
    assert conversion.report.layers[0].note.startswith("its weight is still computed by Half; BatchNorm2d becomes")
    for norm in ("convnorm", "weight", "spectral", "oni"):
        conversion = convbench.convert(model, norm)
        assert conversion.report.left[0].note == "its weight is computed by Half, which would be lost"
        assert torch.equal(conversion.model[0].weight, model[0].weight)
        assert isinstance(conversion.model[1], nn.BatchNorm2d)

    hooked = pairs()
    nn.utils.spectral_norm(hooked[0])  # the older way, by a hook
    assert "computed by SpectralNorm" in convbench.convert(hooked, "convnorm").report.left[0].note
    assert "still computed by SpectralNorm" in convbench.convert(hooked, "bn").report.layers[0].note


def test_a_refused_convolution_keeps_the_normalization_of_its_weight():
    model = pairs(padding_mode="reflect")
    spectral_norm(model[0])
    model[3].padding_mode = "zeros"
    converted = convbench.convert(model, "convnorm").model
    assert isinstance(converted[3].conv, ConvNorm2d)
    for name, value in model[0].state_dict().items():
        assert torch.equal(converted[0].state_dict()[name], value), name


@pytest.mark.parametrize("example", [None, torch.zeros(1, 3, 9, 9)])
def test_convnorm_layers_are_left_and_the_others_converted(example):
    first = convbench.convert(pairs(), "convnorm:where=last:1").model
    conversion = convbench.convert(first, "mixture", example=example)
    assert isinstance(conversion.model[1], MixtureNorm2d)
    assert isinstance(conversion.model[3].conv, ConvNorm2d)
    (left,) = conversion.report.left
    assert left.cells == ("3.conv", "", "", "left: ConvNorm2d: only nn.Conv2d is converted")
    assert convbench.convert(first, "none").model[0].bias is not None
    message = r"Sequential has no convolution .*\(0\.conv: ConvNorm2d: only nn\.Conv2d is converted\)"
    with pytest.raises(ConfigError, match=message):
        convbench.convert(convbench.convert(pairs(), "convnorm").model, "bn", example=example)


def test_shared_weights_stay_shared_or_the_report_says_so():
    model = pairs((6, 6, 6))
    model[3].weight = model[0].weight
    for norm in ("mixture", "convnorm", "spectral"):
        conversion = convbench.convert(model, norm)
        assert sum(p.shape == (6, 6, 3, 3) for p in conversion.model.parameters()) == 1
        assert "no longer" not in str(conversion)
    notes = [layer.note for layer in convbench.convert(model, "weight").report.layers]
    assert ["its weight is no longer that of 3" in notes[0], "its weight is no longer that of 0" in notes[1]] == [1, 1]


@pytest.mark.parametrize("text", ["oni:eps=1e-4", "spectral:eps=1e-9"])
def test_an_eps_of_the_weight_is_not_that_of_the_output(text):
    model = pairs()
    model[1].eps, model[1].momentum = 1e-3, 0.05
    bn = convbench.convert(model, text).model[1]
    assert (bn.eps, bn.momentum) == (1e-3, 0.05)
    chosen = convbench.convert(model, "mode:eps=1e-4").model[1]
    assert (chosen.eps, chosen.momentum) == (1e-4, 0.05)


@pytest.mark.parametrize("norm", NORMS.names())
@pytest.mark.parametrize("options", [{"momentum": None}, {"affine": False}, {"track_running_stats": False}])
def test_every_kind_of_batch_normalization_is_exchanged(norm, options):
    model = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6, **options))
    converted = convbench.convert(model, norm).model
    for _ in range(2):
        converted.train()(images()).sum().backward()
    assert converted.eval()(images()).isfinite().all()


@pytest.mark.parametrize("old", [nn.GroupNorm(2, 6), nn.BatchNorm2d(6, track_running_stats=False), nn.BatchNorm2d(6)])
def test_a_frozen_batch_norm_without_statistics_says_so(old):
    conversion = convbench.convert(nn.Sequential(nn.Conv2d(3, 6, 3), old), "frozen_bn")
    has_statistics = getattr(old, "running_var", None) is not None
    assert ("no statistics to freeze" in conversion.report.layers[0].note) != has_statistics


@pytest.mark.parametrize("norm", ["mixture", "group", "convnorm"])
def test_what_is_not_learned_stays_so(norm):
    model = pairs()
    for name in ("0.weight", "1.weight", "1.bias"):
        model.get_parameter(name).requires_grad_(False)
    converted = convbench.convert(model, norm).model
    taken = [name for name, _ in converted[:3].named_parameters() if ".r." not in name]
    assert len(taken) == 3
    assert not any(converted.get_parameter(name).requires_grad for name in taken)
    assert all(p.requires_grad for p in converted[3:].parameters())
    assert all(p.requires_grad for name, p in converted.named_parameters() if ".r." in name)  # new


def test_a_beta_that_is_not_learned_becomes_a_bias_that_is_not():
    model = pairs()
    model[1].bias.requires_grad_(False)
    converted = convbench.convert(model, "none").model
    assert [converted[place].bias.requires_grad for place in (0, 3)] == [False, True]


@pytest.mark.parametrize("norm", NORMS.names())
def test_a_model_in_evaluation_stays_there(norm):
    assert not any(module.training for module in convbench.convert(pairs().eval(), norm).model.modules())


@pytest.mark.parametrize("norm", NORMS.names())
def test_a_model_without_data_is_converted_to_one(norm):
    converted = convbench.convert(pairs().to("meta"), norm).model
    assert {tensor.device.type for tensor in converted.state_dict().values()} == {"meta"}
    assert list(converted.state_dict()) == list(convbench.convert(pairs(), norm).model.state_dict())


@pytest.mark.parametrize("example", [None, torch.zeros(1, 3, 9, 9)])
def test_the_network_inside_of_wrappers_is_converted(example):
    wrappers = {"module.": nn.DataParallel, "_orig_mod.": partial(torch.compile, backend="eager")}
    for prefix, wrapper in wrappers.items():
        conversion = convbench.convert(wrapper(pairs()), "group", example=example)
        assert type(conversion.model) is type(wrapper(pairs()))
        assert [layer.convolution for layer in conversion.report.layers] == [prefix + "0", prefix + "3"]
        if example is None:  # what runs is the network that was exchanged
            expected = convbench.convert(pairs(), "group").model(images())
            torch.testing.assert_close(conversion.model(images()), expected)
    report = str(convbench.convert(nn.DataParallel(nn.Sequential(*pairs(), nn.BatchNorm2d(6))), "mixture"))
    assert "follows ReLU module.5, and" in report


@pytest.mark.filterwarnings("ignore:`torch.jit.script`", "ignore:Lazy modules are a new feature")
def test_what_is_no_model_with_weights_is_refused_in_one_line():
    for model, message in (
        ("resnet18", "convert takes a model, an nn.Module, and not str"),
        (torch.jit.script(pairs()), "a scripted model cannot be converted"),
        (nn.Sequential(nn.LazyConv2d(6, 3), nn.BatchNorm2d(6)), "LazyConv2d '0' has no weights yet"),
        (nn.Sequential(nn.Conv2d(3, 6, 3), nn.LazyBatchNorm2d()), "LazyBatchNorm2d '1' has no weights yet"),
        (nn.Sequential(nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6)), r"paired .* \(0: Conv1d: only nn.Conv2d is converted\)"),
    ):
        with pytest.raises(ConfigError, match=message):
            convbench.convert(model, "mixture")


def test_a_normalization_of_something_else_is_left():
    """`nn.LayerNorm` over rows or columns has no channels, also where a convolution is its neighbour."""
    columns, rows = nn.LayerNorm(9), nn.LayerNorm([9, 9])
    model = nn.Sequential(*pairs(), nn.Conv2d(6, 6, 3, padding=1), columns, nn.ReLU(), rows, nn.Conv2d(6, 6, 1))
    conversion = convbench.convert(model, "mixture")
    assert len(conversion.report.converted) == 2
    reasons = {layer.normalization: layer.note for layer in conversion.report.left if layer.normalization}
    assert reasons == dict.fromkeys(("7", "9"), "LayerNorm does not work on the channels of (N, C, H, W)")
    assert torch.equal(conversion.model[6:](images(6)), model[6:](images(6)))


class Keeping(nn.Module):
    """Keeps what it computes from its parameters at evaluation, as attention biases of timm are kept."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.level = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Parameter(torch.ones(1))
        self.kept = {}

    def forward(self, x):
        self.kept.setdefault("level", self.level * 2)
        self.kept.setdefault("sum", x.sum())
        return self.norm(self.conv(x)) + self.kept["level"]


def test_a_network_that_keeps_what_it_computes_does_not_keep_a_trace():
    model = Keeping().eval()
    conversion = convbench.convert(model, "bn")
    assert not model.kept
    assert torch.equal(conversion.model(images()), model(images()))


class Drawing(nn.Module):
    """A network that looks at values, and draws while it runs."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks
        self.pool, self.conv, self.norm = nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        if self.looks and x.isnan().any():
            return x
        return self.norm(self.conv(self.pool(x))) + torch.rand(1)


@pytest.mark.parametrize("looks", [False, True])
def test_one_image_is_example_enough_and_the_global_generator_is_left_alone(looks):
    """Of one image the pooled map has one value per channel, which no batch normalization takes in training."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    model, before = Drawing(looks), torch.get_rng_state()
    conversion = convbench.convert(model, "mixture", example=images(number=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert [(layer.convolution, layer.normalization) for layer in conversion.report.converted] == [("conv", "norm")]
    assert conversion.model.training
    torch.set_rng_state(state)
