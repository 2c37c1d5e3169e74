"""The gradient of ConvNorm: a self-adjoint filter, and a preconditioner that takes no part in it unless asked."""

import pytest
import torch

from convbench.norms import ConvNorm2d
from convbench.norms.preconditioning.preconditioner import gain, unit_kernels
from convbench.norms.preconditioning.torus_filter import TorusFilter, filter_by_fft, whole


def build(*args, seed=0, **options):
    torch.manual_seed(seed)
    return ConvNorm2d(*args, dtype=torch.float64, **({"affine": False, "bn": False, "bias": False} | options))


def randn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TORI = [(4, 5), (12, 12), (13, 14), (5, 50)]  # one matrix, matrices by axis, the same with an odd side, FFT


@pytest.mark.parametrize("torus", TORI)
def test_the_filter_is_self_adjoint_and_the_same_in_every_way(torus):
    v = gain(unit_kernels(randn(3, 2, 3, 3)), torus)
    a, b, all_of_it = randn(2, 3, *torus), randn(2, 3, *torus, seed=2), whole(torus)
    fa, fb = (TorusFilter.apply(x, v, torus, all_of_it, all_of_it) for x in (a, b))
    assert ((fa * b).sum() - (a * fb).sum()).abs() < 1e-11
    assert (fa - filter_by_fft(a, v, torus, all_of_it, all_of_it)).abs().max() < 1e-12
    last = a.contiguous(memory_format=torch.channels_last)
    filtered = TorusFilter.apply(last, v, torus, all_of_it, all_of_it)
    assert filtered.is_contiguous(memory_format=torch.channels_last) or max(torus) == 50
    assert (fa - filtered).abs().max() < 1e-12


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")  # torch.func.jvp's own import
@pytest.mark.parametrize("torus", [(4, 5), (13, 12), (2, 50)])
def test_the_filter_has_the_gradient_of_its_numbers(torus):
    v = gain(unit_kernels(randn(2, 2, 2, 2)), torus)
    target = (range(1, torus[0], 2), range(2, torus[1] - 1, 7))

    def crop(x):
        return TorusFilter.apply(x, v, torus, whole(torus), target)

    x = randn(1, 2, *torus).requires_grad_()
    assert torch.autograd.gradcheck(crop, (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(crop, (x,), fast_mode=True)
    _, tangent = torch.func.jvp(crop, (x.detach(),), (randn(1, 2, *torus, seed=3),))
    assert (tangent - crop(randn(1, 2, *torus, seed=3))).abs().max() < 1e-12
    batch = randn(3, 1, 2, *torus)
    each = torch.stack([crop(image) for image in batch])
    assert (torch.vmap(crop)(batch) - each).abs().max() < 1e-12


def weight_gradient(layer, x, upstream):
    y = layer(x)
    y.backward(upstream)
    return y.detach(), layer.weight.grad


@pytest.mark.parametrize("arguments", [(3, 4, 3, 1, 1), (3, 4, (2, 3), 2), (3, 4, 1)])
def test_the_preconditioner_takes_no_part_in_the_gradient(arguments):
    layer = build(*arguments)
    x = randn(2, 3, 7, 6)
    upstream = torch.randn_like(layer(x))
    y, gradient = weight_gradient(layer, x, upstream)
    radial = (layer.weight.detach() * gradient).sum(dim=(1, 2, 3))
    assert (radial - (y * upstream).sum(dim=(0, 2, 3))).abs().max() < 1e-11

    with torch.no_grad():
        layer.weight.mul_(10.0)
    layer.weight.grad = None
    _, scaled = weight_gradient(layer, x, upstream)
    assert (scaled * 10 - gradient).abs().max() < 1e-12


@pytest.mark.parametrize("arguments", [(3, 4, 3, 1, 1), (3, 4, (2, 3), 2), (3, 4, 1)])
def test_with_grad_through_v_the_gradient_is_complete(arguments):
    layer, plain = build(*arguments, grad_through_v=True), build(*arguments)
    x = randn(2, 3, 7, 6)
    upstream = torch.randn_like(layer(x))
    y, gradient = weight_gradient(layer, x, upstream)
    y_plain, gradient_plain = weight_gradient(plain, x, upstream)
    assert (y - y_plain).abs().max() < 1e-12
    assert (layer.weight.detach() * gradient).sum(dim=(1, 2, 3)).abs().max() < 1e-11
    assert (gradient - gradient_plain).norm() > 0.01 * gradient.norm()

    def by_weight(weight):
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(by_weight, (layer.weight,), fast_mode=True)


@pytest.mark.parametrize("options", [{}, {"padding_mode": "circular"}, {"stride": 2, "groups": 2, "dilation": 2}])
def test_the_layer_has_the_gradient_of_its_numbers(options):
    layer = build(2, 2, (3, 2), **({"padding": "same"} if "stride" not in options else {}), **options, affine=True)
    assert torch.autograd.gradcheck(layer, (randn(1, 2, 6, 5).requires_grad_(),), fast_mode=True)
