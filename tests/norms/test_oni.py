"""Newton's iteration against the published loop and against its effect on singular values."""

import numpy as np
import pytest
import torch
from torch import nn

from convbench.errors import ConfigError
from convbench.models import MODELS
from convbench.norms import NORMS
from convbench.norms.oni import NewtonOrthogonalization
from convbench.optimization import parameter_groups

SCALE, FREE = "parametrizations.weight.0.scale", "parametrizations.weight.original"
KERNELS = {
    "wide": {"in_channels": 4, "out_channels": 6, "kernel_size": 3},
    "tall": {"in_channels": 3, "out_channels": 8, "kernel_size": 1},
    "square": {"in_channels": 6, "out_channels": 6, "kernel_size": 1},
    "groups": {"in_channels": 4, "out_channels": 6, "kernel_size": (1, 3), "groups": 2},
    "depthwise": {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "groups": 4},
}


def built(options="", dtype=torch.float64, **arguments):
    torch.manual_seed(0)
    conv = nn.Conv2d(**({"in_channels": 4, "out_channels": 6, "kernel_size": 3} | arguments), dtype=dtype)
    return NORMS.build(f"oni{options}").on_conv(conv)


def newton(z, steps, eps, scale, center):
    """Algorithm 1 of the paper, row form, one product at a time."""
    z = z - z.mean(axis=1, keepdims=True) if center else z
    s = z @ z.T + eps * np.eye(len(z))
    length = np.sqrt((s**2).sum())
    b = np.eye(len(z))
    for _ in range(steps):
        b = 1.5 * b - 0.5 * b @ b @ b @ (s / length)
    return scale * b @ z / np.sqrt(length)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
@pytest.mark.parametrize(("steps", "center"), [(1, True), (3, True), (5, False)])
def test_the_weight_is_that_of_the_published_iteration(kernel, steps, center):
    conv = built(f":iterations={steps},center={center},eps=1e-12", **kernel)
    z = conv.get_parameter(FREE).detach().numpy()
    groups = kernel.get("groups", 1)
    parts = [newton(part.reshape(len(part), -1), steps, 1e-12, 1.414, center) for part in np.split(z, groups)]
    assert np.abs(conv.weight.detach().numpy() - np.concatenate(parts).reshape(z.shape)).max() < 1e-10


def test_it_is_the_published_iteration_with_its_epsilon_too():
    conv = built(":iterations=4,eps=0.3")
    z = conv.get_parameter(FREE).detach().numpy()
    expected = newton(z.reshape(6, -1), 4, 0.3, 1.414, True)
    assert np.abs(conv.weight.detach().numpy().reshape(6, -1) - expected).max() < 1e-12


@pytest.mark.parametrize("kernel", ["wide", "tall", "groups", "depthwise"])
def test_singular_values_rise_towards_the_scale_and_never_pass_it(kernel):
    before = np.zeros(1)
    for steps in (1, 3, 5, 8, 40):
        conv = built(f":iterations={steps},center=false,scale=2,eps=1e-12", **KERNELS[kernel])
        weight = conv.weight.detach().numpy()
        parts = np.split(weight, KERNELS[kernel].get("groups", 1))
        values = np.concatenate([np.linalg.svd(part.reshape(len(part), -1), compute_uv=False) for part in parts])
        assert (values <= 2 + 1e-12).all()
        assert (values >= before - 1e-12).all()
        before = values
    assert values.min() > 2 - 1e-3


def test_a_channel_that_widens_is_safe_at_any_size_of_the_kernel():
    """The authors' column form diverges here: it leaves out the division by the norm."""
    for size in (1.0, 1e4):
        conv = built(":eps=1e-12", **KERNELS["tall"])
        with torch.no_grad():
            conv.get_parameter(FREE).mul_(size)
        largest = np.linalg.svd(conv.weight.detach().numpy().reshape(8, -1), compute_uv=False)[0]
        assert 0.9 < largest <= 1.414


def test_the_scale_is_learned_per_channel_or_fixed():
    learned, fixed = built(), built(":adjust_scale=false,scale=1")
    assert torch.equal(learned.get_parameter(SCALE), torch.full((6,), 1.414, dtype=torch.float64))
    assert SCALE not in dict(fixed.named_parameters())
    assert torch.equal(fixed.state_dict()[SCALE], torch.ones(6, dtype=torch.float64))
    before = learned.weight.detach().clone()
    with torch.no_grad():
        learned.get_parameter(SCALE).mul_(torch.arange(6.0))
    assert (learned.weight - before * torch.arange(6.0)[:, None, None, None]).abs().max() < 1e-12


def test_gradients_pass_through_the_iteration():
    conv = nn.Conv2d(2, 3, (1, 2), dtype=torch.float64)
    module = NewtonOrthogonalization(conv, 3, 1.414, True, True, 1e-5)
    assert torch.autograd.gradcheck(module, conv.weight.detach().clone().requires_grad_())


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_a_kernel_of_zeros_stays_finite(kernel):
    conv = built(dtype=torch.float32, **kernel)
    with torch.no_grad():
        conv.get_parameter(FREE).zero_()
    y = conv(torch.randn(2, kernel["in_channels"], 5, 5))
    y.sum().backward()
    assert (y - conv.bias[:, None, None]).abs().max() == 0
    assert conv.get_parameter(FREE).grad.isfinite().all()


def test_a_kernel_of_one_entry_is_not_centered_to_zero():
    conv = built(":bn=false", in_channels=4, out_channels=4, kernel_size=1, groups=4, padding=0)
    assert (conv.weight.abs() > 0.5).all()


def test_autocast_does_not_reach_the_iteration():
    conv = built(dtype=torch.float32)
    exact = conv.weight.detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(conv.weight, exact)


def test_the_free_kernels_decay_and_the_scales_do_not():
    network = MODELS.build("densenet40:growth=2", NORMS.build("oni"), 10)
    decayed, free = ({id(p) for p in group["params"]} for group in parameter_groups(network, 0.1))
    for name, parameter in network.named_parameters():
        if "parametrizations" in name:
            assert id(parameter) in (decayed if name.endswith(FREE) else free), name


def test_batch_normalization_follows_unless_it_is_turned_off():
    assert NORMS.build("oni").has_shift
    assert not NORMS.build("oni:bn=false").has_shift
    assert isinstance(NORMS.build("oni")(nn.Conv2d(3, 4, 3)).get_submodule("norm"), nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("iterations=0", "in 1..100, got 0"),
        ("iterations=101", "in 1..100, got 101"),
        ("scale=0", "scale must be positive"),
        ("eps=-1", "eps must be positive"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        NORMS.build(f"oni:{options}")
