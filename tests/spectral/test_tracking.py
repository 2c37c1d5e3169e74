"""The norms that training follows: from below, close, and without a trace in what is trained."""

import copy
import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from convbench.models.loading import build_model
from convbench.network_spectra import read_tracked
from convbench.spectral.tracking import ALONE, COMPOSED, SpectrumTracker, format_tracked
from convbench.training import train

IMAGE = (3, 12, 12)


def matrix(module, shape):
    """The operator as a matrix in float64, column by column."""
    module = copy.deepcopy(module).double().eval()
    with torch.no_grad():
        basis = torch.eye(int(np.prod(shape)), dtype=torch.float64).view(-1, *shape)
        return (module(basis) - module(torch.zeros(1, *shape, dtype=torch.float64))).flatten(1).T.numpy()


def network(norm="bn"):
    model = build_model("simple_cnn:width=4", norm)
    model.train()(torch.rand(16, *IMAGE, generator=torch.Generator().manual_seed(1)))
    return model


def test_every_value_is_close_to_the_norm_from_below():
    model = network()
    tracker = SpectrumTracker(model, IMAGE)
    tracker.measure(0)
    generator = torch.Generator().manual_seed(0)
    for epoch in (1, 2, 3):
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
        rows = {(row.metric, row.layer): row.value for row in tracker.measure(epoch)}
    assert {metric for metric, _ in rows} == {ALONE, COMPOSED}
    for metric, name, module, shape in tracker._operators:
        exact = np.linalg.svd(matrix(module, shape), compute_uv=False)[0]
        assert exact * 0.99 < rows[metric, name] <= exact * (1 + 1e-6), (metric, name)


def test_what_is_not_affine_is_not_followed():
    tracker = SpectrumTracker(network("mixture"), IMAGE)
    assert {row.metric for row in tracker.measure(0)} == {ALONE}


@pytest.mark.parametrize("inputs", [1, 2, 3, 5])
def test_a_space_smaller_than_the_block(inputs):
    layer = nn.Linear(inputs, 4)
    model = nn.Sequential(nn.Flatten(), layer)
    row = SpectrumTracker(model, (1, 1, inputs)).measure(0)[0]
    assert row.value == pytest.approx(np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False)[0], rel=1e-5)


@pytest.mark.parametrize("rank", [0, 1])
def test_directions_that_are_rounding_errors_are_not_counted(rank):
    layer = nn.Linear(40, 30, bias=False)
    layer.weight.data = rank * torch.outer(torch.linspace(1, 2, 30), torch.linspace(-1, 1, 40))
    tracker = SpectrumTracker(nn.Sequential(nn.Flatten(), layer), (1, 4, 10))
    for epoch in range(3):
        value = tracker.measure(epoch)[0].value
        assert value == pytest.approx(np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False)[0], rel=1e-5)


def test_modes_weights_gradients_and_the_global_generator_stay():
    model = network("spectral").train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    SpectrumTracker(model, IMAGE).measure(0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


class Killed(BaseException):
    """Ends training where a signal would."""


def test_training_gives_the_same_weights_and_a_resumed_one_the_same_history(tiny, tmp_path):
    config = replace(tiny, model="simple_cnn:width=4", epochs=3, train_examples=80)
    plain = train(config, out=tmp_path / "plain", device="cpu")
    tracked = replace(config, track_spectrum=True)
    whole = train(tracked, out=tmp_path / "whole", device="cpu")
    assert whole.run_id == plain.run_id
    assert whole.weights("last").read_bytes() == plain.weights("last").read_bytes()
    assert not (plain.folder / "spectrum_history.csv").exists()

    def die(progress):
        if progress.epoch == 3:
            raise Killed

    with pytest.raises(Killed):
        train(tracked, out=tmp_path / "killed", device="cpu", on_step=die)
    resumed = train(tracked, out=tmp_path / "killed", device="cpu")
    history = (whole.folder / "spectrum_history.csv").read_text()
    assert (resumed.folder / "spectrum_history.csv").read_text() == history
    assert sorted({row["epoch"] for row in csv.DictReader(history.splitlines())}) == ["0", "1", "2", "3"]
    rows = read_tracked(whole.folder / "spectrum_history.csv")
    assert format_tracked(list(rows)) == history
