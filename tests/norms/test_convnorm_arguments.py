"""ConvNorm as a layer: shapes, invariances, degenerate kernels, weights that change, and what it refuses."""

import copy
import itertools

import pytest
import torch
from torch import nn

from convbench.errors import ConfigError
from convbench.norms import NORMS, ConvNorm2d
from convbench.norms.preconditioning.preconditioner import power_spectrum, unit_kernels


def build(*args, seed=0, **options):
    torch.manual_seed(seed)
    return ConvNorm2d(*args, **({"affine": False, "bn": False, "bias": False} | options))


def randn(*shape, seed=1, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


KERNELS = [1, 2, 3, 5, (1, 3), (4, 3)]
STRIDES_AND_PADDINGS = [(1, 0), (2, 1), ((1, 2), (3, 0)), (3, 6), (1, "same"), (1, "valid")]
DILATIONS_AND_GROUPS = [(1, 1), (2, 2), ((1, 2), 4)]


@pytest.mark.parametrize("kernel_size", KERNELS)
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # the bare convolution's, even kernels
def test_the_output_has_the_bare_convolutions_shape(kernel_size):
    x = randn(2, 4, 9, 10)
    for (stride, padding), (dilation, groups) in itertools.product(STRIDES_AND_PADDINGS, DILATIONS_AND_GROUPS):
        arguments = (4, 8, kernel_size, stride, padding, dilation, groups)
        assert ConvNorm2d(*arguments)(x).shape == nn.Conv2d(*arguments)(x).shape, arguments


@pytest.mark.parametrize("rows", range(1, 8))
def test_the_spectrum_from_the_autocorrelation_is_the_fourier_one(rows):
    for cols, torus in itertools.product(range(1, 8), [(9, 12), (8, 7)]):
        weight = randn(3, 2, rows, cols, dtype=torch.float64)
        fourier = torch.fft.rfft2(weight, s=torus).abs().square().sum(1)
        assert (power_spectrum(weight, torus) / fourier - 1).abs().max() < 1e-11


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_scale_of_a_kernel_does_not_matter_but_its_sign_does(kernel_size, dtype, tolerance):
    layer = build(3, 5, kernel_size, padding=1, dtype=dtype)
    x, scale = randn(2, 3, 8, 8, dtype=dtype), torch.tensor([1e-3, -1e-3, 1.0, -1.0, 100.0], dtype=dtype)
    expected = layer(x) * scale.sign()[:, None, None]
    with torch.no_grad():
        layer.weight.mul_(scale[:, None, None, None])
    assert (layer(x) - expected).abs().max() < tolerance


def test_a_shifted_image_gives_a_shifted_output_and_the_layer_is_linear():
    layer = build(3, 5, 3, padding="same", padding_mode="circular", affine=True, dtype=torch.float64)
    with torch.no_grad():
        layer.r.bias.zero_()
    x = randn(2, 3, 8, 9, dtype=torch.float64)
    assert (layer(x.roll((2, 3), (2, 3))) - layer(x).roll((2, 3), (2, 3))).abs().max() < 1e-12
    assert (layer(3 * x - x.flip(0)) - (3 * layer(x) - layer(x).flip(0))).abs().max() < 1e-12
    assert layer(torch.zeros_like(x)).abs().max() == 0


def test_the_bias_is_added_after_the_preconditioner():
    layer = build(3, 5, 3, bias=True)
    x = randn(2, 3, 8, 8)
    without = copy.deepcopy(layer)
    without.bias = None
    assert (layer(x) - without(x) - layer.bias[:, None, None]).abs().max() < 1e-6


def test_r_starts_as_published_or_as_the_identity():
    delta, none = build(3, 4, (3, 2), padding=1, r_init="delta", affine=True), build(3, 4, (3, 2), padding=1)
    delta.weight = none.weight
    assert torch.equal(delta(randn(2, 3, 8, 8)), none(randn(2, 3, 8, 8)))
    published = build(3, 400, 3, affine=True).r.weight
    assert 0.9 / 3 < published.abs().max() <= 1 / 3  # uniform in +- 1 / sqrt(3 * 3)


DEGENERATE = {
    "one channel zero": lambda w: w[1].zero_(),
    "all zero": lambda w: w.zero_(),
    "Laplacian": lambda w: w.copy_(torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand_as(w)),
    "constant": lambda w: w.fill_(0.5),
    "tiny": lambda w: w.mul_(1e-30),
    "huge": lambda w: w.mul_(1e15),
}


@pytest.mark.parametrize("change", DEGENERATE.values(), ids=DEGENERATE.keys())
@pytest.mark.parametrize("grad_through_v", [False, True])
def test_degenerate_kernels_stay_finite(change, grad_through_v):
    layer = build(3, 4, 3, padding=1, affine=True, bn=True, grad_through_v=grad_through_v)
    with torch.no_grad():
        change(layer.weight)
    x = randn(4, 3, 8, 8).requires_grad_()
    y = layer(x)
    y.square().mul(torch.linspace(0, 1, 4)[:, None, None]).sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    one = build(3, 4, 1)
    with torch.no_grad():
        one.weight.zero_()
    assert one(x).abs().max() == 0


def test_evaluation_is_training_without_batch_statistics():
    layer = build(3, 4, 3, padding=1, affine=True)
    assert torch.equal(layer.train()(randn(2, 3, 8, 8)), layer.eval()(randn(2, 3, 8, 8)))
    assert not list(layer.buffers())
    fresh = build(3, 4, 3, padding=1, affine=True, bn=True).eval()
    assert fresh(randn(2, 3, 8, 8)).std() > 0.1


def vector_to_parameters(layer, weight):
    vector = torch.cat([weight.flatten(), *(p.detach().flatten() for p in list(layer.parameters())[1:])])
    nn.utils.vector_to_parameters(vector, layer.parameters())


def step(layer, weight, **options):
    optimizer = torch.optim.SGD([layer.weight], 1.0, **options)
    layer.weight.grad = layer.weight.detach() - weight
    optimizer.step()


def to_and_back(layer, weight):
    """`.to()` puts new values behind the same parameter."""
    layer.double()
    layer.weight.data = weight.double()
    layer.to(torch.float32)


CHANGES = {
    "to": to_and_back,
    "data": lambda layer, weight: layer.weight.data.copy_(weight),
    "numpy": lambda layer, weight: layer.weight.detach().numpy().__setitem__(..., weight.numpy()),
    "load": lambda layer, weight: layer.load_state_dict(layer.state_dict() | {"weight": weight}),
    "assign": lambda layer, weight: layer.load_state_dict(layer.state_dict() | {"weight": weight}, assign=True),
    "vector": vector_to_parameters,
    "foreach": lambda layer, weight: step(layer, weight, foreach=True),
    "fused": lambda layer, weight: step(layer, weight, fused=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_no_way_to_change_the_weights_leaves_a_stale_preconditioner(change):
    layer, other = build(3, 4, 3).eval(), build(3, 4, 3, seed=5)
    layer(randn(2, 3, 8, 8))
    with torch.no_grad():
        other.weight.mul_(torch.tensor([1.0, 2, 3, 4])[:, None, None, None])
    change(layer, other.weight.detach().clone())
    assert (layer(randn(2, 3, 8, 8)) - other(randn(2, 3, 8, 8))).abs().max() < 1e-5


def test_bfloat16_filters_in_float32():
    layer = build(16, 32, 3, padding=1)
    x = randn(4, 16, 16, 16)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert (y.float() - exact).square().mean().sqrt() < 1e-2 * exact.square().mean().sqrt()
    assert copy.deepcopy(layer).bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_from_conv_takes_over_everything():
    conv = nn.Conv2d(4, 8, (3, 5), (2, 1), (1, 2), (1, 2), 2, padding_mode="circular", dtype=torch.float64).eval()
    layer = ConvNorm2d.from_conv(conv, affine=False, bn=False)
    assert layer.weight is conv.weight
    assert layer.bias is conv.bias
    assert not layer.training
    x = randn(2, 4, 16, 16, dtype=torch.float64)
    assert layer(x).shape == conv(x).shape
    assert ConvNorm2d.from_conv(nn.Conv2d(4, 8, 3, bias=False)).bias is None


def test_unit_kernels_have_norm_one_or_zero():
    weight = torch.stack([randn(3, 3, 3) * 1e-20, torch.zeros(3, 3, 3), randn(3, 3, 3)])
    assert torch.allclose(unit_kernels(weight).flatten(1).norm(dim=1), torch.tensor([1.0, 0, 1]).double())


@pytest.mark.parametrize("size", [7, 17])
@pytest.mark.parametrize("grad_through_v", [False, True])
def test_inference_mode_first_and_training_later(size, grad_through_v):
    layer = build(3, 4, (3, size - 4), padding="same", grad_through_v=grad_through_v)
    x = randn(2, 3, size, size + 1)
    with torch.inference_mode():
        expected = layer(x)
    y = layer(x.requires_grad_())
    y.sum().backward()
    assert torch.equal(y, expected)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"padding_mode": "reflect", "padding": 1}, "torus"),
        ({"padding_mode": "circular", "padding": 2}, "same"),
        ({"padding": -1}, "padding"),
        ({"stride": 0}, "stride"),
        ({"dilation": 0}, "dilation"),
        ({"r_init": "ones"}, "r_init"),
        ({"eps_rel": 0.0}, "eps_rel"),
        ({"eps_rel": float("nan")}, "eps_rel"),
        ({"padding": "same", "stride": 2}, "same"),
        ({"groups": 3}, "groups"),
    ],
)
def test_bad_arguments_are_refused_with_the_reason(options, word):
    with pytest.raises(ValueError, match=word):
        ConvNorm2d(4, 8, 3, **options)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="4D"):
        ConvNorm2d(4, 8, 3)(randn(4, 8, 8))
    with pytest.raises(ValueError, match="smaller than the kernel"):
        ConvNorm2d(4, 8, 5)(randn(1, 4, 3, 8))
    with pytest.raises(TypeError, match="ConvTranspose2d"):
        ConvNorm2d.from_conv(nn.ConvTranspose2d(4, 8, 3))
    with pytest.raises(TypeError, match="1x1 convolution"):
        ConvNorm2d.from_conv(nn.Linear(4, 8))


@pytest.mark.parametrize("text", ["convnorm:r_init=ones", "convnorm:eps_rel=2", "convnorm:padding=1"])
def test_bad_options_are_config_errors(text):
    with pytest.raises(ConfigError, match="norm 'convnorm'"):
        NORMS.build(text)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("bn", [False, True])
def test_the_norm_has_a_shift_with_r_or_bn(affine, bn):
    norm = NORMS.build(f"convnorm:affine={affine},bn={bn}")
    assert norm.has_shift == (affine or bn)
    shifts = [n for n, _ in norm(nn.Conv2d(2, 2, 3, bias=False)).named_parameters() if n.endswith("bias")]
    assert bool(shifts) == norm.has_shift
