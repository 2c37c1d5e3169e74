"""convert(): what is exchanged, what is taken over, and that converted networks work as any other."""

import copy
import io

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils import parametrize

import convbench
from convbench.errors import ConfigError
from convbench.norms import NORMS, ConvNorm2d, MixtureNorm2d, NormalizedConv2d, penalties
from convbench.optimization import parameter_groups


def images(size=12, channels=3, number=4, seed=0):
    return torch.randn(number, channels, size, size, generator=torch.Generator().manual_seed(seed))


def small(*, bias=False, **norm):
    """Two convolutions with batch normalizations that have seen data and are not as initialized."""
    torch.manual_seed(0)
    first, second = (nn.BatchNorm2d(6, **{"eps": 1e-3, "momentum": 0.03} | norm) for _ in range(2))
    convs = nn.Conv2d(3, 6, 3, padding=1, bias=bias), nn.Conv2d(6, 6, 3, padding=1, bias=bias)
    model = nn.Sequential(convs[0], first, nn.ReLU(inplace=True), convs[1], second, nn.ReLU(), nn.Flatten(2))
    if norm.get("affine", True):
        for bn in (first, second):
            nn.init.uniform_(bn.weight, 0.5, 2)
            nn.init.normal_(bn.bias)
    for seed in range(3):
        model(images(seed=seed) + 1)
    return model


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_state(model, before):
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}])
def test_batch_norm_for_batch_norm_changes_no_bit(options):
    model = small(**options)
    converted = convbench.convert(model, "bn").model
    for mode in (False, True, False):  # a step of training in between: momentum and eps are the old ones, too
        model.train(mode), converted.train(mode)
        assert torch.equal(model(images(seed=7)), converted(images(seed=7)))
    assert {**state(model)}.keys() <= state(converted).keys()


def test_the_model_and_the_global_generator_stay_as_they_are():
    model = small()
    before, modules, rng = state(model), list(model.modules()), torch.get_rng_state()
    first = convbench.convert(model, "convnorm").model
    assert torch.equal(torch.get_rng_state(), rng)
    assert_same_state(model, before)
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert_same_state(convbench.convert(model, "convnorm").model, state(first))
    other = convbench.convert(model, "convnorm", seed=1).model
    assert not torch.equal(first[0].conv.r.weight, other[0].conv.r.weight)
    assert torch.equal(first[0].conv.weight, model[0].weight)
    assert first[0].conv.weight is not model[0].weight


def test_settings_in_the_name_win_over_those_of_the_old_norm():
    model = small()
    assert convbench.convert(model, "mixture").model[1].eps == 1e-3
    chosen = convbench.convert(model, "mixture:eps=1e-4").model[1]
    assert (chosen.eps, chosen.momentum) == (1e-4, 0.03)


def test_mixture_takes_over_statistics_and_is_still_fitted():
    model = small()
    mixture = convbench.convert(model, "mixture:components=3").model[1]
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(mixture, name), getattr(model[1], name)), name
    assert mixture.num_batches_tracked == 0
    mixture.train()(images(channels=6))
    assert not torch.equal(mixture.comp_mean[0], mixture.comp_mean[1])  # fitted, not three equal components for ever


def test_one_component_and_frozen_batch_norm_evaluate_as_before():
    model = small().eval()
    for norm in ("mixture:components=1", "frozen_bn"):
        assert torch.equal(convbench.convert(model, norm).model(images()), model(images()))
    # Three equal components are one, up to the eps that is added to their variances as well.
    equal = convbench.convert(model, "mixture:components=3,scale=none,eps=1e-9").model
    model[1].eps = model[4].eps = 1e-9
    torch.testing.assert_close(equal(images()), model(images()))


def test_back_from_a_mixture():
    model = small().eval()
    there = convbench.convert(model, "mixture").model
    assert torch.equal(convbench.convert(there, "bn").model(images()), model(images()))


@pytest.mark.parametrize("bias", [False, True])
def test_none_gives_the_convolution_a_bias(bias):
    model = small(bias=bias)
    converted = convbench.convert(model, "none").model
    assert torch.equal(converted[0].bias, model[0].bias if bias else model[1].bias)
    assert type(converted[1]) is nn.Identity
    expected = nn.functional.conv2d(images(), model[0].weight, converted[0].bias, padding=1)
    assert torch.equal(converted[0](images()), expected)


def test_convnorm_brings_its_batch_norm_along():
    model = small()
    conversion = convbench.convert(model, "convnorm")
    unit, gone = conversion.model[0], conversion.model[1]
    assert isinstance(unit, NormalizedConv2d)
    assert isinstance(unit.conv, ConvNorm2d)
    assert isinstance(gone, nn.Identity)
    assert torch.equal(unit.conv.bn.weight, model[1].weight)
    assert torch.equal(unit.conv.bn.bias, model[1].bias)
    assert unit.conv.bn.eps == 1e-3
    assert torch.equal(unit.conv.bn.running_mean, torch.zeros(6))  # of another convolution's output they would be wrong
    note = conversion.report.layers[0].note
    assert note == "Conv2d becomes ConvNorm2d with BatchNorm2d, weight, bias kept; BatchNorm2d removed"
    undecayed = {id(p) for p in parameter_groups(conversion.model, 0.1)[1]["params"]}
    assert id(unit.conv.r.weight) in undecayed
    assert id(unit.conv.weight) not in undecayed


def test_a_unit_of_ours_does_not_become_nested():
    model = nn.Sequential(NORMS.build("bn")(nn.Conv2d(3, 4, 3, bias=False)), nn.ReLU())
    converted = convbench.convert(model, "convnorm").model
    assert isinstance(converted[0].conv, ConvNorm2d)
    usual = NORMS.build("convnorm")(nn.Conv2d(3, 4, 3, bias=False))
    assert list(converted.state_dict()) == list(usual.state_dict(prefix="0."))


def test_parametrized_convolutions_keep_their_weights():
    model = small()
    converted = convbench.convert(model, "weight").model
    assert parametrize.is_parametrized(converted[0].conv)
    torch.testing.assert_close(converted[0].conv.weight, model[0].weight)
    spectral = convbench.convert(model, "spectral").model
    assert torch.equal(spectral[1].weight, model[1].weight)
    assert torch.equal(spectral[1].running_mean, torch.zeros(6))  # the convolution's output is another


def pre_activation():
    return nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 5, 3), nn.Tanh())


def test_pre_activation():
    assert isinstance(convbench.convert(pre_activation(), "mixture").model[0], MixtureNorm2d)
    none = convbench.convert(pre_activation(), "none").model
    assert isinstance(none[0], nn.Identity)
    conversion = convbench.convert(pre_activation(), "convnorm")
    assert isinstance(conversion.model[0], nn.BatchNorm2d)
    assert isinstance(conversion.model[2].conv, ConvNorm2d)
    assert "stays" in conversion.report.converted[0].note


def test_a_norm_with_an_activation_of_its_own_keeps_it():
    class BatchNormAct2d(nn.BatchNorm2d):
        def __init__(self, channels):
            super().__init__(channels)
            self.act = nn.Tanh()

        def forward(self, x):
            return self.act(super().forward(x))

    model = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4))
    assert torch.equal(convbench.convert(model, "bn").model(images()), model(images()))
    converted = convbench.convert(model, "none").model
    assert torch.equal(converted(images()), model[0](images()).tanh())


def test_what_a_norm_refuses_is_left():
    reflect = nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect")
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), reflect, nn.BatchNorm2d(6))
    conversion = convbench.convert(model, "convnorm")
    (left,) = conversion.report.left
    assert (left.convolution, left.normalization) == ("3", "4")
    assert "padding_mode must be" in left.note
    assert isinstance(conversion.model[4], nn.BatchNorm2d)

    class SlidingConv2d(nn.Conv2d):
        pass

    model = nn.Sequential(SlidingConv2d(3, 6, 3), nn.BatchNorm2d(6))
    with pytest.raises(ConfigError, match=r"takes none .*SlidingConv2d has a forward pass of its own"):
        convbench.convert(model, "convnorm")
    assert isinstance(convbench.convert(model, "mixture").model[1], MixtureNorm2d)


def test_a_refused_convolution_is_as_it_was():
    model = small()
    nn.init.zeros_(model[0].weight)
    conversion = convbench.convert(model, "weight")
    (left,) = conversion.report.left
    assert "all zero" in left.note
    assert_same_state(conversion.model[:3], state(model[:3]))


def test_the_penalty_of_a_norm_goes_with_it():
    penalized = convbench.convert(small(), "orthogonal").model
    assert len(penalties(penalized)) == 2
    assert penalties(convbench.convert(penalized, "bn").model) == []
    assert len(penalties(convbench.convert(penalized, "ocnn").model)) == 2
    kept = convbench.convert(penalized, "bn", where="last:1").model
    assert len(penalties(kept)) == 1
    assert len(penalties(penalized)) == 2


def test_where():
    model = small()
    by_name = convbench.convert(model, "mixture:components=2,where=last:1")
    assert_same_state(convbench.convert(model, "mixture:components=2", where="last:1").model, state(by_name.model))
    assert [type(by_name.model[place]) for place in (1, 4)] == [nn.BatchNorm2d, MixtureNorm2d]
    assert by_name.report.norm == "mixture:components=2,where=last:1"
    assert isinstance(convbench.convert(model, "mixture", where="1").model[1], MixtureNorm2d)
    with pytest.raises(ConfigError, match=r"where=layer4\* means none of the 2 convolutions \(0, 3, ...\)"):
        convbench.convert(model, "mixture", where="layer4*")
    with pytest.raises(ConfigError, match=r"where is given twice: 'last:1' .* and 'last:2'"):
        convbench.convert(model, "mixture:where=last:1", where="last:2")
    with pytest.raises(ConfigError, match="Linear has no convolution"):
        convbench.convert(nn.Linear(2, 2), "bn")


def test_the_report_is_one_table():
    model = nn.Sequential(*small(), nn.Unflatten(2, (12, 12)), nn.Conv2d(6, 2, 1))
    conversion = convbench.convert(model, "mixture:where=last:1")
    assert str(conversion).splitlines() == [
        "1 of 3 convolutions converted to mixture:where=last:1",
        "convolution  normalization  order  done",
        "0            1              post   left: not in where=last:1",
        "3            4              post   BatchNorm2d becomes MixtureNorm2d, "
        "weight, bias, running_mean, running_var kept",
        "8                                  left: no normalization of its own (its output goes to output)",
    ]
    assert conversion.report.markdown().splitlines()[2:5] == [
        "| convolution | normalization | order | done |",
        "| --- | --- | --- | --- |",
        "| 0 | 1 | post | left: not in where=last:1 |",
    ]
    assert conversion.report.__rich__().row_count == 3


@pytest.mark.parametrize("norm", NORMS.names())
def test_every_norm_trains_saves_loads_and_copies(norm):
    model = convbench.convert(small(), norm).model.train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for seed in range(2):
        optimizer.zero_grad()
        model(images(seed=seed)).square().mean().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = convbench.convert(small(), norm, seed=5).model
    fresh.load_state_dict(torch.load(file, weights_only=True))
    expected = model.eval()(images())
    assert torch.equal(fresh.eval()(images()), expected)
    assert torch.equal(copy.deepcopy(model)(images()), expected)


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=7)
    model(images(64, number=2))
    return model


@pytest.mark.parametrize("norm", ["bn", "convnorm", "mixture"])
def test_resnet18(resnet, norm):
    converted = convbench.convert(resnet, norm).model
    if norm == "bn":
        assert torch.equal(converted.eval()(images(64)), resnet.eval()(images(64)))
        resnet.train()
    logits = converted.train()(images(64, number=2))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all(p.grad.isfinite().all() for p in converted.parameters())


# Counted in test_pairing.py; here whole networks run.
@pytest.mark.slow
@pytest.mark.parametrize("norm", ["bn", "none", "convnorm", "mixture"])
@pytest.mark.parametrize("name", ["resnet50", "densenet121", "mobilenet_v3_small", "vgg16_bn", "googlenet"])
def test_torchvision_models_run(name, norm):
    options = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, num_classes=7, **options)
    converted = convbench.convert(model, norm).model
    if norm == "bn":
        assert torch.equal(converted.eval()(images(64)), model.eval()(images(64)))
    converted.train()
    optimizer = torch.optim.SGD(converted.parameters(), 1e-3)
    for seed in range(2):
        optimizer.zero_grad()
        logits = converted(images(64, number=2, seed=seed))
        assert logits.shape == (2, 7)
        nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in converted.parameters())
        optimizer.step()
    fresh = convbench.convert(model, norm, seed=1).model
    fresh.load_state_dict(converted.state_dict())
    assert torch.equal(fresh.eval()(images(64)), converted.eval()(images(64)))


@pytest.mark.parametrize("norm", ["convnorm", "mixture"])
def test_a_converted_network_can_be_exported(norm):
    model = convbench.convert(small(), norm).model.eval()
    exported = torch.export.export(model, (images(),)).module()
    torch.testing.assert_close(exported(images(seed=3)), model(images(seed=3)))


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["bn", "convnorm", "mixture"])
def test_resnet18_can_be_exported(resnet, norm):
    model = convbench.convert(resnet, norm).model
    model.train()(images(64))
    exported = torch.export.export(model.eval(), (images(64),)).module()
    torch.testing.assert_close(exported(images(64, seed=3)), model(images(64, seed=3)))
