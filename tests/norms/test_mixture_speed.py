"""How long mixture normalization takes against `nn.BatchNorm2d`, forward and backward on one thread."""

import time

import pytest
import torch
from torch import nn

from convbench.norms import MixtureNorm2d

SHAPES = [(64, 64, 32, 32), (64, 128, 16, 16), (64, 512, 4, 4)]
LIMITS = {"0": (3.0, 3.0, 6.0), "1": (1.5, 1.5, 4.0)}  # without compiled loops, and with them


@pytest.mark.slow
@pytest.mark.parametrize("compiled", ["0", "1"])
@pytest.mark.parametrize("place", range(3))
def test_a_training_step_costs_at_most_a_few_batch_normalizations(place, compiled, monkeypatch):
    if compiled == "1":
        pytest.importorskip("numba")  # the extra `compiled`
    monkeypatch.setenv("CONVBENCH_COMPILED", compiled)
    shape, limit = SHAPES[place], LIMITS[compiled][place]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    layers = [nn.BatchNorm2d(shape[1]), MixtureNorm2d(shape[1])]
    best = [float("inf")] * 2
    for _ in range(20):
        for i, layer in enumerate(layers):  # in turns: a busy moment of the machine hits both
            start = time.process_time()
            layer(x).backward(x.detach())
            best[i] = min(best[i], time.process_time() - start)
    assert best[1] < limit * best[0]
