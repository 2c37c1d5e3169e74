"""Every registered normalization gives the same numbers compiled and exported as it does step by step."""

import copy

import pytest
import torch
from torch import nn

from convbench.norms import NORMS

WEIGHTS = torch.linspace(0, 1, 8)[:, None, None]


def images(size=10, number=8, seed=0):
    return torch.randn(number, 4, size, size, generator=torch.Generator().manual_seed(seed))


def trained(name, **conv):
    norm = NORMS.build(name)
    torch.manual_seed(0)
    module = norm(nn.Conv2d(4, 8, 3, padding=1, bias=not norm.has_shift, **conv))
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for step in range(2):
        optimizer.zero_grad()
        module(images(seed=step)).square().mul(WEIGHTS).mean().backward()
        optimizer.step()
    optimizer.zero_grad()
    return module


def step_of(run, module):
    """The output, the gradients and the state after one forward and backward pass by `run`."""
    x = images(seed=7).requires_grad_()
    y = run(x)
    y.square().mul(WEIGHTS).mean().backward()
    return [y, x.grad, *(p.grad for p in module.parameters()), *module.buffers()]


def assert_compiling_changes_nothing(name, training, backend):
    module = trained(name).train(training)
    twin = copy.deepcopy(module)
    torch.compiler.reset()
    for ours, theirs in zip(step_of(module, module), step_of(torch.compile(twin, backend=backend), twin), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)


# The mixture looks at its data between graphs, and dynamo then looks at the gradient of what is no leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NORMS.names())
def test_a_compiled_graph_computes_the_same(name, training):
    assert_compiling_changes_nothing(name, training, "aot_eager")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning")  # as above
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NORMS.names())
def test_generated_code_computes_the_same(name, training):
    assert_compiling_changes_nothing(name, training, "inductor")


@pytest.mark.parametrize("name", NORMS.names())
def test_an_export_takes_batches_of_any_size(name):
    """At an image size that nothing else asks for, so that no table of it was made before."""
    size = 13 + 2 * NORMS.names().index(name)
    module = trained(name).eval()
    batch = ({0: torch.export.Dim("batch", min=1, max=512)},)
    exported = torch.export.export(module, (images(size, 2),), dynamic_shapes=batch).module()
    with torch.no_grad():
        for number in (1, 2, 40):
            expected = module(images(size, number, seed=3))
            torch.testing.assert_close(exported(images(size, number, seed=3)), expected, rtol=1e-4, atol=1e-5)
