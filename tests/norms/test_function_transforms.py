"""Every registered normalization under the transforms of `torch.func`, against autograd on the module itself."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jvp, vjp, vmap

from convbench.norms import NORMS, MixtureNorm2d

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")  # torch's own forward mode uses it


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trained(name):
    norm = NORMS.build(name)
    torch.manual_seed(0)
    module = norm(nn.Conv2d(4, 6, 3, padding=1, bias=not norm.has_shift)).double()
    for seed in range(2):
        module(randn(8, 4, 7, 7, seed=seed) + 1)
    return module


def as_function(module):
    """The module as a function of parameters and images, which leaves its buffers as they are."""
    buffers = {name: value.clone() for name, value in module.named_buffers()}

    def function(parameters, x):
        fresh = {name: value.clone() for name, value in buffers.items()}
        return functional_call(module, (parameters, fresh), (x,))

    return function, {name: value.detach() for name, value in module.named_parameters()}


@pytest.mark.parametrize("name", NORMS.names())
@pytest.mark.parametrize("training", [True, False])
def test_vjp_and_jvp_agree_with_autograd(name, training):
    module = trained(name).train(training)
    function, parameters = as_function(module)
    x, tangent = randn(3, 4, 7, 7, seed=5), randn(3, 4, 7, 7, seed=6)
    upstream, variable = randn(3, 6, 7, 7, seed=7), x.clone().requires_grad_()
    (expected,) = torch.autograd.grad((function(parameters, variable) * upstream).sum(), variable)
    if training and any(isinstance(part, MixtureNorm2d) for part in module.modules()):
        pytest.skip("its batch is assigned by code that decides on values and works in place")
    y, pullback = vjp(lambda x: function(parameters, x), x)
    torch.testing.assert_close(pullback(upstream)[0], expected, rtol=1e-9, atol=1e-9)
    forward, change = jvp(lambda x: function(parameters, x), (x,), (tangent,))
    torch.testing.assert_close(forward, y)
    torch.testing.assert_close((change * upstream).sum(), (expected * tangent).sum(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NORMS.names())
def test_at_evaluation_images_and_their_gradients_map_over_a_batch(name):
    function, parameters = as_function(trained(name).eval())
    x = randn(3, 4, 7, 7, seed=5)
    together = vmap(lambda image: function(parameters, image[None])[0])(x)
    torch.testing.assert_close(together, function(parameters, x))

    def loss(parameters, image):
        return function(parameters, image[None]).square().sum()

    each = vmap(grad(loss), (None, 0))(parameters, x)
    for number, image in enumerate(x):
        variables = {key: value.clone().requires_grad_() for key, value in parameters.items()}
        gradients = torch.autograd.grad(loss(variables, image), list(variables.values()), allow_unused=True)
        for key, gradient in zip(variables, gradients, strict=True):
            expected = torch.zeros_like(variables[key]) if gradient is None else gradient
            torch.testing.assert_close(each[key][number], expected, rtol=1e-8, atol=1e-8)
