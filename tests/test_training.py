import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from convbench.checkpoint import Checkpoint, load_checkpoint
from convbench.errors import CheckpointError, ConfigError, ConvbenchError
from convbench.norms import NORMS
from convbench.training import train
from convbench.training_data import load_training_data, subset

NORM_NAMES = [entry.name for entry in NORMS]


def weights(run: Checkpoint) -> dict[str, bytes]:
    return {which: run.weights(which).read_bytes() for which in ("best", "last")}


class Killed(BaseException):
    """Ends training where a signal would, without its finally blocks being spared."""


@pytest.mark.parametrize("norm", NORM_NAMES)
def test_training_resumed_after_any_step_ends_with_the_same_bits(tiny, tmp_path, norm):
    config = replace(tiny, norm=norm, epochs=3, lr=0.02, train_examples=80, batch_size=40)  # six steps
    whole = train(config, out=tmp_path / "whole", device="cpu")
    for step in (1, 3, 4, 6):

        def die(progress, last=step):
            if progress.step == last:
                raise Killed

        out = tmp_path / f"killed-{step}"
        with pytest.raises(Killed):
            train(config, out=out, device="cpu", on_step=die)
        resumed = train(config, out=out, device="cpu")
        assert weights(resumed) == weights(whole)
        assert resumed.complete
        assert not (resumed.folder / "state.pt").exists()


@pytest.mark.parametrize("norm", NORM_NAMES)
def test_a_run_killed_with_sigkill_resumes_to_the_same_bits(norm, tmp_path, process):
    settings = ["--dataset", "synthetic", "--model", "simple_cnn", "--norm", norm, "--epochs", 20, "--lr", 0.02]
    settings += ["--train-examples", 80, "--batch-size", 40, "--device", "cpu"]
    command = [sys.executable, "-m", "convbench", "train", *map(str, settings), "--out", "killed"]
    # One thread for both: the promise is for the same machine and the same number of threads.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("killed/*/history.csv")) and time.monotonic() < deadline:
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    (folder,) = tmp_path.glob("killed/*")
    assert not load_checkpoint(folder).complete
    resumed = process("train", "--resume", folder, "--device", "cpu", env=environment)
    assert (resumed.returncode, resumed.stdout.strip()) == (0, str(folder))
    whole = process("train", *settings, "--out", "whole", env=environment)
    assert whole.returncode == 0
    assert weights(load_checkpoint(folder)) == weights(load_checkpoint(tmp_path / whole.stdout.strip()))


def test_a_finished_run_is_not_trained_again(trained, tiny):
    before = weights(trained)
    steps = []
    again = train(tiny, out=trained.folder.parent, device="cpu", on_step=steps.append)
    assert (again.folder, steps, weights(again)) == (trained.folder, [], before)


def test_the_seed_decides_the_weights(trained, tiny, tmp_path):
    other = train(replace(tiny, seed=1), out=tmp_path, device="cpu")
    same = train(tiny, out=tmp_path, device="cpu")
    assert weights(same) == weights(trained)
    assert weights(other) != weights(trained)


def test_global_random_state_and_modes_are_left_alone(tiny, tmp_path):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    train(replace(tiny, epochs=1, model="vgg11", train_examples=20, batch_size=10), out=tmp_path, device="cpu")
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_run_folder_says_what_was_done(trained, tiny):
    assert load_checkpoint(trained.folder).config.run_id == trained.run_id
    record = trained.record
    assert record["conditions"]["versions"]["torch"] == torch.__version__.split("+")[0]
    assert record["data"]["train"] == 120
    history = (trained.folder / "history.csv").read_text().splitlines()
    assert history[0].startswith("epoch,lr,train_loss,train_accuracy,validation_loss,validation_accuracy")
    assert len(history) == 1 + tiny.epochs


def test_best_is_the_last_epoch_of_the_best_validation_accuracy(trained):
    accuracy = [float(line.split(",")[5]) for line in (trained.folder / "history.csv").read_text().splitlines()[1:]]
    assert trained.record["best_epoch"] == max(i for i, value in enumerate(accuracy, 1) if value == max(accuracy))
    assert trained.record["best_validation_accuracy"] == max(accuracy)


def test_a_trained_model_loads_in_eval_mode_with_its_standardization(trained):
    model = trained.load_model()
    assert not model.training
    state = load_file(trained.weights())
    assert {"standardize.mean", "standardize.std"} <= set(state)


def test_a_diverged_run_stops_with_a_message_and_keeps_its_weights(tiny, tmp_path):
    config = replace(tiny, norm="none", lr=1e4, clip_norm=0.0, epochs=3)
    with pytest.raises(ConvbenchError, match=r"training diverged: .*lr 10000.*lower --lr"):
        train(config, out=tmp_path, device="cpu")
    (folder,) = tmp_path.glob("*")
    assert not load_checkpoint(folder).complete


def test_label_noise_is_recorded_and_validation_stays_clean(tiny, tmp_path):
    config = replace(tiny, label_noise="symmetric", label_noise_rate=0.4, epochs=1)
    run = train(config, out=tmp_path, device="cpu")
    noise = json.loads((run.folder / "label_noise.json").read_text())
    counts = np.array(noise["transition_counts"])
    assert noise["n_changed"] == len(noise["changed"]) == 48 == counts.sum() - counts.trace()
    assert noise["actual_rate"] == pytest.approx(0.4)
    clean, noisy = load_training_data(tiny), load_training_data(config)
    assert (clean.validation.labels == noisy.validation.labels).all()
    assert np.flatnonzero(clean.train.labels != noisy.train.labels).tolist() == noise["changed"]
    assert run.record["label_noise"]["nominal_rate"] == 0.4


def test_a_subset_is_balanced_nested_and_seeded():
    labels = np.random.default_rng(0).integers(0, 4, 1000)
    small, large = subset(labels, 100, seed=3), subset(labels, 300, seed=3)
    assert set(small) <= set(large)
    assert len(set(small)) == 100
    share = np.bincount(labels) / 10
    assert (abs(np.bincount(labels[small]) - share) <= 1).all()
    assert subset(labels, 100, seed=4).tolist() != small.tolist()
    assert (subset(labels, 1000, seed=3) == np.arange(1000)).all()


def test_more_examples_than_there_are_is_an_error(tiny):
    with pytest.raises(ConfigError, match=r"--train-examples 99999: synthetic has \d+ training images"):
        load_training_data(replace(tiny, train_examples=99999))


@pytest.mark.parametrize("damage", ["truncated", "foreign", "other shapes"])
def test_a_damaged_state_is_refused_with_what_to_do(tiny, tmp_path, damage):
    def die(progress):
        if progress.step == 5:
            raise Killed

    with pytest.raises(Killed):
        train(tiny, out=tmp_path, device="cpu", on_step=die)
    (state,) = tmp_path.glob("*/state.pt")
    if damage == "truncated":
        state.write_bytes(state.read_bytes()[:1000])
    elif damage == "foreign":
        state.write_text("not a state")
    else:
        torch.save(torch.load(state, weights_only=True) | {"model": {"weight": torch.zeros(3)}}, state)
    with pytest.raises(CheckpointError, match=f"cannot resume from {re.escape(str(state))}"):
        train(tiny, out=tmp_path, device="cpu")


def test_another_run_in_the_folder_is_refused(trained, tiny):
    with pytest.raises(CheckpointError, match="holds another run"):
        train(replace(tiny, seed=5), folder=trained.folder, device="cpu")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"epochs": 0}', '{"epoch": 3}'])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConvbenchError):
        load_checkpoint(tmp_path)
