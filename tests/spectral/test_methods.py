"""Every method by name against a dense SVD, and the iterations behind them."""

import math

import pytest
import torch
from torch import nn

from convbench.errors import UnknownNameError
from convbench.spectral import spectral_norm
from convbench.spectral.convolution import geometry_of, output_size
from convbench.spectral.convolution_operator import ConvolutionOperator
from convbench.spectral.dense import gram_norm
from convbench.spectral.lanczos import lanczos_norm
from convbench.spectral.layer_operator import LayerOperator
from convbench.spectral.methods import METHODS, fitting_methods
from convbench.spectral.power_iteration import power_iteration

ITERATED = ("lanczos", "power_iteration")
LAYERS = {
    "circular": lambda: nn.Conv2d(4, 5, 3, padding=1, padding_mode="circular"),
    "circular stride 2": lambda: nn.Conv2d(4, 5, 3, 2, 1, padding_mode="circular"),
    "circular groups": lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2, padding_mode="circular"),
    "zero": lambda: nn.Conv2d(4, 5, 3, padding=1),
    "1x1 stride 2": lambda: nn.Conv2d(4, 5, 1, stride=2),
    "reflect": lambda: nn.Conv2d(4, 5, 3, padding=1, padding_mode="reflect"),
    "transposed": lambda: nn.ConvTranspose2d(4, 5, 3, stride=2, padding=1, output_padding=1),
    "conv, bn, conv": lambda: nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 3, 1)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_method_that_fits_gives_the_norm_of_the_matrix(name, dense_norm):
    layer = LAYERS[name]()
    true = dense_norm(layer, (4, 8, 6))
    fitting = fitting_methods(LayerOperator(layer, (4, 8, 6)))
    assert set(ITERATED) | {"dense"} <= set(fitting)
    assert ("sieve" in fitting) == name.startswith(("circular", "1x1"))
    for method in fitting:
        norm = spectral_norm(layer, (8, 6), method=method)
        assert norm.value == pytest.approx(true, rel=2e-3 if method == "gram_iteration" else 2e-6), method
        assert norm.lower <= true * (1 + 1e-12), method
        assert norm.upper >= true * (1 - 1e-12), method
    for method in set(METHODS) - set(fitting):
        with pytest.raises(ValueError, match=f"method '{method}' can't treat this .*Possible here: dense, lanczos"):
            spectral_norm(layer, (8, 6), method=method)


def test_unknown_methods_and_budgets_are_named():
    with pytest.raises(UnknownNameError, match=r"unknown method 'lanzcos'\. Did you mean 'lanczos'"):
        spectral_norm(LAYERS["zero"](), (8, 8), method="lanzcos")
    with pytest.raises(UnknownNameError, match=r"unknown budget 'quick'.*exact, fast"):
        spectral_norm(LAYERS["zero"](), (8, 8), budget="quick")


@pytest.mark.parametrize("padding_mode", ["zeros", "circular"])
def test_the_fast_budget_is_near_from_below_and_certified_from_above(padding_mode):
    layer = nn.Conv2d(20, 20, 3, padding=1, padding_mode=padding_mode)
    exact = spectral_norm(layer, (20, 20))
    fast = spectral_norm(layer, (20, 20), budget="fast", dense_limit=0)
    assert exact.value * (1 - 1e-3) <= fast.value <= exact.upper
    assert exact.lower <= fast.upper <= 1.03 * exact.value


def test_what_is_too_large_is_not_written_down():
    layer = nn.Conv2d(40, 40, 3, padding=1)
    with pytest.raises(ValueError, match="its smaller side is 5,760, and only up to 5,000 is written down"):
        spectral_norm(layer, (12, 12), method="dense")


OPERATORS = [
    (nn.Conv2d, (3, 4, 3), {"padding": 1}),
    (nn.Conv2d, (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}),
    (nn.Conv2d, (3, 4, (2, 3)), {"stride": (3, 2), "dilation": 2, "padding": (2, 0)}),
    (nn.Conv2d, (3, 4, 4), {"padding": "same"}),
    (nn.Conv2d, (3, 4, 3), {"padding": 2, "padding_mode": "reflect"}),
    (nn.Conv2d, (3, 4, 3), {"padding": 1, "padding_mode": "circular", "stride": 2}),
    (nn.Conv2d, (3, 4, 3), {"padding": 1, "padding_mode": "replicate"}),
    (nn.ConvTranspose2d, (3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    (nn.ConvTranspose2d, (4, 6, 3), {"stride": 3, "groups": 2, "dilation": 2}),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("kind", "arguments", "options"), OPERATORS)
def test_the_operator_is_the_layer_and_its_adjoint_is_exact(kind, arguments, options):
    layer = kind(*arguments, **options, bias=False).double()
    shape = (arguments[0], 9, 8)
    x = torch.randn(2, *shape, dtype=torch.float64)
    expected = layer(x).detach()
    sizes = (9, 8), output_size(layer, (9, 8))
    operator = ConvolutionOperator(
        layer.weight.detach(), geometry_of(layer, *sizes), layer.groups, kind is nn.ConvTranspose2d
    )
    assert operator.input_shape == shape
    assert operator.output_shape == tuple(expected.shape[1:])
    torch.testing.assert_close(operator.forward(x), expected, rtol=0, atol=1e-13)
    y = torch.randn_like(expected)
    left, right = (operator.forward(x) * y).sum(), (x * operator.adjoint(y)).sum()
    assert abs(float(left - right)) <= 1e-12 * float(expected.norm() * y.norm())


def test_an_iteration_in_float32_ends_in_a_value_of_float64(dense_norm):
    layer = nn.Conv2d(16, 16, 3, padding=1)
    operator = LayerOperator(layer, (16, 12, 12))
    assert operator.iterated is not None
    assert lanczos_norm(operator.operator, 1e-6, iterated=operator.iterated).value == pytest.approx(
        dense_norm(layer, (16, 12, 12)), rel=1e-6
    )


def test_the_value_does_not_depend_on_how_much_of_the_basis_fits_into_memory(monkeypatch):
    layer = LayerOperator(nn.Conv2d(6, 6, 3, padding=1), (6, 12, 12))
    whole = lanczos_norm(layer.operator, 1e-6)
    monkeypatch.setattr("convbench.spectral.lanczos._BASIS_BYTES", 0)  # cycles of twenty steps
    assert lanczos_norm(layer.operator, 1e-6).value == pytest.approx(whole.value, rel=1e-6)
    cut = lanczos_norm(layer.operator, 1e-6, max_steps=4)
    assert not cut.converged
    assert cut.value < whole.value


def test_power_iteration_goes_on_from_the_vectors_of_the_call_before():
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, padding=1)
    operator = LayerOperator(layer, (8, 10, 10)).operator
    cold = power_iteration(operator, tol=1e-5)
    with torch.no_grad():
        layer.weight += 1e-4 * torch.randn_like(layer.weight)
    moved = LayerOperator(layer, (8, 10, 10)).operator
    warm = power_iteration(moved, cold.vectors, tol=1e-5)
    assert warm.converged
    assert warm.rounds < cold.rounds / 3
    assert warm.value == pytest.approx(spectral_norm(layer, (10, 10), method="dense").value, rel=1e-4)
    with pytest.raises(ValueError, match="start vectors have shape"):
        power_iteration(moved, cold.vectors[:, :3])


def test_a_factorization_encloses_what_eigenvalues_give():
    matrix = torch.randn(80, 100, dtype=torch.float64)
    true = float(torch.linalg.svdvals(matrix)[0])
    found = gram_norm(matrix @ matrix.T, 1e-6, eigenvalues_limit=10)
    assert found.method == "Lanczos, Cholesky"
    assert found.lower <= true * (1 + 1e-13)
    assert true <= found.upper <= true * (1 + 2e-6)
    assert gram_norm(torch.zeros(20, 20, dtype=torch.float64), eigenvalues_limit=10).upper == 0.0


@pytest.mark.parametrize("conv", [nn.Conv2d(3, 4, 5), nn.Conv2d(3, 4, 3, padding=3, padding_mode="reflect")])
def test_an_input_smaller_than_the_layer_needs_is_named(conv):
    with pytest.raises(ValueError, match=r"Conv2d can't be applied to an input of shape \(3, 3, 3\)"):
        spectral_norm(conv, (3, 3))
    with pytest.raises(ValueError, match="it takes 3 channels"):
        spectral_norm(conv, (7, 9, 9))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(16, 16, 3, padding=1), (16, 15, 16)),
        (nn.Conv2d(12, 40, 3, stride=2, padding=1), (12, 18, 18)),
        (nn.Conv2d(20, 20, 5, padding=4, dilation=2, groups=4), (20, 14, 13)),
        (nn.ConvTranspose2d(40, 10, 3, stride=2, padding=1, output_padding=1), (40, 9, 10)),
        (nn.Conv2d(24, 24, 3, padding=1, padding_mode="circular"), (24, 12, 12)),
        (nn.Conv2d(24, 24, 3, stride=3, padding=2), (24, 12, 13)),
    ],
)
def test_large_operators_agree_with_a_dense_svd(layer, shape, dense_norm):
    true = dense_norm(layer, shape)
    for limit in (0, 5000):
        norm = spectral_norm(layer, shape, dense_limit=limit)
        assert norm.value == pytest.approx(true, rel=1e-6)
        assert norm.lower <= true * (1 + 1e-12)
        assert true * (1 - 1e-12) <= norm.upper < math.inf
