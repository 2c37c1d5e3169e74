"""What an evaluation keeps of each clean image, from the network to the interval of the calibration error."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from convbench.config import EvalConfig
from convbench.gate.judging import judge
from convbench.gate.loading import load_arm
from convbench.gate.policy import Policy
from convbench.results import evaluate_to
from convbench.subject import subject_of_run
from tests.gate.arms import calibration_error

CONFIG = EvalConfig(corruptions=("fog",), severities=(3,), examples=40, network_metrics=())


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    evaluate_to(folder, subject_of_run(trained), CONFIG, device="cpu")
    return folder


def test_confidences_and_losses_are_those_of_the_network(trained, evaluated):
    arrays = subject_of_run(trained).load("test", 40)
    with torch.no_grad():
        logits = trained.load_model()(torch.from_numpy(arrays.images).permute(0, 3, 1, 2).float() / 255).numpy()
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    p = powers / powers.sum(axis=1, keepdims=True)
    cell = json.loads((evaluated / "evaluation" / "none-0.json").read_text())
    stored = {name: np.frombuffer(base64.b64decode(cell[name]), "<f4") for name in ("confidence", "nll")}
    assert stored["confidence"] == pytest.approx(p.max(axis=1), rel=1e-5)
    assert stored["nll"] == pytest.approx(-np.log(p[np.arange(40), arrays.labels]), rel=1e-4, abs=1e-6)
    assert "confidence" not in json.loads((evaluated / "evaluation" / "fog-3.json").read_text())
    assert json.loads((evaluated / "evaluation" / "settings.json").read_text())["classes"] == len(arrays.classes)


def test_an_arm_has_them_and_they_agree_with_the_rows(evaluated):
    (evidence,) = load_arm(str(evaluated)).evidence
    values = {row.metric: row.value for row in evidence.run.rows if row.corruption == "none"}
    assert evidence.confidence is not None
    assert evidence.nll is not None
    # Read, they are rounded to float16, as a baseline file has them (see `gate.confidences`).
    assert float(evidence.nll.astype(np.float64).mean()) == pytest.approx(values["nll"], rel=1e-4)
    error = calibration_error(evidence.confidence, evidence.correct["none", 0])
    assert error == pytest.approx(values["ece"], abs=2e-4)
    arm = load_arm(str(evaluated))
    (judgement,) = judge(arm, [arm], Policy(resamples=100)).judgements
    assert {check.metric for check in judgement.checks if check.low is not None} >= {"ece", "nll", "accuracy"}


def test_a_folder_from_before_is_read_and_can_be_gone_on_with(evaluated, trained, tmp_path):
    cells = evaluated / "evaluation"
    for name in ("none-0.json", "fog-3.json", "settings.json"):
        content = json.loads((cells / name).read_text())
        older = {key: value for key, value in content.items() if key not in ("confidence", "nll", "classes")}
        (tmp_path / "evaluation").mkdir(exist_ok=True)
        (tmp_path / "evaluation" / name).write_text(json.dumps(older))
    (tmp_path / "results.csv").write_bytes((evaluated / "results.csv").read_bytes())
    (evidence,) = load_arm(str(tmp_path)).evidence
    assert evidence.confidence is None
    results = evaluate_to(tmp_path, subject_of_run(trained), CONFIG, device="cpu")
    assert results.path.read_bytes() == (evaluated / "results.csv").read_bytes()
