"""Fixtures that every test may use: a small trained run, and the command line inside and outside this process."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from convbench.config import TrainConfig

# The same examples in every run, and no time limit on one: a loaded machine must not fail a right answer.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")

# Compiling loops takes seconds for each type and number of components: only the tests that are about them do it.
# `CONVBENCH_COMPILED=1 python -m pytest` runs all tests with them.
os.environ.setdefault("CONVBENCH_COMPILED", "0")

# On busy cores two threads of one process wait for one another, up to thirty times longer.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> TrainConfig:
    """A training of about a second."""
    return TrainConfig(
        dataset="synthetic", model="simple_cnn", epochs=2, train_examples=120, batch_size=40, precision="float32"
    )


@pytest.fixture(scope="session")
def trained(tiny: TrainConfig, tmp_path_factory: pytest.TempPathFactory):
    """The checkpoint of `tiny`; tests must not change its folder (copy it)."""
    from convbench.training import train

    return train(tiny, out=tmp_path_factory.mktemp("trained"), device="cpu")


@pytest.fixture(scope="session")
def synthetic_images() -> dict[tuple[bytes, int], np.ndarray]:
    """What `drawn_once` has drawn so far."""
    return {}


@pytest.fixture
def drawn_once(synthetic_images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the images of `synthetic` once for all tests with this fixture: they take longer than a tiny training."""
    module = importlib.import_module("convbench.datasets.synthetic")
    draw = module._draw

    def drawn(labels: np.ndarray, seed: int) -> np.ndarray:
        key = (labels.tobytes(), seed)
        if key not in synthetic_images:
            synthetic_images[key] = draw(labels, seed)
        return synthetic_images[key].copy()

    monkeypatch.setattr(module, "_draw", drawn)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a command in this process, in an empty folder: (exit code, stdout, stderr)."""
    from convbench.cli.app import run

    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m convbench` from outside, as a user would, in an empty folder."""

    def call(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "convbench", *map(str, arguments)]
        options = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 300, "check": False} | options
        # One thread each: on busy cores two threads of one process wait for one another, up to thirty times longer.
        options["env"] = {"OMP_NUM_THREADS": "1"} | dict(options.get("env") or os.environ)
        return subprocess.run(command, **options)

    return call
