"""Compiled loops give what torch's operations give, whatever the threads, and step aside where they cannot run."""

import copy
import subprocess
import sys

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from convbench.norms import MixtureNorm2d
from convbench.norms.mixtures import compiled
from convbench.norms.mixtures.batch_passes import TorchPasses, passes_of
from convbench.norms.mixtures.gaussian_mixture import LogJoint
from convbench.norms.mixtures.position_layout import layout_of

LAST = torch.channels_last
# What a test of a few seconds can compile: each layout once, arithmetic in both types, and bfloat16.
CASES = [(torch.contiguous_format, torch.float64, 3), (LAST, torch.bfloat16, 3)]
MORE = [
    (memory_format, dtype, components)
    for memory_format in (torch.contiguous_format, LAST)
    for dtype in (torch.float32, torch.float64, torch.bfloat16)
    for components in (2, 3, 5)
    if (memory_format, dtype, components) not in CASES
]
each_case = pytest.mark.parametrize(
    ("memory_format", "dtype", "components"), CASES + [pytest.param(*case, marks=pytest.mark.slow) for case in MORE]
)


@pytest.fixture(autouse=True)
def switched_on(monkeypatch):
    pytest.importorskip("numba")  # the extra `compiled`
    monkeypatch.setenv("CONVBENCH_COMPILED", "1")


def randn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch_of(shape, memory_format, dtype, seed=1):
    """Values of two modes, far enough from zero that sums of squares would lose digits."""
    n, c, h, w = shape
    x = randn(*shape, seed=seed) + 3 * randn(n, 1, h, w, seed=seed + 1).sign() + 5 * randn(c, 1, 1, seed=seed + 2)
    return x.to(dtype).contiguous(memory_format=memory_format)


def coefficients(x, components):
    """A shift, a mixture around it, and three (K, C) matrices, in the type of arithmetic."""
    dtype, channels = torch.promote_types(x.dtype, torch.float32), x.shape[1]
    linear, scale, slope, level, spread = (randn(components, channels, seed=seed).to(dtype) for seed in range(3, 8))
    square = -(0.1 + 0.5 * spread.abs()) / channels**0.5
    joint = LogJoint(square, linear / channels**0.5, randn(components, seed=8).to(dtype))
    return x.double().mean((0, 2, 3)).to(dtype), joint, scale, slope, level


def results(passes, x, grad, resp, shift, joint, scale, slope, level):
    """What the passes over a batch give, by name; the later ones take `resp`, so that errors do not add up."""
    counts, sums, squares = (part.double() for part in passes.moments(x))
    mean = sums.sum(0) / counts.sum()
    between = (counts[:, None] * (sums / counts[:, None] - mean).square()).sum(0)
    (own,), mass, first, second = passes.assign(x, shift, joint)
    grad_sum, product = passes.reduce(x, grad, [resp], shift)
    return {
        "mean": mean, "square": squares.sum(0) + between, "resp": own, "mass": mass, "first": first, "second": second,
        "grad": grad_sum, "product": product, "transform": passes.transform(x, [resp], shift, scale, level),
        "gradient": passes.gradient(x, grad, [resp], scale, slope, level),
        "evaluate": passes.evaluate(x, shift, joint, scale, level),
    }  # fmt: skip


SHAPES = [(3, 5, 7, 5), (2, 4, 1, 1), (9, 3, 33, 33), (1, 1, 2, 1), (70, 16, 4, 4), (1, 70, 40, 40)]
# Of the largest value; log densities of size 100, exact to 1e-7 of that, make posteriors exact to 1e-5.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-5}


@each_case
def test_each_pass_gives_what_torch_gives_in_float64(memory_format, dtype, components):
    """Small, odd, one of each, parts of several images, and images of several parts."""
    for shape in SHAPES:
        x, grad = (batch_of(shape, memory_format, dtype, seed) for seed in (1, 11))
        passes, given = passes_of(x), coefficients(x, components)
        assert passes.layout is layout_of(x)
        assert not isinstance(passes, TorchPasses)
        ((resp,), *_) = passes.assign(x, *given[:2])
        wide = [LogJoint(*(part.double() for part in g)) if isinstance(g, LogJoint) else g.double() for g in given]
        exact = TorchPasses(passes.layout, len(x))
        with torch.no_grad():
            ours = results(passes, x, grad, resp, *given)
            theirs = results(exact, x.double(), grad.double(), resp.double(), *wide)
        for name, value in ours.items():
            error, size = (value.double() - theirs[name]).abs(), theirs[name].abs()
            limit = TOLERANCE[dtype] * max(float(size.max()), 1)
            if value.dtype == torch.bfloat16:
                limit = limit + size * 2**-8  # half a unit in the last place
            assert (error <= limit).all(), (shape, name, float(error.max()), float(size.max()))


def run(module, x):
    """What a user sees of a training step and of the evaluation after it."""
    x = x.detach().requires_grad_()
    y = module.train()(x)
    y.backward(randn(*y.shape, seed=9).to(y.dtype))
    with torch.no_grad():
        evaluated = module.eval()(x)
    gradients = [p.grad for p in module.parameters()]
    return [part.detach().double() for part in (y, x.grad, evaluated, *gradients, *module.buffers())]


@each_case
def test_a_layer_trains_and_evaluates_alike_by_both(memory_format, dtype, components, monkeypatch, capfd):
    layer = MixtureNorm2d(6, components, dtype=torch.promote_types(dtype, torch.float32))
    layer(batch_of((16, 6, 6, 6), memory_format, dtype))
    for shape in ((16, 6, 6, 6), (2, 6, 1, 1), (1, 6, 1, 3)):
        x = batch_of(shape, memory_format, dtype, 21)
        ours = run(copy.deepcopy(layer), x)
        with monkeypatch.context() as off:
            off.setenv("CONVBENCH_COMPILED", "0")
            theirs = run(copy.deepcopy(layer), x)
        assert_alike(ours, theirs, dtype)
    assert capfd.readouterr() == ("", "")


def assert_alike(ours, theirs, dtype):
    """To rounding; of bfloat16 to a unit in the last place, where terms cancel to that of the largest or of 1."""
    # Beside an outlier of 1e3 float32 is exact to 1e-4 of a value, by either.
    rtol = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 2**-7}[dtype]
    for a, b in zip(ours, theirs, strict=True):
        largest = float(b[b.isfinite()].abs().amax()) if b.isfinite().any() else 0.0
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol / 8 * max(largest, 1), equal_nan=True)


def view_of_more(x):
    return x.repeat_interleave(2, 3)[..., ::2]


@each_case
@pytest.mark.parametrize("odd", ["not contiguous", "outlier", "NaN", "one NaN channel", "infinity", "constant", "huge"])
def test_odd_batches_come_out_alike_by_both(memory_format, dtype, components, odd, monkeypatch):
    x = batch_of((8, 6, 5, 5), memory_format, torch.float64)
    change = {
        "not contiguous": lambda x: x, "outlier": lambda x: x.index_fill(0, torch.tensor([3]), 1e3),
        "NaN": lambda x: x.index_fill(0, torch.tensor([3]), torch.nan), "constant": torch.ones_like,
        "one NaN channel": lambda x: x.index_fill(1, torch.tensor([5]), torch.nan), "huge": lambda x: 1e15 * x,
        "infinity": lambda x: x.index_fill(0, torch.tensor([3]), torch.inf),
    }[odd]  # fmt: skip
    layer = MixtureNorm2d(6, components, dtype=torch.promote_types(dtype, torch.float32))
    layer(x.to(dtype).contiguous(memory_format=memory_format))
    x = change(x).to(dtype).contiguous(memory_format=memory_format)
    x = view_of_more(x) if odd == "not contiguous" else x
    ours = run(copy.deepcopy(layer), x)
    monkeypatch.setenv("CONVBENCH_COMPILED", "0")
    theirs = run(copy.deepcopy(layer), x)
    assert_alike(ours, theirs, dtype)


@each_case
def test_the_number_of_threads_changes_no_bit(memory_format, dtype, components):
    x, grad = (batch_of((5, 33, 50, 40), memory_format, dtype, seed) for seed in (1, 11))
    passes, given = passes_of(x), coefficients(x, components)
    ((resp,), *_) = passes.assign(x, *given[:2])
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(results(passes, x, grad, resp, *given))
    for others in found[1:]:
        for name, value in found[0].items():
            assert torch.equal(value, others[name]), name


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, LAST])
def test_a_process_that_comes_away_empty_adds_nothing(memory_format):
    x = batch_of((2, 6, 3, 3), memory_format, CASES[0][1] if memory_format != LAST else torch.bfloat16)
    counts, *sums = passes_of(x)._replace(layout=layout_of(x)).moments(x[:0])
    assert not counts.sum()
    assert not any(part.sum(0).any() for part in sums)
    assert not any(part.any() for part in passes_of(x).assign(x[:0], *coefficients(x, 3)[:2])[1:])


def test_threads_end_with_the_first_error(monkeypatch):
    from convbench.norms.mixtures import compiled_passes

    def fails(first, last, *arguments):
        if first > 0:
            raise ZeroDivisionError

    monkeypatch.setattr(compiled_passes.plane_loops, "moments", fails)
    torch.set_num_threads(2)
    x = torch.zeros(8, 64, 32, 32)
    with pytest.raises(ZeroDivisionError):
        passes_of(x).moments(x)


def test_without_numba_torch_computes_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba.core", None)  # as if it were not installed
    compiled._has_numba.cache_clear()
    try:
        assert isinstance(passes_of(torch.ones(2, 4, 3, 3)), TorchPasses)
        assert all(part.isfinite().all() for part in run(MixtureNorm2d(4), batch_of((8, 4, 3, 3), LAST, torch.float32)))
    finally:
        compiled._has_numba.cache_clear()


def test_without_numba_the_registry_knows_every_norm():
    code = """
import sys
sys.modules["numba"] = None  # as if it were not installed
import torch
from convbench.norms import NORMS
assert {"bn", "mixture"} <= {entry.name for entry in NORMS}
assert NORMS.build("mixture").on_output(3)(torch.rand(4, 3, 5, 5)).isfinite().all()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own forward mode uses it
def test_only_plain_numbers_of_a_cpu_take_the_loops():
    """Not what records, transforms or differentiates operations, nor what has no numbers."""
    found = []

    def look(x):
        found.append(passes_of(x))
        return x * 2

    plain = torch.ones(2, 4, 3, 3)
    look(plain)
    look(torch.nn.Parameter(plain))
    assert not any(isinstance(passes, TorchPasses) for passes in found)
    found.clear()
    look(plain.half())
    look(plain.to("meta"))
    look(plain.as_subclass(type("Subclass", (torch.Tensor,), {})))
    torch.func.vmap(look)(plain[None])
    torch.func.vmap(lambda other: look(plain) * other)(torch.ones(3))  # its parameters may be in a batch
    torch.func.jvp(look, (plain,), (plain,))
    torch.func.grad(lambda x: look(x).sum())(plain)
    with torch.autograd.forward_ad.dual_level():
        look(torch.autograd.forward_ad.make_dual(plain, plain))
    make_fx(look)(plain)
    with FakeTensorMode() as mode:
        look(mode.from_tensor(plain))
    assert len(found) == 10
    assert all(isinstance(passes, TorchPasses) for passes in found)


def test_a_cache_that_cannot_be_used_is_no_error(monkeypatch):
    from numba.core import caching

    def twice(x):
        return 2 * x

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # no folder can be written
    assert compiled.compiled(twice)(3) == 6
    monkeypatch.undo()
    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    monkeypatch.setattr(caching.IndexDataCacheFile, "load", full)
    assert compiled.compiled(twice)(4) == 8


def test_the_conditions_of_a_number_say_whether_loops_were_compiled(monkeypatch):
    from convbench.runtime import conditions

    assert conditions(torch.device("cpu"))["versions"]["numba"] == sys.modules["numba"].__version__
    monkeypatch.setenv("CONVBENCH_COMPILED", "0")
    assert conditions(torch.device("cpu"))["versions"]["numba"] is None
