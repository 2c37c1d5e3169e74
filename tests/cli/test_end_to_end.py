"""The commands as a user types them, in an empty folder, offline."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from convbench.rows import read_rows

TINY = ["--dataset", "synthetic", "--model", "simple_cnn", "--epochs", 2, "--train-examples", 300, "--device", "cpu"]


def test_the_three_lines(process, tmp_path):
    """Word for word; `digits` in few epochs, so that the suite stays short: the full budget is the demo's."""
    (tmp_path / "sitecustomize.py").write_text(
        "import convbench.config as c\nc.TrainConfig.__dataclass_fields__['epochs'].default = 2\n"
        "import socket\ndef refuse(*a, **k): raise OSError('the test is offline')\nsocket.socket.connect = refuse\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    trained = process("train", env=environment)
    assert trained.returncode == 0, trained.stderr
    folder = tmp_path / trained.stdout.strip()
    assert folder.parent == tmp_path / "runs"

    evaluated = process("evaluate", "--corruption", "gaussian", env=environment)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "gaussian_noise 5" in evaluated.stdout
    assert max(map(len, evaluated.stdout.splitlines())) <= 80
    rows = read_rows(folder / "results.csv")
    conditions = {(r.corruption, r.severity) for r in rows if r.metric == "accuracy"}
    assert conditions == {("none", 0)} | {("gaussian_noise", s) for s in range(1, 6)}
    assert {"accuracy_lower", "accuracy_upper", "spectral_norm"} <= {r.metric for r in rows}
    layers = {r.layer for r in rows if r.metric == "spectral_norm"}
    assert len(layers) == 8  # resnet8: seven convolutions and the linear layer
    bounds = {r.metric: r.value for r in rows if r.metric.startswith("lipschitz")}
    assert 0 < bounds["lipschitz_lower_jacobian"] <= bounds["lipschitz_upper_product"]

    compared = process("compare", env=environment)
    assert compared.returncode == 0, compared.stderr
    assert "bn" in compared.stdout
    assert max(map(len, compared.stdout.splitlines())) <= 80


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two norms, evaluated under one corruption, by the command line."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("swept")
    arguments = ["sweep", "--norm", "bn,none", *TINY, "--epochs", 1, "--lr", 0.02]
    arguments += ["--corruption", "contrast", "--severity", "1,5", "--examples", 50, "--workers", 2]
    command = [sys.executable, "-m", "convbench", *map(str, arguments)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_a_sweep_leaves_a_folder_per_run(swept):
    folder, result = swept
    named = {folder / line for line in result.stdout.split()}
    assert named == set((folder / "runs").iterdir())
    assert len(named) == 2
    assert all((run / "results.csv").exists() for run in named)


def test_compare_groups_by_norm_and_writes_reports(swept, cli, monkeypatch):
    folder, _ = swept
    monkeypatch.chdir(folder)
    code, table, stderr = cli("compare", "-o", "md=report.md", "-o", "csv=report.csv", "-o", "plots=plots")
    assert (code, stderr) == (0, "")
    assert all(norm in table for norm in ("bn", "none"))
    assert (folder / "report.md").read_text().startswith("#")
    assert list(csv.reader((folder / "report.csv").read_text().splitlines()))
    assert len(list((folder / "plots").glob("*.png"))) >= 2


def test_a_sweep_again_does_nothing_new(swept, process):
    folder, result = swept
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    arguments = ["sweep", "--norm", "bn,none", *TINY, "--epochs", 1, "--lr", 0.02]
    arguments += ["--corruption", "contrast", "--severity", "1,5", "--examples", 50]
    again = process(*arguments, cwd=folder)
    assert again.returncode == 0, again.stderr
    assert sorted(again.stdout.split()) == sorted(result.stdout.split())
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before


def test_a_dry_run_prints_the_grid_of_a_file_and_flags_win(cli, tmp_path):
    (tmp_path / "grid.toml").write_text(
        'dataset = "synthetic"\nmodel = "simple_cnn"\nnorm = ["bn", "mixture:components=5,scale=none"]\n'
        "seed = [0, 1, 2]\nlabel-noise-rate = [0.0, 0.4]\n"
        '[evaluate]\ncorruption = ["noise", "fog"]\nseverity = [1, 5]\n'
    )
    code, lines, stderr = cli("sweep", "grid.toml", "--dry-run")
    assert (code, stderr.strip()) == (0, "12 runs")
    assert len(lines.splitlines()) == 12
    assert "norm=mixture:components=5,scale=none" in lines
    code, lines, _ = cli("sweep", "grid.toml", "--dry-run", "--seed", "7")
    assert len(lines.splitlines()) == 4
    assert not (tmp_path / "runs").exists()
    (tmp_path / "bad.toml").write_text("sede = 3\n")
    code, _, stderr = cli("sweep", "bad.toml", "--dry-run")
    assert code == 2
    assert "'sede'. Did you mean 'seed'" in stderr


def test_a_failed_run_does_not_stop_the_others(process, tmp_path):
    result = process(
        "sweep", "--norm", "none", "--lr", "1e6,0.02", "--clip-norm", 0, *TINY, "--epochs", 1, "--workers", 1
    )
    assert result.returncode == 3, result.stderr
    assert len(result.stdout.split()) == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: 1 of 2 runs failed: ")
    assert "training diverged" in last


def test_a_config_file_repeats_a_run(cli, trained, tmp_path):
    code, folder, stderr = cli("train", "--config", trained.folder / "config.json", "--device", "cpu")
    assert code == 0, stderr
    assert Path(folder.strip()).name == trained.run_id
    assert (tmp_path / folder.strip() / "best.safetensors").read_bytes() == trained.weights().read_bytes()


def test_a_model_of_ones_own(cli, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\ndef make(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(4, num_classes))\n"
    )
    torch.manual_seed(0)
    state = {"0.weight": torch.randn(4, 3, 3, 3), "0.bias": torch.randn(4)}
    state |= {"4.weight": torch.randn(10, 4), "4.bias": torch.randn(10)}
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "w.pt")
    options = ["--dataset", "synthetic", "--examples", 30, "--corruption", "fog", "--severity", 1, "--device", "cpu"]
    results = []
    for weights in ("w.safetensors", "w.pt"):
        arguments = ["--model", "mine.py:make", "--weights", weights, "--out", f"out-{weights}"]
        code, _, stderr = cli("evaluate", *arguments, *options)
        assert code == 0, stderr
        rows = read_rows(tmp_path / f"out-{weights}" / "results.csv")
        results.append([(row.metric, row.value) for row in rows])
        assert rows[0].metric == "accuracy"
        assert (rows[0].corruption, rows[0].norm, rows[0].seed) == ("none", "native", None)
    assert results[0] == results[1]
    # A different standardization is a different network: its numbers differ, and do not mix with the first.
    code, _, stderr = cli(
        "evaluate", "--model", "mine.py:make", "--weights", "w.pt", "--out", "std", "--mean", "0.5,0.5,0.5",
        "--std", "0.2,0.2,0.2", *options,
    )  # fmt: skip
    assert code == 0, stderr
    assert [(r.metric, r.value) for r in read_rows(tmp_path / "std/results.csv")] != results[0]
    code, _, stderr = cli("compare", "out-w.pt", "std", "--by", "norm")
    assert code == 0, stderr


def test_list_names_everything_with_a_line_each(cli):
    code, output, _ = cli("list")
    assert code == 0
    for name in (
        "bn (batch)",
        "mixture (mn)",
        "resnet20",
        "digits",
        "gaussian_noise (gaussian)",
        "pair",
        "spectral_norm",
    ):
        assert name in output, name


def test_the_settings_of_an_evaluation_are_written_beside_it(swept):
    folder, _ = swept
    (first, *_) = (folder / "runs").glob("*/evaluation/settings.json")
    settings = json.loads(first.read_text())
    assert settings["corruption_profile"] == "torch/cifar-c"
    assert {"weights_sha256", "data_fingerprint", "corruption_seed", "conditions"} <= set(settings)


def test_an_unfinished_training_is_said_when_it_is_measured(cli, trained, tmp_path):
    folder = Path(shutil.copytree(trained.folder, tmp_path / "runs" / "unfinished"))
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"complete": False}))
    code, _, stderr = cli("evaluate", "--examples", 10, "--network-metric", "none", "--device", "cpu")
    assert code == 0
    assert "the training of runs/unfinished is not finished" in stderr


def test_resume_takes_no_other_options_but_where_the_data_lie(cli, trained, tmp_path):
    folder = Path(shutil.copytree(trained.folder, tmp_path / "runs" / trained.run_id))
    code, _, stderr = cli("train", "--resume", folder, "--epochs", 7, "--device", "cpu")
    assert code == 2
    assert "give no others" in stderr
    code, output, _ = cli("train", "--resume", folder, "--data-dir", tmp_path, "--device", "cpu")
    assert (code, output.strip()) == (0, str(folder))


def test_a_run_that_dies_takes_only_itself_along(process, tmp_path):
    body = (
        "from torch import nn\n\ndef make(num_classes):\n    {}\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))\n"
    )
    (tmp_path / "good.py").write_text(body.format("pass"))
    (tmp_path / "bad.py").write_text(body.format("import os; os._exit(17)"))
    options = ["--dataset", "synthetic", "--epochs", 1, "--train-examples", 100, "--device", "cpu", "--workers", 2]
    result = process("sweep", "--model", "bad.py:make,good.py:make", "--norm", "native", *options)
    assert result.returncode == 3, result.stderr
    assert len(result.stdout.split()) == 1
    assert "1 of 2 runs failed: synthetic-bad.py-make-native" in result.stderr
    assert "its process ended with code 17" in result.stderr


def test_the_python_interface_of_the_readme(trained, tmp_path):
    import convbench

    config = convbench.EvalConfig(corruptions=("gaussian",), severities=(5,), examples=20, network_metrics=())
    rows = list(convbench.evaluate(convbench.load_checkpoint(trained.folder), config))
    convbench.write_rows(tmp_path / "results.csv", rows)
    assert convbench.read_rows(tmp_path / "results.csv") == rows
    assert [group.name for group in convbench.compare(rows, by="norm").groups] == ["bn"]
