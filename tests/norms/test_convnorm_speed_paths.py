"""The faster computations of ConvNorm give the numbers and gradients of the plain ones, and keep less."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convbench.norms import ConvNorm2d
from convbench.norms.preconditioning import forward
from convbench.norms.preconditioning.depthwise_batch_norm import DepthwiseBatchNorm, depthwise_batch_norm
from convbench.norms.preconditioning.preconditioner import gain
from convbench.norms.preconditioning.spectral_convolution import SpectralConvolution


def randn(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_fourier_transform(x, weight, v, torus, source, target, dilation):
    """The formula with complex transforms of x and of kernels made dilated by hand."""
    wide = x.new_zeros(*weight.shape[:2], *((k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)))
    wide[:, :, :: dilation[0], :: dilation[1]] = weight
    symbol = torch.fft.rfft2(wide, s=torus).conj() * v[:, None]
    embedded = x.new_zeros(*x.shape[:2], *torus)
    rows, cols = (torch.tensor(s) % n for s, n in zip(source, torus, strict=True))
    embedded[:, :, rows[:, None], cols] = x
    y = torch.fft.irfft2(torch.einsum("oiab,niab->noab", symbol, torch.fft.rfft2(embedded)), s=torus)
    return y[:, :, torch.tensor(target[0])[:, None], torch.tensor(target[1])]


SPECTRAL = {
    "3x3": ((8, 9), 3, 3, (1, 1), (range(2, 8), range(2, 9)), (range(1, 7), range(1, 8))),
    "stride": ((8, 9), 3, 3, (1, 1), (range(2, 8), range(2, 9)), (range(1, 7, 2), range(1, 8, 3))),
    "2x4, dilated": ((7, 10), 2, 4, (2, 1), (range(2, 7), range(3, 10)), (range(5), range(0, 9, 2))),
    "circular": ((6, 5), 3, 3, (1, 1), (range(1, 7), range(1, 6)), (range(0, 6, 2), range(5))),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")  # torch.func.jvp's own import
@pytest.mark.parametrize("case", SPECTRAL.values(), ids=SPECTRAL.keys())
def test_the_spectral_convolution_has_the_values_and_gradients_of_its_formula(case):
    torus, kh, kw, dilation, source, target = case
    x = randn(2, 3, len(source[0]), len(source[1])).requires_grad_()
    weight = randn(4, 3, kh, kw, seed=2).requires_grad_()
    v = gain(weight.detach(), torus, dilation)

    def ours(x, weight):
        return SpectralConvolution.apply(x, weight, v, (torus, source, target, dilation))

    formula = partial(by_fourier_transform, v=v, torus=torus, source=source, target=target, dilation=dilation)
    assert (ours(x, weight) - formula(x, weight)).abs().max() < 1e-13
    upstream = randn(*ours(x, weight).shape, seed=3)
    found = torch.autograd.grad(ours(x, weight), (x, weight), upstream)
    expected = torch.autograd.grad(formula(x, weight), (x, weight), upstream)
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < 1e-12
    one = torch.autograd.grad(ours(x, weight), weight, upstream)[0]
    assert (one - expected[1]).abs().max() < 1e-12
    assert torch.autograd.gradgradcheck(ours, (x, weight), fast_mode=True)
    primals, tangents = (x.detach(), weight.detach()), (randn(*x.shape, seed=4), randn(*weight.shape, seed=5))
    for a, b in zip(torch.func.jvp(ours, primals, tangents), torch.func.jvp(formula, primals, tangents), strict=True):
        assert (a - b).abs().max() < 1e-12
    batch = torch.stack([x.detach(), 2 * x.detach()])
    per_sample = torch.func.vmap(torch.func.grad(lambda x, w: ours(x, w).square().sum(), 1), (0, None))
    assert (per_sample(batch, weight)[1] - 4 * per_sample(batch, weight)[0]).abs().max() < 1e-10


FOLDED = {  # torus, steps of the output, channels in and out, dilation
    "one matrix": ((8, 9), (1, 1), (3, 3), (1, 1)),
    "one matrix, folded": ((8, 9), (2, 3), (2, 4), (1, 1)),
    "axis by axis": ((12, 11), (1, 1), (3, 3), (1, 2)),
    "axis by axis, folded": ((12, 14), (2, 2), (2, 4), (1, 1)),
    "folded along rows": ((12, 13), (3, 2), (4, 3), (2, 1)),
    "folded along columns": ((13, 12), (2, 4), (4, 3), (1, 1)),
}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("torus", "steps", "channels", "dilation"), FOLDED.values(), ids=FOLDED.keys())
def test_frequencies_are_transformed_and_folded_alike_in_every_order(torus, steps, channels, dilation, memory_format):
    source = tuple(range(2, n - 1) for n in torus)
    target = tuple(range(1, n - 2, step) for n, step in zip(torus, steps, strict=True))
    x = randn(3, channels[0], torus[0] - 3, torus[1] - 3).contiguous(memory_format=memory_format).requires_grad_()
    weight = randn(channels[1], channels[0], 3, 2, seed=2).requires_grad_()
    v = gain(weight.detach(), torus, dilation)
    y = SpectralConvolution.apply(x, weight, v, (torus, source, target, dilation))
    expected = by_fourier_transform(x, weight, v, torus, source, target, dilation)
    assert (y - expected).abs().max() < 1e-13
    upstream = randn(*y.shape, seed=3)
    found = torch.autograd.grad(y, (x, weight), upstream)
    assert y.is_contiguous(memory_format=memory_format)
    assert found[0].is_contiguous(memory_format=memory_format)
    for a, b in zip(found, torch.autograd.grad(expected, (x, weight), upstream), strict=True):
        assert (a - b).abs().max() < 1e-12


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("torus", "steps"), [((10, 10), (1, 1)), ((18, 18), (1, 1)), ((18, 18), (2, 2))])
def test_in_bfloat16_the_spectral_convolution_is_as_precise_as_a_convolution(torus, steps, memory_format):
    source = tuple(range(2, n) for n in torus)
    target = tuple(range(1, n - 1, step) for n, step in zip(torus, steps, strict=True))
    x = randn(8, 16, torus[0] - 2, torus[1] - 2, dtype=torch.float32).relu()
    x = x.bfloat16().contiguous(memory_format=memory_format).requires_grad_()
    weight = randn(16, 16, 3, 3, seed=2, dtype=torch.float32).requires_grad_()
    v = gain(weight.detach().double(), torus)
    y = SpectralConvolution.apply(x, weight, v.float(), (torus, source, target, (1, 1)))
    with torch.autocast("cpu", torch.bfloat16):  # a backward pass may begin inside of it
        found = y, *torch.autograd.grad(y, (x, weight), y.detach())
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=memory_format)
    wide = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    exact = by_fourier_transform(*wide, v, torus, source, target, (1, 1))
    plain = F.conv2d(x, weight.bfloat16(), padding=1).double()
    rounding = (plain - F.conv2d(wide[0], wide[1], padding=1)).square().mean() / plain.square().mean()
    for a, b in zip(found, (exact, *torch.autograd.grad(exact, wide, y.detach().double())), strict=True):
        assert (a - b).square().mean() < 4 * rounding * b.square().mean()


@pytest.mark.parametrize("padding_mode", ["zeros", "circular"])
def test_no_image_is_filtered_otherwise_in_a_large_batch(monkeypatch, padding_mode):
    monkeypatch.setattr(forward, "_SPECTRAL_WORK", 0)
    for grid in ("full", "output"):  # the output's grid leaves zero padding no room on the torus
        torch.manual_seed(0)
        options = {"grid": grid, "affine": False, "bn": False, "dtype": torch.float64}
        layer, x = ConvNorm2d(2, 32, 3, 1, 1, padding_mode=padding_mode, **options), randn(48, 2, 12, 11)
        with torch.no_grad():
            assert (layer(x)[:2] - layer(x[:2])).abs().max() < 1e-12


@pytest.mark.parametrize(
    "arguments",
    [
        {"stride": 2, "padding": 1},
        {"padding": (4, 3)},
        {"padding": "same", "padding_mode": "circular"},
        {"kernel_size": (4, 3), "stride": (1, 2), "dilation": (1, 2)},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_large_batch_takes_the_spectral_way_to_the_same_result(monkeypatch, arguments, dtype):
    torch.manual_seed(0)
    layer = ConvNorm2d(3, 32, **({"kernel_size": 3} | arguments), affine=False, bn=False, dtype=dtype)
    called = []
    monkeypatch.setattr(forward, "_SPECTRAL_WORK", 0)
    original = SpectralConvolution.apply
    monkeypatch.setattr(SpectralConvolution, "apply", lambda *args: called.append(1) or original(*args))
    results = []
    for spectral_batch in (32, 10_000):
        monkeypatch.setattr(forward, "_SPECTRAL_BATCH", spectral_batch)
        x = randn(32, 3, 12, 11, dtype=dtype).requires_grad_()
        y = layer(x)
        results.append((y.detach(), *torch.autograd.grad(y.square().sum(), (x, layer.weight))))
    assert len(called) == 1
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() < (1e-11 if dtype == torch.float64 else 1e-5) * b.abs().max()


def test_bfloat16_takes_the_spectral_way_where_a_stride_saves_work():
    torch.manual_seed(0)
    layer, x = ConvNorm2d(8, 32, 3, 2, 1, affine=False, bn=False), randn(32, 8, 12, 12, dtype=torch.float32)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert (y.float() - exact).square().mean().sqrt() < 1e-2 * exact.square().mean().sqrt()


def r_and_bn(dtype=torch.float64):
    torch.manual_seed(0)
    r, bn = nn.Conv2d(3, 3, 3, groups=3, dtype=dtype), nn.BatchNorm2d(3, dtype=dtype)
    with torch.no_grad():
        bn.weight.copy_(randn(3)), bn.bias.copy_(randn(3, seed=2))
    return r, bn


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")
def test_r_and_batch_normalization_in_one_have_the_gradients_of_the_two():
    r, bn = r_and_bn()
    y, parameters = randn(2, 3, 4, 5).requires_grad_(), (r.weight, r.bias, bn.weight, bn.bias)

    def ours(y, kernel, bias, gamma, beta):
        running = torch.zeros(3, dtype=y.dtype), torch.ones(3, dtype=y.dtype)
        return DepthwiseBatchNorm.apply(y, kernel, bias, gamma, beta, *running, 0.1, 1e-5, (1, 1))[0]

    def plain(y, kernel, bias, gamma, beta):
        return F.batch_norm(F.conv2d(y, kernel, bias, 1, 1, 1, 3), None, None, gamma, beta, training=True)

    assert torch.autograd.gradcheck(ours, (y, *parameters), fast_mode=True)
    assert torch.autograd.gradgradcheck(ours, (y, *parameters), fast_mode=True)
    primals = tuple(t.detach() for t in (y, *parameters))
    tangents = tuple(randn(*t.shape, seed=7) for t in primals)
    expected = torch.func.jvp(plain, primals, tangents)
    for a, b in zip(torch.func.jvp(ours, primals, tangents), expected, strict=True):
        assert (a - b).abs().max() < 1e-12


def test_r_and_batch_normalization_in_one_are_the_two_modules():
    r, bn = r_and_bn()
    twin, y = copy.deepcopy(bn), randn(4, 3, 5, 6)
    for _ in range(3):
        y = y.detach().requires_grad_()
        expected = twin(F.conv2d(y, r.weight, r.bias, 1, 1, 1, 3))
        assert (depthwise_batch_norm(y, r, bn, (1, 1)) - expected).abs().max() < 1e-12
    for name, value in twin.state_dict().items():
        assert torch.allclose(value, bn.state_dict()[name]), name
    expected = twin.eval()(F.conv2d(y, r.weight, r.bias, 1, 1, 1, 3))
    assert (depthwise_batch_norm(y, r, bn.eval(), (1, 1)) - expected).abs().max() < 1e-12
    with pytest.raises(ValueError, match="more than 1 value"):
        depthwise_batch_norm(randn(1, 3, 1, 1), r, bn.train(), (1, 1))


@pytest.mark.parametrize("options", [{"momentum": None}, {"track_running_stats": False}, {"affine": False}])
def test_another_batch_normalization_is_left_to_its_module(options):
    (r, _), bn = r_and_bn(), nn.BatchNorm2d(3, dtype=torch.float64, **options)
    twin, y = copy.deepcopy(bn), randn(4, 3, 5, 6)
    for training in (True, True, False):
        expected = twin.train(training)(F.conv2d(y, r.weight, r.bias, 1, 1, 1, 3))
        assert torch.equal(depthwise_batch_norm(y, r, bn.train(training), (1, 1)), expected)
    seen = []
    bn.register_forward_hook(lambda *_: seen.append(1))
    depthwise_batch_norm(y, r, bn, (1, 1))
    assert seen


def kept_bytes(module, x):
    own = {p.untyped_storage().data_ptr() for p in (*module.parameters(), *module.buffers())}
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = module(x)
    assert y.requires_grad
    return sum(size for pointer, size in kept.items() if pointer not in own)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stride", [1, 2])
def test_as_much_is_kept_for_the_backward_pass_as_with_batch_normalization(dtype, stride):
    x = randn(64, 32, 16, 16, dtype=torch.float32).requires_grad_()
    conv = nn.Conv2d(32, 32, 3, stride, 1, bias=False)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        usual = kept_bytes(nn.Sequential(conv, nn.BatchNorm2d(32)), x)
        ours = kept_bytes(ConvNorm2d.from_conv(conv), x)
    assert ours < 1.1 * usual


@pytest.mark.parametrize("training", [True, False])
def test_tracing_takes_standard_operators_to_the_same_result(training):
    torch.manual_seed(0)
    layer = ConvNorm2d(3, 32, 3, 2, 1).train(training)
    x = randn(32, 3, 12, 12, dtype=torch.float32)
    expected = copy.deepcopy(layer)(x)
    exported = torch.export.export(layer, (x,)).module()
    assert (exported(x) - expected).abs().max() < 1e-4
