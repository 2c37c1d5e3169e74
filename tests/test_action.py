"""The GitHub Action and the example workflows: their steps run as a shell runs them, their commands are ours."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from convbench.cli.app import app
from convbench.config import EvalConfig
from convbench.results import evaluate_to
from convbench.subject import subject_of_run

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
WORKFLOWS = sorted((ROOT / "docs" / "workflows").glob("*.yml"))
CONFIG = EvalConfig(corruptions=("contrast",), severities=(5,), examples=60, network_metrics=())
EVALUATE = "--corruption contrast --severity 5 --examples 60 --network-metric none --quiet"


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("action") / "run"
    shutil.copytree(trained.folder, folder)
    evaluate_to(folder, subject_of_run(trained), CONFIG, device="cpu")
    return folder


@pytest.fixture
def runner(tmp_path):
    """Run the steps of the action in an empty folder: (exit code, output, job summary, outputs of the step)."""

    def call(**given):
        inputs = {name: spec.get("default", "") for name, spec in ACTION["inputs"].items()} | given
        values = {f"inputs.{name}": str(value) for name, value in inputs.items()} | {"github.action_path": str(ROOT)}
        summary, outputs = tmp_path / "summary.md", tmp_path / "outputs.txt"
        paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(outputs)}
        said = ""
        for step in ACTION["runs"]["steps"]:
            if "if" in step and not holds(step["if"], values):
                continue
            own = {name: filled(text, values) for name, text in step["env"].items()}
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=tmp_path, env={**os.environ, "PATH": paths, "OMP_NUM_THREADS": "1", **github, **own},
                capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            said += done.stdout + done.stderr
            if done.returncode:
                break
        found = dict(line.split("=", 1) for line in outputs.read_text().splitlines()) if outputs.exists() else {}
        return done.returncode, said, summary.read_text() if summary.exists() else "", found

    return call


def filled(text, values):
    return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda match: values[match[1]], text)


def holds(condition, values):
    name, empty = re.fullmatch(r"\$\{\{ ([\w.-]+) != ('') \}\}", condition).groups()
    assert empty == "''"
    return values[name] != ""


def test_first_a_baseline_then_a_gate_that_holds_then_one_that_fails(runner, evaluated, tmp_path):
    shutil.copytree(evaluated, tmp_path / "runs" / "candidate")
    run = {"candidate": "runs/candidate"}
    code, said, *_ = runner(**run)
    assert code == 3, said
    assert "baseline save" in said
    code, said, *_ = runner(**run, **{"allow-missing-baseline": "true"})
    assert code == 0, said
    assert (tmp_path / ".convbench" / "baseline.cbbase").exists()
    code, said, summary, outputs = runner(**run)
    assert code == 0, said
    assert outputs["passed"] == "true"
    assert summary.startswith("### convbench")
    reports = sorted(path.name for path in (tmp_path / "convbench-report").iterdir())
    assert reports == ["junit.xml", "report.html", "report.json", "report.md"]
    code, said, _, outputs = runner(**run, compare="--min accuracy=99.9")
    assert code == 1, said
    assert outputs["passed"] == "false"
    assert "::error " in said
    assert (tmp_path / "convbench-report" / "junit.xml").exists()


def test_the_action_evaluates_a_run(runner, trained, evaluated, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "candidate")
    code, said, _, outputs = runner(candidate="candidate", baseline=str(evaluated), evaluate=EVALUATE)
    assert code == 0, said
    assert outputs["passed"] == "true"


def test_the_action_evaluates_a_users_model_into_the_candidate(runner, trained, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build():\n    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 10))\n"
    )
    import torch

    torch.save({"2.weight": torch.zeros(10, 48), "2.bias": torch.zeros(10)}, tmp_path / "w.pt")
    model = f"--model net.py:build --weights w.pt --dataset synthetic {EVALUATE}"
    code, said, *_ = runner(candidate="runs/pr", evaluate=model, **{"allow-missing-baseline": "true"})
    assert code == 0, said
    assert (tmp_path / "runs" / "pr" / "results.csv").exists()


def test_text_of_an_input_is_never_code(runner, tmp_path):
    code, *_ = runner(candidate="$(touch pwned); touch pwned", compare="; touch pwned", evaluate="$(touch pwned)")
    assert code not in (0, 1)
    assert not (tmp_path / "pwned").exists()


def test_every_input_is_used_and_described():
    text = (ROOT / "action.yml").read_text()
    for name, spec in ACTION["inputs"].items():
        assert spec["description"], name
        assert f"inputs.{name} " in text, name
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"], "an expression in a script is an injection"


def commands(path):
    """The convbench command lines of a workflow."""
    text = re.sub(r"\$\{\{.*?\}\}|\$CI_NODE_INDEX|\$CI_NODE_TOTAL", "1", path.read_text())
    text = re.sub(r">\n\s+(convbench(?:.*\n\s+-.*)*)", lambda m: " ".join(m[1].split()), text)
    return [line for line in re.findall(r"convbench (?:evaluate|merge|compare).*", text) if "|" not in line]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_commands_of_the_workflows_are_ours(path):
    assert yaml.safe_load(path.read_text())
    group = typer.main.get_command(app)
    found = commands(path)
    assert found or path.stem == "github"
    for line in found:
        _, name, *arguments = shlex.split(line, comments=True)
        group.commands[name].make_context(name, arguments)  # parses, and runs nothing


def test_the_example_gives_the_action_inputs_that_it_has():
    (step,) = [
        step
        for step in yaml.safe_load((ROOT / "docs/workflows/github.yml").read_text())["jobs"]["gate"]["steps"]
        if "convbench" in step.get("uses", "")
    ]
    assert set(step["with"]) <= set(ACTION["inputs"])
