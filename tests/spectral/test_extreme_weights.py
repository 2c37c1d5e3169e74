"""Weights whose squares float64 doesn't hold: the norm of s times a layer is s times its norm, bit for bit where s is a
power of two, and a certificate never proves a layer that isn't zero to be zero.
"""

import copy
import math

import pytest
import torch
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.spectral import kernel_matrix_norm, spectral_norm
from convbench.spectral.layer_operator import LayerOperator
from convbench.spectral.methods import METHODS, fitting_methods
from convbench.spectral.norm import spectral_upper
from convbench.spectral.operator import LinearMap
from convbench.spectral.smallest import smallest_singular_value
from convbench.spectral.spectrum import spectrum

LAYERS = {
    "linear": (nn.Linear(5, 7), (5,)),
    "convolution": (nn.Conv2d(2, 3, 3), (6, 7)),
    "circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (6, 6)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3, stride=2), (5, 5)),
    "iterated": (nn.Conv2d(4, 4, 3, padding=1), (23, 23)),  # in float32: its smaller side is above 2,000
    "composed": (nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 3, padding=1)), (6, 6)),
}
EXPONENTS = (-900, 600)  # squares leave float64 at 2^1024 and 2^-1074


def _times(layer: nn.Module, exponent: int) -> nn.Module:
    """The layer, its first weight times 2^exponent, in float64 and without bias."""
    scaled = copy.deepcopy(layer).double().eval()
    first, *others = [part for part in scaled.modules() if hasattr(part, "weight")]
    with torch.no_grad():
        for part in (first, *others):
            torch.nn.init.zeros_(part.bias)  # type: ignore[arg-type]  # each has one
        first.weight.mul_(math.ldexp(1.0, exponent))  # type: ignore[operator]  # as above
    return scaled


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("name", LAYERS)
def test_every_method_scales_with_the_weights(name, exponent):
    layer, size = LAYERS[name]
    one, far = _times(layer, 0), _times(layer, exponent)
    names = ["auto"]
    if name not in ("linear", "iterated"):
        names += fitting_methods(LayerOperator(one, (2, *size)))
    assert set(names) <= {"auto", *METHODS}
    for method in names:
        expected, found = spectral_norm(one, size, method=method), spectral_norm(far, size, method=method)
        for end in ("value", "lower", "upper"):
            there = math.ldexp(getattr(expected, end), exponent)
            assert getattr(found, end) == pytest.approx(there, rel=1e-9, abs=0.0), (method, end)
    assert spectral_upper(far, size) == pytest.approx(math.ldexp(spectral_upper(one, size), exponent), rel=1e-9, abs=0)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("name", [name for name in LAYERS if name != "iterated"])
def test_spectrum_and_smallest_value_scale_with_the_weights(name, exponent):
    layer, size = LAYERS[name]
    one, far = _times(layer, 0), _times(layer, exponent)
    for limit in (2000, 4):  # decomposed, and iterated
        expected, found = (spectrum(part, size, dense_limit=limit, largest=3) for part in (one, far))
        torch.testing.assert_close(found.values / math.ldexp(1.0, exponent), expected.values, rtol=1e-9, atol=1e-12)
    norm = spectral_norm(one, size).value
    least = smallest_singular_value(one, size, norm)
    found = smallest_singular_value(far, size, math.ldexp(norm, exponent))
    assert found == pytest.approx(math.ldexp(least, exponent), rel=1e-6, abs=0.0)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_a_large_matrix_and_a_reshaped_kernel(exponent):
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(30, 40, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(40, 30, generator=generator, dtype=torch.float64) * math.ldexp(1.0, exponent))
    true = math.ldexp(float(torch.linalg.svdvals(layer.weight.detach() * math.ldexp(1.0, -exponent))[0]), exponent)
    iterated = spectral_norm(layer, (30,), dense_limit=4)  # Lanczos and Cholesky, as above 1,200 rows
    assert iterated.method == "Lanczos, Cholesky"
    assert iterated.lower <= true <= iterated.upper
    assert iterated.value == pytest.approx(true, rel=1e-6, abs=0.0)
    assert kernel_matrix_norm(layer) == pytest.approx(true, rel=1e-12, abs=0.0)


def test_a_norm_that_float64_does_not_hold_is_said_to_be_one():
    linear = nn.Linear(9, 9).double()
    torch.nn.init.constant_(linear.weight, 1.5e308)
    with pytest.raises(ValueError, match=r"above 1\.8e308"):
        spectral_norm(linear, (9,))
    conv = nn.Conv2d(2, 3, 3).double()
    torch.nn.init.constant_(conv.weight, 1.5e308)
    with pytest.raises(ValueError, match="overflow"):
        spectral_norm(conv, (6, 6))
    twice = nn.Sequential(_times(nn.Linear(5, 5), 700), _times(nn.Linear(5, 5), 700))
    with pytest.raises(ValueError, match="overflows float64"):
        spectral_norm(twice, (5,))


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_what_is_not_affine_is_seen_at_every_size(exponent):
    bent = nn.Sequential(_times(nn.Linear(6, 6), exponent), nn.ReLU())
    with pytest.raises(MetricNotDefinedError, match="isn't affine"):
        LinearMap(bent, (6,))
