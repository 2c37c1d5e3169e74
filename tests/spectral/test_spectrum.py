"""Whole spectra against a dense SVD of the matrix that a layer applies."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from convbench.errors import MetricNotDefinedError
from convbench.spectral import spectral_norm
from convbench.spectral.extremes import largest_values
from convbench.spectral.operator import LinearMap
from convbench.spectral.spectrum import circular_surrogate, spectrum

# out, in, kernel, stride, padding, dilation, groups, side of the input
CIRCULAR = [
    (5, 4, 3, 1, 1, 1, 1, 8),
    (4, 6, 3, 2, 1, 1, 1, 8),
    (4, 4, 3, 1, 2, 2, 1, 8),
    (6, 6, 3, 1, 1, 1, 3, 8),
    (6, 6, 3, 2, 1, 1, 6, 8),
    (8, 3, 7, 2, 3, 1, 1, 16),
    (5, 4, 1, 2, 0, 1, 1, 8),
    (4, 5, 3, 2, 2, 2, 1, 12),
    (4, 4, 5, 3, 2, 1, 2, 9),
    (4, 4, 2, 2, 0, 1, 1, 8),
    (3, 3, 3, 1, 1, 1, 1, 2),  # two taps see the same pixel
    (12, 2, 3, 1, 1, 1, 1, 5),
]


def matrix(module: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    """The linear part of `module` as a matrix."""
    module = copy.deepcopy(module).double().eval()
    basis = torch.eye(math.prod(input_shape), dtype=torch.float64).view(-1, *input_shape)
    with torch.no_grad():
        return (module(basis) - module(torch.zeros_like(basis[:1]))).flatten(1)


def singular_values(module: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    return torch.linalg.svdvals(matrix(module, input_shape))


def assert_all(found, true: Tensor, method: str, tol: float = 1e-13) -> None:
    """`found` has every singular value of the layer, the zeros among them."""
    assert found.complete
    assert found.exact
    assert found.method == method
    assert found.total == len(true)
    assert found.known == f"all {len(true)}"
    values = found.expanded()
    assert torch.equal(values, values.sort(descending=True).values)
    assert (values - true).abs().max() <= tol * true[0]
    assert (values <= 1e-12 * true[0]).sum() == (true <= 1e-12 * true[0]).sum()


@pytest.mark.parametrize("case", CIRCULAR, ids=str)
def test_a_circular_layer_has_the_singular_values_of_its_symbol(case):
    out, inputs, kernel, stride, padding, dilation, groups, n = case
    layer = nn.Conv2d(inputs, out, kernel, stride, padding, dilation, groups, padding_mode="circular")
    assert_all(spectrum(layer, (n, n), dense_limit=0), singular_values(layer, (inputs, n, n)), "symbol")


def test_a_kernel_that_loses_rank_has_as_many_zeros_as_its_matrix():
    layer = nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular", dtype=torch.float64)
    with torch.no_grad():
        layer.weight[3:] = layer.weight[:3]
    true = singular_values(layer, (4, 6, 5))
    assert (true < 1e-12).sum() == 30
    assert_all(spectrum(layer, (6, 5), dense_limit=0), true, "symbol")


def test_small_singular_values_keep_their_digits():
    scales = torch.tensor([1.0, 1e-3, 1e-6, 1e-9], dtype=torch.float64)
    left, right = (torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0] for _ in range(2))
    layer = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", bias=False, dtype=torch.float64)
    taps = torch.tensor([[0.1, 0.2, 0.1], [0.2, 2.0, 0.2], [0.1, 0.2, 0.1]], dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_((left * scales @ right)[:, :, None, None] * taps)
    values = spectrum(layer, (6, 6)).expanded().view(4, 36)
    symbol = torch.fft.fft2(taps, s=(6, 6)).abs().flatten().sort(descending=True).values
    torch.testing.assert_close(values, scales[:, None] * symbol, rtol=1e-6, atol=0)


def test_groups_of_different_scale_are_united():
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, padding_mode="circular")
    with torch.no_grad():
        layer.weight *= torch.tensor([0.2, 5.0]).repeat_interleave(3).view(-1, 1, 1, 1)
    found = spectrum(layer, (8, 6), dense_limit=0)
    assert_all(found, singular_values(layer, (4, 8, 6)), "symbol")
    parts = []
    for start in (0, 1):
        part = nn.Conv2d(2, 3, 3, stride=2, padding=1, padding_mode="circular")
        part.weight.data = layer.weight.data[3 * start : 3 * start + 3]
        parts.append(spectrum(part, (8, 6)).expanded())
    torch.testing.assert_close(found.expanded(), torch.cat(parts).sort(descending=True).values)


ONE_TAP = {
    "1x1": lambda: nn.Conv2d(5, 4, 1),
    "1x1 stride 2, lost pixels": lambda: nn.Conv2d(3, 4, 1, stride=2),
    "1x1 padded": lambda: nn.Conv2d(4, 3, 1, padding=1),
    "patches": lambda: nn.Conv2d(2, 9, 2, stride=2),
    "transposed patches": lambda: nn.ConvTranspose2d(5, 3, 3, stride=3),
    "padded patches": lambda: nn.Conv2d(2, 3, 2, stride=2, padding=1),  # some windows see the padding
}


@pytest.mark.parametrize("name", ONE_TAP)
def test_kernels_of_one_tap_repeat_the_values_of_their_matrix(name):
    layer = ONE_TAP[name]()
    method = "dense" if name == "padded patches" else "symbol"
    assert_all(spectrum(layer, (5, 4)), singular_values(layer, (layer.in_channels, 5, 4)), method)


def test_batch_norm_is_folded_into_the_spectrum():
    norm = nn.BatchNorm2d(5)
    nn.init.normal_(norm.weight)
    nn.init.uniform_(norm.running_var, 0.2, 3.0)
    layer = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1, padding_mode="circular"), norm)
    assert_all(spectrum(layer, (6, 6), dense_limit=0), singular_values(layer, (4, 6, 6)), "symbol")


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Conv2d(3, 5, 3, padding=1),
        lambda: nn.Conv2d(3, 5, 3, stride=2, padding=(0, 2)),
        lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4),  # every value occurs twice
        lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
    ],
)
def test_other_layers_are_decomposed_as_matrices_or_their_largest_values_iterated(make):
    layer = make()
    shape = (layer.in_channels, 6, 7)
    true = singular_values(layer, shape)
    assert_all(spectrum(layer, (6, 7)), true, "dense")
    found = spectrum(layer, (6, 7), largest=5, dense_limit=0)
    assert (found.method, found.exact, found.complete) == ("Lanczos", False, False)
    assert found.known == f"the 5 largest of {len(true)}"
    torch.testing.assert_close(found.values, true[:5], rtol=1e-7, atol=0)


@pytest.mark.parametrize("shape", [(3, 40), (40, 3), (30, 30)])
def test_linear_layers(shape):
    layer = nn.Linear(*shape)
    true = singular_values(layer, (shape[0],))
    assert_all(spectrum(layer, ()), true, "dense")
    torch.testing.assert_close(spectrum(layer, (), largest=2, dense_limit=0).values, true[:2], rtol=1e-7, atol=0)


def test_nearly_equal_largest_values_are_all_found():
    layer = nn.Linear(60, 50, bias=False, dtype=torch.float64)
    left, right = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for n in (50, 60))
    scales = torch.cat([torch.tensor([1.0, 1 - 1e-4, 1 - 1e-4, 1 - 2e-4]), torch.linspace(0.5, 0, 46)]).double()
    with torch.no_grad():
        layer.weight.copy_(left * scales @ right[:50])
    torch.testing.assert_close(spectrum(layer, (), largest=4, dense_limit=0).values, scales[:4], rtol=1e-8, atol=0)


def test_equal_largest_values_are_found_as_often_as_they_occur():
    layer = nn.Linear(60, 50, bias=False, dtype=torch.float64)
    left, right = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for n in (50, 60))
    scales = torch.cat([torch.ones(4), torch.full((3,), 0.9), torch.linspace(0.5, 0, 43)]).double()
    with torch.no_grad():
        layer.weight.copy_(left * scales @ right[:50])
    torch.testing.assert_close(spectrum(layer, (), largest=6, dense_limit=0).values, scales[:6], rtol=1e-8, atol=0)


@pytest.mark.parametrize("rank", [0, 1, 3, 6])
def test_values_beyond_the_rank_are_zero(rank):
    layer = nn.Linear(60, 50, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(50, rank, dtype=torch.float64) @ torch.randn(rank, 60, dtype=torch.float64))
    found = spectrum(layer, (), largest=6, dense_limit=0).values
    true = torch.linalg.svdvals(layer.weight.detach())[:6]
    assert len(found) >= rank
    torch.testing.assert_close(found, true[: len(found)], rtol=1e-8, atol=1e-6 * float(true[0]))


def test_as_many_values_as_there_are_may_be_asked_for():
    operator = LinearMap(nn.Conv2d(1, 1, 3, padding=1), (1, 3, 2))
    torch.testing.assert_close(largest_values(operator, 9), singular_values(operator.module, (1, 3, 2)))
    with pytest.raises(ValueError, match="at least 1 singular value"):
        largest_values(operator, 0)


def test_the_zero_kernel_has_only_zeros():
    layer = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")
    nn.init.zeros_(layer.weight)
    assert not spectrum(layer, (4, 4)).values.any()
    nn.init.dirac_(layer.weight)
    assert spectrum(layer, (4, 5)).expanded().tolist() == pytest.approx([1.0] * 40, abs=1e-14)


def test_scaling_permuting_and_transposing_channels_does_what_it_must():
    layer = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    before = spectrum(layer, (5, 6)).expanded()
    changed = copy.deepcopy(layer)
    with torch.no_grad():
        changed.weight.copy_(-3 * layer.weight[torch.randperm(4)][:, torch.randperm(3)])
    torch.testing.assert_close(spectrum(changed, (5, 6)).expanded(), 3 * before, rtol=1e-6, atol=1e-7)
    zeros, back = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1)
    back.weight = zeros.weight
    there, again = spectrum(zeros, (7, 5)).expanded(), spectrum(back, (4, 3)).expanded()
    torch.testing.assert_close(there, again, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_circular_surrogate_is_labelled_as_such(stride):
    zeros = nn.Conv2d(3, 4, 3, stride=stride, padding=1)
    circular = nn.Conv2d(3, 4, 3, stride=stride, padding=1, padding_mode="circular")
    circular.weight = zeros.weight
    surrogate = circular_surrogate(zeros, (4, 6))
    assert (surrogate.method, surrogate.exact) == ("symbol of the circular surrogate", False)
    assert torch.equal(surrogate.values, spectrum(circular, (4, 6)).values)
    assert surrogate.complete
    assert abs(float(surrogate.values[0]) / spectral_norm(zeros, (4, 6)).value - 1) > 0.01
    assert circular_surrogate(circular, (4, 6)).exact


def test_a_transposed_convolution_has_the_surrogate_of_its_adjoint():
    layer = nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1)
    adjoint = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    adjoint.weight = layer.weight
    torch.testing.assert_close(
        circular_surrogate(layer, (3, 3)).expanded(), circular_surrogate(adjoint, (6, 6)).expanded()
    )


def test_layers_without_a_surrogate_are_refused():
    with pytest.raises(MetricNotDefinedError, match="stride 2x2 doesn't divide the 7x6 input"):
        circular_surrogate(nn.Conv2d(2, 3, 3, stride=2, padding=1), (7, 6))
    with pytest.raises(MetricNotDefinedError, match="only a single convolution"):
        circular_surrogate(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 3)), (7, 6))


def test_bad_input_is_refused():
    with pytest.raises(MetricNotDefinedError, match="ReLU isn't affine"):
        spectrum(nn.ReLU(), (3, 4, 4))
    with pytest.raises(ValueError, match="can't be applied to an input of shape"):
        spectrum(nn.Conv2d(3, 4, 5), (3, 3))
    broken = nn.Linear(3, 3)
    nn.init.constant_(broken.weight, math.nan)
    with pytest.raises(ValueError, match="has 9 NaN"):
        spectrum(broken, ())
