"""Which normalization belongs to which convolution: small networks of each kind, and known architectures."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from convbench.errors import ConfigError
from convbench.norms.surgery.forward_steps import forward_steps
from convbench.norms.surgery.pairing import pair


def pairing(model, example=None):
    return pair(model, forward_steps(model, example))


def pairs(model, example=None):
    return [(found.conv, found.norm, found.order) for found in pairing(model, example).pairs]


class Deciding(nn.Module):
    """A network whose forward pass looks at values, which no symbolic trace can follow."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) if x.abs().sum() >= 0 else x


class PreActivation(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), whose shortcut is a convolution of relu(norm(x))."""

    def __init__(self, relu=F.relu):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.shortcut, self.relu = nn.Conv2d(4, 4, 1), relu
        self.last = nn.BatchNorm2d(4)

    def forward(self, x):
        start = self.relu(self.norm1(x))
        return self.last(self.shortcut(start) + self.conv2(self.relu(self.norm2(self.conv1(start)))))


@pytest.mark.parametrize("relu", [F.relu, nn.ReLU(), nn.ReLU(inplace=True), lambda x: x.relu_()])
@pytest.mark.parametrize("is_traced", [True, False])
def test_pre_activation_and_a_shared_start(relu, is_traced):
    model, prefix, example = PreActivation(relu), "", None
    if not is_traced:
        model, prefix, example = Deciding(model), "inner.", torch.randn(2, 4, 6, 6)
    expected = [("conv1", "norm1", "pre"), ("conv2", "norm2", "pre"), ("shortcut", "norm1", "pre")]
    assert sorted(pairs(model, example)) == [(prefix + conv, prefix + norm, order) for conv, norm, order in expected]
    left = pairing(model, example).left
    assert list(left) == [prefix + "last"]
    assert "follows add" in left[prefix + "last"].replace("__", "")


def test_post_activation_wins_where_both_readings_fit():
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4)]
    assert pairs(nn.Sequential(*layers)) == [("0", "1", "post"), ("4", "5", "post")]
    assert pairs(nn.Sequential(*layers[:5])) == [("0", "1", "post")]  # the head keeps nothing from the pair before it
    assert pairs(nn.Sequential(*layers[1:5])) == [("3", "0", "pre")]


class Odd(nn.Module):
    """What cannot be paired, one of each."""

    def __init__(self):
        super().__init__()
        self.twice, self.after_twice = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.a, self.b, self.shared = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.forked, self.after_forked = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.summed = nn.BatchNorm2d(4)
        self.functional = nn.Conv2d(4, 4, 1)
        self.up, self.after_up = nn.ConvTranspose2d(4, 4, 1), nn.BatchNorm2d(4)
        self.unused = nn.Conv2d(4, 4, 1)
        self.good, self.after_good = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.lines = nn.LayerNorm(6)

    def forward(self, x):
        x = self.after_twice(self.twice(self.twice(x))).flip(1)
        x = self.shared(self.a(x)) * self.shared(self.b(x))
        fork = self.forked(x)
        x = self.summed(x + self.after_forked(fork) + fork)
        y = self.functional(x.sigmoid().mean(1, keepdim=True).expand(-1, 4, -1, -1))
        y = F.batch_norm(y, torch.zeros(4), torch.ones(4))
        return self.lines(self.after_good(self.good(y.tanh().flip(1)))) + self.after_up(self.up(x))


@pytest.mark.parametrize("is_traced", [True, False])
def test_what_cannot_be_paired_is_named_with_its_reason(is_traced):
    model, prefix, example = (Odd(), "", None) if is_traced else (Deciding(Odd()), "inner.", torch.randn(2, 4, 6, 6))
    found = pairing(model, example)
    assert [(p.conv, p.norm) for p in found.pairs] == [(prefix + "good", prefix + "after_good")]
    reasons = {
        "twice": "called 2 times",
        "after_twice": "follows Conv2d",
        "a": "its output goes to BatchNorm2d",
        "b": "its output goes to BatchNorm2d",
        "shared": "called 2 times",
        "forked": "its output goes to",
        "after_forked": "follows Conv2d",
        "summed": "follows add",
        "functional": "its output goes to batch_norm",
        "up": "only nn.Conv2d is converted",
        "after_up": "follows ConvTranspose2d",
        "unused": "not called",
        "lines": "does not work on the channels",
    }
    for name, reason in reasons.items():
        assert reason in found.left.pop(prefix + name).replace("__", ""), name
    assert list(found.left.values()) == ["called as a function, not as a module"]


def test_an_untraceable_model_needs_an_example():
    with pytest.raises(ConfigError, match=r"cannot be traced symbolically .*give `example`"):
        forward_steps(Deciding(nn.Conv2d(3, 4, 3)))
    with pytest.raises(ConfigError, match=r"fails on the example \(1, 2, 8, 8\): RuntimeError"):
        forward_steps(Deciding(nn.Conv2d(3, 4, 3)), torch.zeros(1, 2, 8, 8))


def test_a_run_on_an_example_changes_nothing():
    model = Deciding(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)))
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    forward_steps(model, torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


# Counted from the architectures: (convolutions paired behind, before), (convolutions, normalizations) left.
ARCHITECTURES = {
    "resnet18": (1 + 8 * 2 + 3, 0, 0, 0),  # stem, 8 blocks of two, 3 projections
    "resnet50": (1 + 16 * 3 + 4, 0, 0, 0),
    "densenet121": (1, 58 * 2 + 3, 0, 1),  # stem; 58 layers of two, 3 transitions; the last norm precedes the head
    "mobilenet_v3_small": (1 + 2 + 10 * 3 + 1, 0, 9 * 2, 0),  # no norm in the nine squeeze-and-excitation blocks
    "vgg16_bn": (13, 0, 0, 0),
    "googlenet": (3 + 9 * 6, 0, 0, 0),
    "inception_v3": (94, 0, 0, 0),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_pair_as_counted(name):
    options = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None, **options)
    behind, before, convs_left, norms_left = ARCHITECTURES[name]
    found = pairing(model)
    assert [p.order for p in found.pairs].count("post") == behind
    assert [p.order for p in found.pairs].count("pre") == before
    kinds = [type(model.get_submodule(left)) for left in found.left]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.BatchNorm2d)) == (convs_left, norms_left)
    assert len({p.conv for p in found.pairs}) == len({p.norm for p in found.pairs}) == behind + before


def test_names_that_belong_together_in_a_resnet():
    with torch.device("meta"):
        model = torchvision.models.resnet18()
    expected = {name: name.replace("conv", "bn").replace("downsample.0", "downsample.1") for name, _, _ in pairs(model)}
    assert {conv: norm for conv, norm, _ in pairs(model)} == expected
    layer = torchvision.models.densenet._DenseLayer(8, 4, 2, 0.1)
    assert pairs(layer) == [("conv1", "norm1", "pre"), ("conv2", "norm2", "pre")]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_tracing_and_running_agree(name):
    model = torchvision.models.get_model(name, weights=None)
    recorded = pairs(Deciding(model), torch.zeros(1, 3, 64, 64))
    assert [(conv.removeprefix("inner."), norm.removeprefix("inner."), order) for conv, norm, order in recorded] == [
        *pairs(model)
    ]
