"""The pruned search over frequencies, and what it is made of, against all singular values from NumPy's FFT."""

import math

import numpy as np
import pytest
import torch

from convbench.spectral.autocorrelation import autocorrelation
from convbench.spectral.circulant import toeplitz_upper
from convbench.spectral.gram import GramSymbol
from convbench.spectral.gram_iteration import gram_iteration
from convbench.spectral.sieve import Grid, Sieve, every_frequency
from convbench.spectral.sup_norm import sup_norm
from convbench.spectral.symbol import Symbol, convolution_symbol


def weight(kind: str, channels: tuple[int, int] = (20, 24), kernel: int = 3) -> torch.Tensor:
    """Kernels whose symbols are flat, peaked, degenerate or badly scaled."""
    generator = torch.Generator().manual_seed(3)
    w = torch.randn(*channels, kernel, kernel, generator=generator, dtype=torch.float64)
    if kind == "smooth":
        w += 5 * w.mean((2, 3), keepdim=True)
    if kind == "rank one":
        w = w.mean((0, 2, 3), keepdim=True) * w[:, :1]
    if kind == "one tap":
        w[:, :, [0, 2]] = 0
        w[..., [0, 2]] = 0
    if kind == "orthogonal":  # a flat symbol: every singular value is 1 at every frequency
        w = torch.zeros_like(w)
        square = torch.linalg.qr(torch.randn(channels[1], channels[1], generator=generator, dtype=torch.float64))[0]
        w[:, :, 1, 1] = square[: channels[0]]
    if kind == "haar":  # paraunitary with taps at two places: flat, and not constant
        w = torch.zeros_like(w)
        square = torch.linalg.qr(torch.randn(channels[1], channels[1], generator=generator, dtype=torch.float64))[0]
        w[: channels[0] // 2, :, 0, 0], w[channels[0] // 2 :, :, 2, 1] = square[:10], square[10:20]
    return w * {"tiny": 1e-12, "huge": 1e12}.get(kind, 1.0)


KINDS = ("random", "smooth", "rank one", "one tap", "orthogonal", "haar", "tiny", "huge")


def reference(w: torch.Tensor, size: tuple[int, int]) -> float:
    """Sedghi, Gupta & Long 2019, in NumPy: the largest singular value over the full plane of frequencies."""
    return float(np.linalg.svd(np.fft.fft2(w.numpy(), size).transpose(2, 3, 0, 1), compute_uv=False).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(17, 12), (4, 3)])
def test_the_sieve_encloses_the_largest_singular_value(kind, size):
    w = weight(kind)
    found = Sieve(convolution_symbol(w, padding=(1, 1))).maximum(Grid(size))
    true = reference(w, size)
    assert found.lower == pytest.approx(true, rel=2e-9, abs=0)
    assert found.lower <= true * (1 + 1e-12)
    assert true * (1 - 1e-12) <= found.upper <= true * (1 + 3e-9)


def test_the_sieve_equals_all_eigenvalues_for_strides_and_twists():
    symbol = convolution_symbol(weight("random", (20, 6), 4), stride=(2, 2), padding=(1, 1))
    for twist in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)):
        grid = Grid((9, 10), twist)
        exact = every_frequency(symbol, grid).lower
        assert Sieve(symbol).maximum(grid).lower == pytest.approx(exact, rel=2e-9)


def test_half_of_a_grid_has_every_frequency_or_its_mirror_image_once():
    for size in ((4, 5), (5, 4), (6, 6), (1, 3)):
        for twist in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)):
            grid = Grid(size, twist)
            whole = {
                tuple(np.round(np.array([(2 * i + twist[0]) / size[0] % 2, (2 * j + twist[1]) / size[1] % 2]), 9))
                for i in range(size[0])
                for j in range(size[1])
            }
            half = [tuple(np.round(f / math.pi % 2, 9)) for f in grid.at(grid.half()).numpy()]
            mirrored = {tuple(np.round(-np.array(f) % 2, 9)) for f in half}
            assert len(half) == len(set(half))
            assert set(half) | mirrored == whole


def test_groups_give_the_loudest_one():
    w = weight("random", (60, 20))
    w[:20] *= 0.2
    w[20:40] *= 5
    found = Sieve(convolution_symbol(w, groups=3)).maximum(Grid((8, 8)))
    assert found.lower == pytest.approx(reference(w[20:40], (8, 8)), rel=2e-9)


def test_zero_taps_have_a_maximum_of_zero():
    symbol = convolution_symbol(torch.zeros(20, 20, 3, 3))
    assert Sieve(symbol).maximum(Grid((8, 8))).upper == 0.0
    assert gram_iteration(symbol, Grid((8, 8))).upper == 0.0
    assert toeplitz_upper(symbol, (8, 8), (6, 6), (1, 1)) == 0.0


@pytest.mark.parametrize("channels", [(20, 20), (64, 52), (52, 64)])  # summed, and interpolated
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 1, 2), (2, 1, 1), (3, 2, 1), (4, 1, 1)])
def test_the_coefficients_give_the_gram_matrix(channels, kernel, stride, dilation):
    w = weight("random", channels, kernel)
    symbol = convolution_symbol(w, stride=(stride, stride), dilation=(dilation, dilation))
    taps = symbol.taps[:, 0] if symbol.taps.shape[2] >= symbol.taps.shape[3] else symbol.taps[:, 0].mT
    parts = autocorrelation(taps, symbol.offsets)
    omega = torch.tensor([0.7, -1.9], dtype=torch.float64)
    angles = parts.shifts @ omega
    gram = torch.complex(
        torch.einsum("d,dij->ij", angles.cos() @ parts.cosines, torch.stack(parts.even)),
        torch.einsum("d,dij->ij", angles.sin() @ parts.sines, torch.stack(parts.odd)),
    )
    k = (taps * torch.exp(1j * (symbol.offsets.double() @ omega)).view(-1, 1, 1)).sum(0)
    expected = k.mH @ k
    assert (gram - expected).abs().max() <= 1e-13 * expected.norm()


def test_a_factorization_proves_bounds_above_the_norm_and_none_below():
    symbol = convolution_symbol(weight("random"))
    gram = GramSymbol(symbol.taps[:, 0], symbol.offsets)
    omega = torch.tensor([[0.3, 2.0]], dtype=torch.float64)
    norm = float(symbol.norms(omega))
    assert gram.is_below(norm * (1 + 1e-10), omega)
    assert not gram.is_below(norm * (1 - 1e-10), omega)
    assert norm * (1 - 1e-9) <= gram.norm_below(omega[0], 1e-9) <= norm * (1 + 1e-13)


def test_gram_iteration_encloses_the_norm_and_tightens():
    symbol = convolution_symbol(weight("random"))
    true = reference(weight("random"), (8, 9))
    widths = []
    for iterations in (2, 6, 12):
        found = gram_iteration(symbol, Grid((8, 9)), iterations)
        assert found.lower <= true <= found.upper
        widths.append(found.upper / found.lower - 1)
    assert widths[2] < 1e-3 < widths[1] < 0.1 < widths[0]
    with pytest.raises(ValueError, match="at least one iteration"):
        gram_iteration(symbol, Grid((8, 9)), 0)


@pytest.mark.parametrize("kind", ["random", "smooth"])
@pytest.mark.parametrize("rtol", [0.1, 0.01])
def test_the_supremum_bounds_every_size(kind, rtol):
    symbol = convolution_symbol(weight(kind), padding=(1, 1))
    lower, upper = sup_norm(symbol, rtol)
    assert upper <= lower * (1 + rtol) * (1 + 1e-6)
    fine = reference(weight(kind), (64, 64))
    assert fine <= upper
    assert lower <= fine * (1 + 0.01)  # between the points of the fine grid the symbol may rise a little
    with pytest.raises(ValueError, match="rtol is 0"):
        sup_norm(symbol, 0)


def test_the_supremum_of_a_positive_kernel_is_its_sum():
    symbol = convolution_symbol(torch.ones(1, 1, 3, 3, dtype=torch.float64))
    lower, upper = sup_norm(symbol, 1e-3)
    assert lower == pytest.approx(9.0, rel=1e-12)
    assert 9.0 <= upper <= 9.0 * 1.001


def test_taps_at_irregular_places_are_summed():
    generator = torch.Generator().manual_seed(0)
    taps = torch.randn(3, 1, 50, 50, generator=generator, dtype=torch.float64)
    symbol = Symbol(taps, torch.tensor([[0, 0], [0, 1], [3, 0]]))
    grid = Grid((7, 6))
    assert Sieve(symbol).maximum(grid).lower == pytest.approx(every_frequency(symbol, grid).lower, rel=2e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_what_float32_proves_is_true(kind, monkeypatch):
    """At no frequency a bound below the norm is proven; a little above the norm every one is."""
    monkeypatch.setattr(GramSymbol, "_watch", lambda *_: None)
    sieve = Sieve(convolution_symbol(weight(kind)))
    gram, symbol = sieve._groups[0]._gram, sieve._symbol
    for frequency in Grid((5, 4)).at(Grid((5, 4)).half()):
        k = symbol.at(frequency[None])[0, 0].numpy()
        norm = float(np.linalg.svd(k, compute_uv=False)[0])
        for short in (1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3):
            assert not gram.is_below(norm * (1 - short), frequency[None], roughly=True), short
        assert gram.is_below(norm * (1 + 1e-3), frequency[None], roughly=True)
        assert gram.is_below(norm * (1 + 1e-9), frequency[None])  # float64 settles what float32 doesn't


@pytest.mark.parametrize("side", [40, 64, 128])
def test_the_room_for_the_errors_of_float32_is_needed_and_enough(side):
    """The least bound that float32 proves is above the norm, by about what the analysis of its errors takes off."""
    generator = torch.Generator().manual_seed(side)
    taps = torch.randn(9, side, side, generator=generator, dtype=torch.float64) / side**0.5
    offsets = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    gram, symbol = GramSymbol(taps, offsets), Symbol(taps[:, None], offsets)
    frequencies = 6 * torch.rand(8, 2, generator=generator, dtype=torch.float64)
    norms = symbol.norms(frequencies)
    for frequency, norm in zip(frequencies, norms.tolist(), strict=True):
        low, high = norm, norm * 1.01
        for _ in range(30):  # the least bound that float32 proves
            middle = (low + high) / 2
            low, high = (low, middle) if gram.is_below(middle, frequency[None], roughly=True) else (middle, high)
        assert high > norm
        least = 3 * (side + 1) * side * 2.0**-24 / 2  # Higham's bound for the factorization alone, in norm
        assert 0.8 * least <= high / norm - 1 <= 3 * least + 1e-4


def test_float32_is_given_up_where_it_proves_little():
    symbol = convolution_symbol(weight("orthogonal"))  # every norm is 1: only float64 tells 1 from 1 + 1e-8
    sieve = Sieve(symbol)
    sieve.maximum(Grid((16, 16)))
    assert len(symbol.offsets) > 1
    assert sieve._groups[0]._gram._single is None
