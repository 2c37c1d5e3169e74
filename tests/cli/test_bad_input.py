"""Bad input, from outside: one line on stderr with what was found and what is possible, the right exit code."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

TINY = ["--dataset", "synthetic", "--model", "simple_cnn", "--epochs", 1, "--train-examples", 60, "--device", "cpu"]


@pytest.fixture
def run_folder(trained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.folder, tmp_path / "runs" / trained.run_id))


def refuses(result: tuple[int, str, str], *parts: str, code: int = 2) -> None:
    exit_code, _, stderr = result
    assert exit_code == code, stderr
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("error: "), stderr
    assert "Traceback" not in stderr
    for part in parts:
        assert part in last, last


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["train", "--norm", "btach"], ["unknown norm 'btach'. Did you mean 'batch'?", "convnorm", "mixture"]),
        (["train", "--norm", "mixture:component=3"], ["no option 'component=3'", "components"]),
        (["train", "--model", "resnet9"], ["unknown model 'resnet9'. Did you mean 'resnet"]),
        (["train", "--dataset", "cifar"], ["unknown data set 'cifar'", "cifar10"]),
        (["train", "--label-noise", "pairs", "--label-noise-rate", 0.1], ["unknown label noise 'pairs'", "'pair'"]),
        (["train", "--label-noise", "asymmetric", "--label-noise-rate", 0.1], ["asymmetric", "pair"]),
        (["train", "--norm", "native"], ["native", "resnet8"]),
        (["train", "--model", "missing.py:make", "--norm", "native"], ["missing.py"]),
        (["train", "--model", "torchvision:resnet81", "--norm", "native"], ["resnet81"]),
        (["train", "--model", "torchvision:vgg11", "--norm", "bn"], ["VGG has no convolution", "paired"]),
        (["train", "--epochs", "0"], ["--epochs must be at least 1, got 0"]),
        (["train", "--epochs", "ten"], ["--epochs takes a whole number, got 'ten'"]),
        (["train", "--milestones", "3,x"], ["--milestones takes whole numbers", "'x'"]),
        (["train", "--device", "tpu9"], ["unknown device 'tpu9'", "cuda"]),
        (["train", "--dataset", "cifar10", "--data-dir", "nowhere"], ["nowhere"]),
        (["train", "--dataset", "folder:nowhere"], ["nowhere"]),
        (["train", "--resume", "nowhere"], ["no run folder nowhere"]),
        (["train", "--config", "nowhere.toml"], ["cannot read nowhere.toml: no such file"]),
        (["train", "--out", "/proc/nope"], ["cannot write /proc/nope"]),
        (["evaluate"], ["there is no run under runs/", "convbench train"]),
        (["evaluate", "nowhere"], ["no run folder nowhere"]),
        (["evaluate", "--all", "nowhere"], ["not both"]),
        (["evaluate", "--model", "torchvision:resnet18"], ["--weights"]),
        (["compare", "nowhere"], ["nowhere"]),
        (["compare", "-o", "pdf=x"], ["pdf"]),
        (["sweep", "--norm", "bn,nonne"], ["unknown norm 'nonne'. Did you mean 'none'?"]),
        (["sweep", "--lr", "0.1,high"], ["--lr takes numbers", "'high'"]),
        (["sweep", "--workers", "-1"], ["--workers"]),
        (["list", "norm"], ["unknown list 'norm'. Did you mean 'norms'?"]),
        (["trian"], ["unknown command 'trian'. Did you mean 'train'?", "sweep"]),
    ],
)
def test_one_line_says_what_is_wrong(cli, arguments, parts):
    refuses(cli(*arguments), *parts)


def test_compare_without_any_run_is_not_comparable(cli):
    refuses(cli("compare"), "convbench train", code=3)


@pytest.mark.parametrize("name", ["gausian", "blurr", "zzz"])
def test_an_unknown_corruption_is_refused_before_work(cli, run_folder, name):
    refuses(cli("evaluate", "--corruption", name), f"unknown corruption {name!r}", "gaussian_noise")
    assert not (run_folder / "results.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--severity", "7"], ["--severity must be of 1, 2, 3, 4, 5, got 7."]),
        (["--severity", "hard"], ["--severity takes whole numbers", "'hard'"]),
        (["--metric", "acuracy"], ["unknown metric 'acuracy'. Did you mean 'accuracy'?"]),
        (["--examples", "100000"], ["--examples 100000", "images"]),
        (["--corruption", "fog", "--corruption-engine", "torhc"], ["torhc", "imagecorruptions"]),
        (["--corruption", "fog", "--corruption-profile", "cifar-d"], ["cifar-d"]),
        (["--checkpoint", "newest"], ["--checkpoint must be one of best, last"]),
    ],
)
def test_a_bad_condition_is_refused(cli, run_folder, arguments, parts):
    refuses(cli("evaluate", *arguments), *parts)


@pytest.mark.parametrize("damage", ["truncated", "other model", "nan", "missing", "text"])
def test_unusable_weights_are_named(cli, run_folder, damage):
    best = run_folder / "best.safetensors"
    if damage == "truncated":
        best.write_bytes(best.read_bytes()[:2000])
    elif damage == "text":
        best.write_text("<html>not found</html>")
    elif damage == "missing":
        best.unlink()
    else:
        state = load_file(best)
        if damage == "nan":
            state[max(state)] = torch.full_like(state[max(state)].float(), float("nan"))
        else:
            state = {"fc.weight": torch.zeros(3, 3)}
        save_file(state, best)
    expected = {"other model": "missing", "nan": "NaN", "missing": "no best.safetensors"}.get(damage, "cannot be read")
    refuses(cli("evaluate"), "best.safetensors", expected)


def test_a_damaged_config_is_named(cli, run_folder):
    (run_folder / "config.json").write_text('{"model": ')
    refuses(cli("evaluate", run_folder), "config.json")


def test_an_image_folder_with_a_broken_file_names_it(cli, tmp_path):
    from PIL import Image

    for label in ("cat", "dog"):
        for split in ("train", "test"):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            for index in range(6):
                Image.new("RGB", (40, 40), (index * 20, 0, 0)).save(
                    tmp_path / "images" / split / label / f"{index}.png"
                )
    (tmp_path / "images/train/dog/3.png").write_bytes(b"\x89PNG broken")
    refuses(cli("train", "--dataset", f"folder:{tmp_path / 'images'}", "--image-size", 32, "--epochs", 1), "3.png")


def test_results_of_another_tool_and_repeated_keys_are_refused(cli, tmp_path):
    (tmp_path / "other.csv").write_text("epoch,loss\n1,0.5\n")
    refuses(cli("compare", "other.csv"), "other.csv", "not a convbench results file")


def test_a_full_disk_is_one_line_and_keeps_what_there_was(process, run_folder):
    def limit() -> None:
        # Writing past the limit fails as on a full disk; results of the first cells are smaller than this.
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    arguments = ["evaluate", "--corruption", "fog", "--examples", 20, "--network-metric", "none", "--device", "cpu"]
    result = process(*arguments, preexec_fn=limit)
    refuses((result.returncode, result.stdout, result.stderr), "cannot write", "is kept")
    assert list(run_folder.glob("evaluation/*.json"))
    assert not list(run_folder.rglob("*.part"))
    assert process(*arguments).returncode == 0


def test_ctrl_c_exits_130_and_the_run_resumes(tmp_path, process):
    command = [sys.executable, "-m", "convbench", "train", *map(str, TINY), "--epochs", "500"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/*/state.pt")) and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=60)
    assert running.returncode == 130
    assert stderr.strip().splitlines()[-1].startswith("interrupted: ")
    assert "Traceback" not in stderr
    (folder,) = tmp_path.glob("runs/*")
    assert (folder / "state.pt").exists()


def test_two_processes_on_one_run_folder_are_refused(tmp_path, process):
    command = [sys.executable, "-m", "convbench", "train", *map(str, TINY), "--epochs", "500"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/*/history.csv")) and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(signal.SIGSTOP)  # it keeps the folder, and leaves the processors
        second = process("train", *TINY, "--epochs", 500)
        running.kill()
    refuses((second.returncode, second.stdout, second.stderr), f"in use by another convbench (process {running.pid})")


def test_a_bug_exits_70_with_its_traceback(cli, run_folder, monkeypatch):
    import convbench.results

    def broken(*_args, **_options):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(convbench.results, "plan", broken)
    code, _, stderr = cli("evaluate")
    assert code == 70
    assert "ZeroDivisionError: a bug" in stderr


def test_debug_shows_the_traceback_of_an_expected_error(process):
    result = process("evaluate", env=os.environ | {"CONVBENCH_DEBUG": "1"})
    assert "Traceback" in result.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    command = f"{sys.executable} -m convbench list corruptions | head -n 1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["corruptions:", "0"]
    assert result.stderr == ""
