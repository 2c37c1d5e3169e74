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

from convbench.checkpoint import Checkpoint, build_run_model, load_checkpoint
from convbench.errors import CheckpointError, ConfigError, ConvbenchError
from convbench.norms import NORMS, penalties
from convbench.training import train
from convbench.training_data import load_training_data, subset

NORM_NAMES = [entry.name for entry in NORMS]
PENALIZED = [entry.name for entry in NORMS if entry.function().penalty is not None]


def weights(run: Checkpoint) -> dict[str, bytes]:
    return {which: run.weights(which).read_bytes() for which in ("best", "last")}


class Killed(BaseException):
    """Ends training where a signal would, without its finally blocks being spared."""


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("norm", NORM_NAMES)
def test_training_resumed_after_any_step_ends_with_the_same_bits(tiny, tmp_path, norm):
    small = replace(tiny, model="simple_cnn:width=4", norm=norm)  # nine trainings of every norm
    config = replace(small, epochs=3, lr=0.02, train_examples=80, batch_size=40)  # six steps
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


def test_a_converted_model_leaves_the_table_of_its_layers(tiny, tmp_path):
    config = replace(tiny, model="simple_cnn:width=4", epochs=1, train_examples=80)
    converted = train(replace(config, norm="mixture:where=last:1"), out=tmp_path, device="cpu")
    table = (converted.folder / "conversion.md").read_text()
    assert table.startswith("1 of ")
    assert "| BatchNorm2d becomes MixtureNorm2d" in table
    assert not (train(config, out=tmp_path, device="cpu").folder / "conversion.md").exists()


def test_a_run_killed_with_sigkill_resumes_to_the_same_bits(tmp_path, process):
    """Files and processes; the test above has every norm."""
    settings = ["--dataset", "digits", "--model", "simple_cnn", "--norm", "mixture", "--epochs", 20, "--lr", 0.02]
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


@pytest.mark.parametrize("norm", PENALIZED)
def test_a_penalty_of_no_weight_trains_as_batch_normalization_bit_for_bit(tiny, trained, tmp_path, norm):
    run = train(replace(tiny, norm=f"{norm}:weight=0"), out=tmp_path, device="cpu")
    assert weights(run) == weights(trained)


@pytest.mark.parametrize("norm", PENALIZED)
def test_the_penalty_moves_the_weights_and_falls_in_training(tiny, trained, tmp_path, norm):
    logs = []
    run = train(replace(tiny, norm=f"{norm}:weight=1e-2"), out=tmp_path, device="cpu", on_epoch=logs.append)
    assert logs[0].penalty > logs[1].penalty > 0
    with_penalty, without = run.load_model("last"), trained.load_model("last")
    plain = run.load_model("last")
    plain.load_state_dict(without.state_dict())
    first, last = (sum(each() for each in penalties(model)).item() for model in (plain, with_penalty))
    assert last < 0.9 * first


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("norm", PENALIZED)
def test_the_first_penalty_is_that_of_the_initial_weights_and_stands_beside_the_loss(tiny, tmp_path, norm, precision):
    config = replace(tiny, norm=norm, epochs=1, train_examples=40, batch_size=40, precision=precision)
    logs = {}
    for name in (norm, "bn"):
        run = train(
            replace(config, norm=name), out=tmp_path / name, device="cpu", on_epoch=logs.setdefault(name, []).append
        )
        facts = run.record["data"]
        model = build_run_model(run.config, facts["classes"], facts["channels"], facts["mean"], facts["std"])
        expected = sum(each().item() for each in penalties(model))
        assert logs[name][0].penalty == pytest.approx(expected, rel=1e-6)
    assert logs[norm][0].penalty > 0 == logs["bn"][0].penalty
    assert logs[norm][0].train_loss == logs["bn"][0].train_loss


def test_a_penalty_that_is_no_number_stops_training(tiny, tmp_path):
    with pytest.raises(ConvbenchError, match=r"training diverged: the loss is inf at epoch 1, step 1"):
        train(replace(tiny, norm="ocnn:weight=1e38"), out=tmp_path, device="cpu")


def test_the_command_line_trains_with_a_penalty_and_says_it_in_the_history(cli):
    settings = ["--dataset", "synthetic", "--model", "simple_cnn", "--epochs", 1, "--train-examples", 20]
    settings += ["--batch-size", 10, "--device", "cpu"]
    code, out, _ = cli("train", *settings, "--norm", "orthogonal:weight=0.01,kind=srip")
    assert code == 0
    header, line = (Path(out.strip()) / "history.csv").read_text().splitlines()
    assert float(dict(zip(header.split(","), line.split(","), strict=True))["penalty"]) > 0
    code, _, err = cli("train", *settings, "--norm", "orthogonal:kind=mc")
    assert (code, err.count("\n")) == (2, 1)
    assert "kind must be one of so, dso, srip, got 'mc'" in err


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


def test_batches_that_a_network_refuses_are_the_users_error(tiny, tmp_path):
    factory = tmp_path / "models.py"
    factory.write_text("from torch import nn\ndef make(num_classes):\n    return nn.Conv2d(5, num_classes, 1)\n")
    with pytest.raises(ConfigError, match=r"does not train on batches of \d+ images of 3×32×32: .*5 channels"):
        train(replace(tiny, model=f"{factory}:make", norm="native"), out=tmp_path, device="cpu")


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
