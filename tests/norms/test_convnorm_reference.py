"""ConvNorm against explicit circulant matrices and their inverse square root, which share no code with it."""

import itertools

import numpy as np
import pytest
import scipy.signal
import torch

import convbench.norms.preconditioning.preconditioner as preconditioner
from convbench.norms import ConvNorm2d


def build(*args, seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    options = {"affine": False, "bn": False, "bias": False, "eps_rel": 1e-20} | options
    return ConvNorm2d(*args, dtype=dtype, **options)


def randn(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def circulant(kernel, dilation, offset, torus):
    """The matrix of c[t] = sum_u kernel[u] x[t + dilation u - offset] on the torus."""
    matrix = np.zeros((torus[0] * torus[1],) * 2)
    for tap in np.ndindex(*kernel.shape):
        along = [np.roll(np.eye(n), d * u - o, axis=1) for n, d, u, o in zip(torus, dilation, tap, offset, strict=True)]
        matrix += kernel[tap] * np.kron(*along)
    return matrix


def inverse_root(gram):
    values, vectors = np.linalg.eigh(gram)
    return vectors @ np.diag(values**-0.5) @ vectors.T


def reference(layer, x):
    """The definition, channel by channel: full convolution, (sum C C^T)^(-1/2), crop, stride, bias, r."""
    weight, x = layer.weight.detach().double().numpy(), x.double().numpy()
    (cout, cin, *kernel), size = weight.shape, x.shape[2:]
    pad = (0, 0) if isinstance(layer.padding, str) else layer.padding
    pad = [(p, p) for p in pad]
    span = [d * (k - 1) for d, k in zip(layer.dilation, kernel, strict=True)]
    if layer.padding == "same":
        pad = [(s // 2, s - s // 2) for s in span]
    length = [n + sum(p) - s for n, p, s in zip(size, pad, span, strict=True)]
    if layer.padding_mode == "circular":
        torus, offset, start = size, [p[0] for p in pad], [0, 0]
    else:
        offset = [max(s, *p) for s, p in zip(span, pad, strict=True)]
        torus = [n + 2 * o - s for n, o, s in zip(size, offset, span, strict=True)]
        start = [o - p[0] for o, p in zip(offset, pad, strict=True)]
    embedded = np.zeros((*x.shape[:2], *torus))
    embedded[:, :, : size[0], : size[1]] = x
    out = []
    for j in range(cout):
        group = j // (cout // layer.groups) * cin
        matrices = [circulant(weight[j, i], layer.dilation, offset, torus) for i in range(cin)]
        root = inverse_root(sum(m @ m.T for m in matrices))
        c = sum(embedded[:, group + i].reshape(len(x), -1) @ matrices[i].T for i in range(cin))
        y = (c @ root.T).reshape(len(x), *torus)
        rows, cols = (slice(b, b + n, s) for b, n, s in zip(start, length, layer.stride, strict=True))
        y = y[:, rows, cols] + (0 if layer.bias is None else layer.bias[j].item())
        if layer.r is not None:
            r, shift = layer.r.weight[j, 0].detach().numpy(), layer.r.bias[j].item()
            mode = {"mode": "wrap"} if layer.padding_mode == "circular" else {}
            sides = [((k - 1) // 2, k // 2) for k in kernel]
            y = np.stack([scipy.signal.correlate2d(np.pad(image, sides, **mode), r, "valid") + shift for image in y])
        out.append(y)
    return torch.from_numpy(np.stack(out, 1))


LAYERS = {
    "3x3": (4, 3, 3, 1, 1),
    "no padding": (4, 3, 3),
    "stride 2": (4, 3, 3, 2, 1),
    "stride (1, 2)": (4, 3, 3, (1, 2), 1),
    "1x1": (4, 3, 1),
    "1x1, stride 2, padding 1": (4, 3, 1, 2, 1),
    "1x3": (4, 3, (1, 3), 1, (0, 1)),
    "3x1": (4, 3, (3, 1), 2),
    "2x2": (4, 3, 2, 1, 1),
    "4x3": (4, 3, (4, 3), 1, (1, 2)),
    "even, same": (4, 3, (2, 4), 1, "same"),
    "valid": (4, 3, 3, 1, "valid"),
    "5x5, padding 1": (4, 3, 5, 1, 1),
    "padding over k - 1": (4, 3, 3, 2, (4, 3)),
    "dilation": (4, 3, 3, 1, 2, 2),
    "dilation (2, 1), 2x3": (4, 3, (2, 3), (2, 1), (1, 0), (2, 1)),
    "groups": (4, 6, 3, 1, 1, 1, 2),
    "depthwise": (4, 4, 3, 2, 1, 1, 4),
}
CIRCULAR_LAYERS = {
    "3x3": (4, 3, 3, 1, 1),
    "even, same": (4, 3, (4, 2), 1, "same"),
    "stride 2, dilated": (4, 3, 3, 2, 2, 2),
    "narrower": (4, 3, 5, 1, 1),
}
CASES = [pytest.param(v, "zeros", id=k) for k, v in LAYERS.items()]
CASES += [pytest.param(v, "circular", id=f"circular {k}") for k, v in CIRCULAR_LAYERS.items()]


@pytest.mark.parametrize(("arguments", "padding_mode"), CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equals_the_dense_definition(arguments, padding_mode, dtype):
    cout, cin, *rest = arguments
    layer = build(cin, cout, *rest, affine=True, padding_mode=padding_mode, dtype=dtype)
    layer.bias = torch.nn.Parameter(randn(cout, dtype=dtype))
    with torch.no_grad():
        layer.r.bias.copy_(randn(cout, dtype=dtype))
    x = randn(2, cin, 6, 7, dtype=dtype)
    difference = (layer(x) - reference(layer, x)).abs().max()
    assert difference < (1e-12 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("size", [(14, 11), (47, 3), (50, 2)])
def test_every_way_to_filter_equals_the_dense_definition(size):
    layer = build(1, 2, 3, 2, 1)
    x = randn(1, 1, *size)
    assert (layer(x) - reference(layer, x)).abs().max() < 1e-12


def operator_rows(layer, cin, size):
    """The layer as a matrix, by output channel: (Cout, rows, Cin * H * W)."""
    basis = torch.eye(cin * size[0] * size[1], dtype=layer.weight.dtype).view(-1, cin, *size)
    with torch.no_grad():
        return layer(basis).flatten(2).permute(1, 2, 0)


def gram_deviation(layer, cin, size):
    rows = operator_rows(layer, cin, size)
    return (rows @ rows.mT - torch.eye(rows.shape[1], dtype=rows.dtype)).abs().max()


@pytest.mark.parametrize("stride", [1, 2, (1, 3)])
@pytest.mark.parametrize("size", [(6, 5), (14, 15)])
def test_every_output_channel_is_an_isometry(stride, size):
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        layer = build(2, 3, 3, stride, 1, padding_mode="circular", dtype=dtype)
        assert gram_deviation(layer, 2, size) < tolerance


def squared_not_modulus(weight, torus, *_):
    """|F|^2 replaced by the real part of F^2, what the naive port of the authors' code computes."""
    return (torch.fft.rfft2(weight, s=torus) ** 2).real.sum(1).abs()


def wrong_axis(weight, torus, *_):
    return torch.fft.rfft2(weight, s=torus).abs().square().sum(0)


@pytest.mark.parametrize("mutant", [squared_not_modulus, wrong_axis])
def test_the_isometry_test_can_fail(monkeypatch, mutant):
    monkeypatch.setattr(preconditioner, "power_spectrum", mutant)
    assert gram_deviation(build(3, 3, 3, 1, 1, padding_mode="circular"), 3, (6, 5)) > 1e-2


def test_zero_padding_is_the_circular_layer_on_the_larger_torus():
    padded, circular = build(3, 4, 3, 1, 2), build(3, 4, 3, 1, 1, padding_mode="circular")
    circular.load_state_dict(padded.state_dict())
    x = randn(2, 3, 6, 7)
    embedded = torch.zeros(2, 3, 8, 9, dtype=x.dtype)
    embedded[:, :, 1:7, 1:8] = x
    assert (padded(x) - circular(embedded)).abs().max() < 1e-13


@pytest.mark.parametrize(("cin", "cout", "groups"), [(3, 5, 1), (8, 4, 1), (1, 4, 1), (4, 8, 2), (6, 6, 6)])
def test_singular_values_lie_within_the_bounds(cin, cout, groups):
    layer = build(cin, cout, 3, padding=1, groups=groups)
    symbol = layer.effective_symbol(7, 8).permute(2, 3, 0, 1)
    assert (symbol.abs().square().sum(-1) - 1).abs().max() < 1e-12
    blocks = symbol.unflatten(2, (groups, cout // groups)).flatten(0, 2)
    values = torch.linalg.svdvals(blocks)
    inputs, outputs = cin // groups, cout // groups
    assert values.max() <= outputs**0.5 + 1e-9
    assert values.max() >= max(1, outputs / inputs) ** 0.5 - 1e-9
    if inputs == 1:
        assert (values[:, 0] - outputs**0.5).abs().max() < 1e-11


def test_the_symbol_is_that_of_the_layer():
    layer = build(2, 3, (3, 2), padding="same", dilation=(2, 1), padding_mode="circular")
    dense = operator_rows(layer, 2, (6, 5)).flatten(0, 1)
    by_frequency = torch.linalg.svdvals(layer.effective_symbol(6, 5).permute(2, 3, 0, 1)).flatten()
    padded = torch.zeros(dense.shape[1], dtype=by_frequency.dtype)
    padded[: len(by_frequency)] = by_frequency
    assert (torch.linalg.svdvals(dense).sort()[0] - padded.sort()[0]).abs().max() < 1e-11


def test_the_cropped_layer_is_no_larger_than_its_torus():
    for stride, padding in itertools.product([1, 2], [0, 1]):
        layer = build(3, 5, 3, stride, padding)
        torus_norm = torch.linalg.svdvals(layer.effective_symbol(6, 7).permute(2, 3, 0, 1)).max()
        real_norm = torch.linalg.matrix_norm(operator_rows(layer, 3, (6, 7)).flatten(0, 1), 2)
        assert 0.3 * torus_norm < real_norm <= torus_norm * (1 + 1e-9)


@pytest.mark.parametrize("stride", [1, 2])
def test_with_r_the_layer_is_bounded_by_the_kernels_of_r(stride):
    layer, size = build(3, 5, 3, stride, 1, affine=True), (6, 7)
    with torch.no_grad():
        layer.r.bias.zero_()
        norm = torch.linalg.matrix_norm(operator_rows(layer, 3, size).flatten(0, 1), 2)
        peaks = torch.fft.fft2(layer.r.weight[:, 0], s=(64, 64)).abs().amax((1, 2))
        widest = 5**0.5 * layer.r.weight.abs().sum(dim=(1, 2, 3)).max()
    assert 0.2 * widest < norm <= peaks.square().sum().sqrt() * (1 + 1e-2) <= widest * (1 + 1e-2)


def test_where_the_kernel_stands_in_its_window_does_not_matter_to_the_preconditioner():
    weight, layer = randn(3, 2, 3, 3), build(2, 3, 5)
    found = []
    for top, left in ((0, 0), (2, 1), (1, 2)):
        with torch.no_grad():
            layer.weight.zero_()[:, :, top : top + 3, left : left + 3] = weight
        found.append(layer.preconditioner((8, 7)))
    assert (found[0] - found[1]).abs().max() < 1e-12
    assert (found[0] - found[2]).abs().max() < 1e-12


def test_identical_kernels_reach_the_upper_bound():
    layer = build(3, 6, 3)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:1].expand_as(layer.weight))
    values = torch.linalg.svdvals(layer.effective_symbol(8, 8).permute(2, 3, 0, 1))
    assert (values[..., 0] - 6**0.5).abs().max() < 1e-11


def test_a_wide_random_layer_has_the_norm_of_random_matrix_theory():
    values = torch.linalg.svdvals(build(64, 128, 3).effective_symbol(8, 8).permute(2, 3, 0, 1))
    assert abs(values.max() / (1 + 2**0.5) - 1) < 0.05
