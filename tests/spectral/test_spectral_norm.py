"""`spectral_norm` against a dense SVD, on the exact path and on the iterated one with its certified bound."""

import math
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.spectral import kernel_matrix_norm, spectral_norm
from convbench.spectral.stages import is_convolution


class Case(NamedTuple):
    """One convolution: channels, kernel, the size of its input, and the other arguments of the layer."""

    channels: tuple[int, int]
    kernel: int | tuple[int, int]
    size: tuple[int, int]
    options: dict[str, Any]

    def convolution(self) -> nn.Conv2d:
        return nn.Conv2d(*self.channels, self.kernel, **self.options)

    def transposed(self) -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(*self.channels, self.kernel, **self.options)


CIRCULAR = {"padding_mode": "circular"}
CONVOLUTIONS = {
    "3x3": Case((4, 5), 3, (8, 7), {}),
    "3x3 padded": Case((4, 5), 3, (7, 8), {"padding": 1}),
    "3x3 same": Case((4, 5), 3, (7, 8), {"padding": "same"}),
    "asymmetric padding": Case((3, 3), 3, (6, 7), {"padding": (0, 2)}),
    "5x5 wide padding": Case((2, 3), 5, (6, 5), {"padding": 4}),
    "stride 2": Case((4, 5), 3, (8, 7), {"stride": 2, "padding": 1}),
    "stride 3": Case((4, 5), 3, (9, 8), {"stride": 3, "padding": 1}),
    "strides 1 and 2": Case((4, 5), 3, (7, 8), {"stride": (1, 2), "padding": 1}),
    "stem 7x7 stride 2": Case((3, 16), 7, (12, 12), {"stride": 2, "padding": 3}),
    "dilation 2": Case((4, 4), 3, (9, 8), {"dilation": 2, "padding": 2}),
    "dilation 2 stride 2": Case((4, 4), 3, (9, 8), {"dilation": 2, "padding": 2, "stride": 2}),
    "1x3": Case((4, 5), (1, 3), (6, 8), {"padding": (0, 1)}),
    "5x1 stride 2": Case((4, 5), (5, 1), (8, 6), {"stride": 2, "padding": (2, 0)}),
    "2x2": Case((4, 5), 2, (7, 6), {"padding": 1}),
    "4x4 stride 2": Case((3, 4), 4, (8, 8), {"stride": 2, "padding": 1}),
    "4x4 same": Case((3, 4), 4, (7, 8), {"padding": "same"}),
    "1x1": Case((6, 5), 1, (5, 4), {}),
    "1x1 stride 2": Case((6, 5), 1, (5, 4), {"stride": 2}),
    "1x1 padded": Case((6, 5), 1, (5, 4), {"padding": 1}),
    "patches": Case((3, 6), 4, (8, 9), {"stride": 4}),
    "few in, many out": Case((1, 24), 3, (8, 8), {"padding": 1}),
    "many in, few out": Case((24, 1), 3, (8, 8), {"padding": 1}),
    "groups": Case((6, 8), 3, (7, 7), {"padding": 1, "groups": 2}),
    "groups stride 2": Case((6, 6), 3, (8, 7), {"stride": 2, "padding": 1, "groups": 3}),
    "depthwise": Case((6, 6), 3, (8, 7), {"padding": 1, "groups": 6}),
    "depthwise doubled": Case((4, 8), 3, (8, 7), {"padding": 1, "groups": 4}),
    "circular": Case((4, 5), 3, (8, 7), {"padding": 1, **CIRCULAR}),
    "circular same 4x4": Case((3, 4), 4, (8, 7), {"padding": "same", **CIRCULAR}),
    "circular stride 2": Case((4, 5), 3, (8, 6), {"stride": 2, "padding": 1, **CIRCULAR}),
    "circular stride 2, odd": Case((4, 5), 3, (7, 8), {"stride": 2, "padding": 1, **CIRCULAR}),
    "circular dilated groups": Case((4, 4), 3, (8, 7), {"dilation": 2, "padding": 2, "groups": 2, **CIRCULAR}),
    "circular wide": Case((3, 3), 3, (6, 6), {"padding": 3, **CIRCULAR}),
    "reflect": Case((4, 5), 3, (7, 6), {"padding": 2, "padding_mode": "reflect"}),
    "replicate": Case((4, 5), 3, (7, 6), {"padding": 1, "padding_mode": "replicate"}),
}
TRANSPOSED = {
    "stride 1": Case((4, 5), 3, (5, 6), {"padding": 1}),
    "stride 2": Case((4, 6), 3, (5, 6), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}),
    "stride 2 4x4": Case((5, 3), 4, (5, 6), {"stride": 2, "padding": 1}),
    "stride 3 patches": Case((4, 3), 3, (5, 6), {"stride": 3}),
    "dilated": Case((3, 4), 3, (5, 6), {"dilation": 2, "padding": 1}),
}
NO_DENSE = 0

# torch says that it pads an even "same" kernel by hand; the layers here ask for just that
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def check(layer, input_shape, dense_norm, loosest: float = math.inf) -> None:
    """Both paths give the true norm, and enclose it."""
    true = dense_norm(layer, input_shape)
    for dense_limit in (10_000, NO_DENSE):
        norm = spectral_norm(layer, input_shape, dense_limit=dense_limit)
        assert norm.value == pytest.approx(true, rel=1e-6)
        assert norm.lower <= true * (1 + 1e-13)
        assert norm.upper >= true * (1 - 1e-13)
        assert norm.upper <= loosest * true * (1 + 1e-9)
        assert norm.lower <= norm.value <= norm.upper


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_has_the_norm_of_its_matrix(name, dense_norm):
    case = CONVOLUTIONS[name]
    repeats = case.options.get("padding_mode", "zeros") != "zeros"  # bounded with the norm of the padding
    check(case.convolution(), (case.channels[0], *case.size), dense_norm, loosest=3.0 if repeats else 1.15)


@pytest.mark.parametrize("name", TRANSPOSED)
def test_a_transposed_convolution_has_the_norm_of_its_matrix(name, dense_norm):
    case = TRANSPOSED[name]
    check(case.transposed(), (case.channels[0], *case.size), dense_norm, loosest=1.15)


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_groups_of_different_scale_give_the_largest_group_not_the_product(groups, stride, dense_norm):
    layer = nn.Conv2d(8, 8, 3, stride=stride, padding=1, groups=groups)
    with torch.no_grad():
        scales = torch.tensor([0.2, 5.0, 1.0, 0.2])[:groups].repeat_interleave(8 // groups)
        layer.weight *= scales.view(-1, 1, 1, 1)
    check(layer, (8, 7, 6), dense_norm, loosest=1.15)


@pytest.mark.parametrize("shape", [(3, 50), (50, 3), (40, 40)])
def test_a_linear_layer_has_the_norm_of_its_matrix(shape, dense_norm):
    layer = nn.Linear(*shape)
    true = dense_norm(layer, (shape[0],))
    for dense_limit in (10_000, NO_DENSE):  # without: Lanczos, and a Cholesky factorization for the bound
        norm = spectral_norm(layer, (1, 1), dense_limit=dense_limit)
        assert norm.value == pytest.approx(true, rel=1e-6)
        assert norm.lower <= true * (1 + 1e-13)
        assert true * (1 - 1e-13) <= norm.upper <= true * (1 + 1e-5)


@pytest.mark.parametrize("gap", [1e-4, 1e-5, 1e-7])
def test_leading_singular_values_that_nearly_coincide_are_told_apart(gap, dense_norm):
    group, layer = nn.Conv2d(4, 4, 3, padding=1).double(), nn.Conv2d(8, 8, 3, padding=1, groups=2).double()
    with torch.no_grad():
        layer.weight[:4], layer.weight[4:] = group.weight, group.weight * (1 + gap)
    true = dense_norm(group, (4, 14, 14)) * (1 + gap)
    norm = spectral_norm(layer, (14, 14), dense_limit=NO_DENSE)
    assert norm.value == pytest.approx(true, rel=1e-6)
    assert norm.lower <= true * (1 + 1e-13) <= norm.upper * (1 + 2e-13)


def test_zero_weights_have_norm_zero():
    for layer in (nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(3, 4, 3), nn.Linear(3, 4), nn.BatchNorm2d(3)):
        nn.init.zeros_(layer.weight)
        for dense_limit in (10_000, NO_DENSE):
            norm = spectral_norm(layer, (6, 6), dense_limit=dense_limit)
            assert norm.lower == norm.value == norm.upper == 0.0


@pytest.mark.parametrize("n", [5, 8, 9])
def test_the_kernel_1_0_1_has_its_norm_in_closed_form(n):
    layer = nn.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([1.0, 0.0, 1.0])
    norm = spectral_norm(layer, (1, n), dense_limit=NO_DENSE)
    assert norm.value == pytest.approx(2 * math.cos(math.pi / (n + 1)), rel=1e-12)
    bound = norm.value if n % 2 else 2.0  # for odd n a twisted circulant has just this norm
    assert norm.upper == pytest.approx(bound, rel=1e-11)


@pytest.mark.parametrize("dense_limit", [10_000, NO_DENSE])
@given(exponent=st.integers(-30, 30), order=st.permutations(range(4)))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_scale_factors_out_and_channel_order_does_not_matter(dense_limit, exponent, order):
    torch.manual_seed(1)
    layer, changed = nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)
    with torch.no_grad():
        changed.weight[:] = layer.weight[order][:, order[::-1]] * 2.0**exponent
    before, after = (spectral_norm(conv, (8, 8), dense_limit=dense_limit) for conv in (layer, changed))
    assert after.value == pytest.approx(before.value * 2.0**exponent, rel=1e-6, abs=0)
    assert after.upper == pytest.approx(before.upper * 2.0**exponent, rel=1e-9, abs=0)


def test_a_sum_of_kernels_obeys_the_triangle_inequality():
    a, b, total = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
    with torch.no_grad():
        total.weight[:] = a.weight + b.weight
    norms = [spectral_norm(conv, (12, 12), dense_limit=NO_DENSE).value for conv in (a, b, total)]
    assert norms[2] <= norms[0] + norms[1]


def test_equal_layers_give_equal_numbers_and_the_global_generator_is_left_alone():
    layer = nn.Conv2d(4, 4, 3, padding=1)
    state = torch.get_rng_state()
    assert spectral_norm(layer, (20, 20)) == spectral_norm(layer, (20, 20))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_layer_is_left_as_it_was():
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    layer[0].weight.grad = torch.ones_like(layer[0].weight)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    spectral_norm(layer, (8, 8))
    assert layer.training
    assert all(module.training for module in layer)
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in layer.parameters())
    assert torch.equal(layer[0].weight.grad, torch.ones_like(layer[0].weight))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_a_large_layer_is_enclosed_within_a_percent():
    layer = nn.Conv2d(32, 32, 3, padding=1)
    norm = spectral_norm(layer, (32, 32))
    assert norm.method == "Lanczos, circulant"
    assert norm.upper <= 1.01 * norm.value
    assert 0.99 * norm.value <= spectral_norm(layer, (32, 32), tol=1e-2).value <= norm.value  # the same iteration, cut


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_named(value):
    layer = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        layer.weight[1, 0, 2, 2] = value
    with pytest.raises(ValueError, match="Conv2d: parameter 'weight' has 1 NaN or infinite values of 108"):
        spectral_norm(layer, (8, 8))


@pytest.mark.parametrize(
    ("module", "name"),
    [(nn.ReLU(), "ReLU"), (nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()), "Conv2d . ReLU"), (nn.MaxPool2d(2), "Max")],
)
def test_a_nonlinear_module_is_refused_by_name(module, name):
    for parameter in module.parameters():  # a bias that keeps the ReLU open for every short input
        nn.init.constant_(parameter, 0.5) if parameter.ndim == 1 else nn.init.normal_(parameter, std=0.1)
    with pytest.raises(MetricNotDefinedError, match=f"{name}.*isn't affine in evaluation mode"):
        spectral_norm(module, (3, 8, 8))


def test_batch_statistics_at_evaluation_are_refused():
    for layer in (nn.BatchNorm2d(3, track_running_stats=False), nn.InstanceNorm2d(3)):
        with pytest.raises(MetricNotDefinedError):
            spectral_norm(layer, (8, 8))


def test_an_input_that_does_not_fit_is_a_value_error():
    with pytest.raises(ValueError, match="can't be applied to an input of shape"):
        spectral_norm(nn.Conv2d(3, 4, 5), (3, 3))
    with pytest.raises(ValueError, match=r"give the input size as \(C, H, W\)"):
        spectral_norm(nn.AvgPool2d(2), (8, 8))


def test_a_subclass_that_changes_its_weight_is_not_taken_for_a_convolution(dense_norm):
    class Standardized(nn.Conv2d):
        def forward(self, x):
            return nn.functional.conv2d(x, 10 * self.weight, None, self.stride, self.padding)

    layer = Standardized(3, 4, 3, padding=1)
    assert not is_convolution(layer)
    norm = spectral_norm(layer, (8, 8), dense_limit=NO_DENSE)
    assert norm.value == pytest.approx(dense_norm(layer, (3, 8, 8)), rel=1e-6)
    assert norm.upper == math.inf


def test_parametrized_layers_are_measured_with_the_weight_that_they_use(dense_norm):
    layer = torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1))
    check(layer, (3, 8, 8), dense_norm, loosest=1.15)


def test_the_norm_of_the_reshaped_kernel_is_another_number():
    layer = nn.Conv2d(4, 5, 3, padding=1)
    assert kernel_matrix_norm(layer) == pytest.approx(
        float(torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]), rel=1e-6
    )
    transposed = nn.ConvTranspose2d(4, 5, 3)
    rows = transposed.weight.detach().transpose(0, 1).flatten(1)
    assert kernel_matrix_norm(transposed) == pytest.approx(float(torch.linalg.svdvals(rows)[0]), rel=1e-6)
    assert kernel_matrix_norm(layer) < spectral_norm(layer, (16, 16)).value
