"""Run folders as `evaluate` writes them, from bits that a test chooses."""

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convbench.rows import Row, write_rows

CONDITIONS = (("fog", 1), ("fog", 3), ("snow", 1), ("snow", 3))
SETTINGS: dict[str, Any] = {
    "weights_sha256": "ab" * 32,
    "dataset": "digits",
    "split": "test",
    "examples": 0,
    "data_fingerprint": "f00dfeed",
    "checkpoint": "best",
    "corruption_seed": 0,
    "corruption_source": "generated",
    "corruption_profile": "torch/cifar-c",
    "archive": {},
    "lipschitz_examples": 64,
    "conditions": {
        "versions": {"convbench": "0.1.0", "torch": "2.15.0"},
        "device": "cpu",
        "precision": "float32",
        "batch_size": 256,
    },
}


def draw_bits(
    n: int = 2000, drop: float = 0.0, conditions: Iterable[tuple[str, int]] = CONDITIONS, seed: int = 0
) -> dict[tuple[str, int], np.ndarray]:
    """Correctness of a network that knows about 85 % of the images, less at higher severities.

    `drop` is the share of all images that it loses under every corrupted condition beside, the same ones for every
    test: two networks of one seed differ in these images alone.
    """
    generator = np.random.default_rng(seed)
    easy = generator.random(n)
    lost = generator.random(n) < drop
    bits = {("none", 0): easy < 0.93}
    for corruption, severity in conditions:
        known = easy + 0.05 * generator.standard_normal(n) < 0.9 - 0.05 * severity
        bits[corruption, severity] = known & ~lost
    return bits


def identity_of(run_id: str | None, seed: int, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The identity columns of a row; `columns` overrides dataset, model, norm, label noise, split."""
    return {
        "run_id": run_id or f"digits-resnet8-bn-s{seed}-0badcafe",
        "dataset": "digits",
        "model": "resnet8",
        "norm": "bn",
        "seed": seed,
        "label_noise": "none",
        "label_noise_rate": 0.0,
        "split": "test",
        **columns,
    }


def write_folder(
    folder: Path,
    bits: Mapping[tuple[str, int], np.ndarray],
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    upper: float = 40.0,
    run_id: str | None = None,
) -> Path:
    """Write the folder of one run: settings, one cell per condition, bounds, results.csv; return it."""
    identity = identity_of(run_id, seed, columns or {})
    store = folder / "evaluation"
    store.mkdir(parents=True)
    rows = []
    for (corruption, severity), right in bits.items():
        where = {"corruption": corruption, "severity": severity}
        where |= {"source": "generated", "profile": "torch/cifar-c"} if severity else {}
        accuracy, half = float(right.mean()), float(right.std()) / len(right) ** 0.5
        values = {
            "accuracy": accuracy,
            "accuracy_lower": accuracy - 1.96 * half,
            "accuracy_upper": accuracy + 1.96 * half,
            "nll": 2 * (1 - accuracy),
            "ece": (1 - accuracy) / 4,
        }
        of_cell = [
            Row(**identity, **where, metric=metric, value=value, n=len(right)) for metric, value in values.items()
        ]
        rows += of_cell
        cell = {
            "rows": [vars(row) | {"value": repr(row.value)} for row in of_cell],
            "n": len(right),
            "correct": base64.b64encode(np.packbits(right).tobytes()).decode(),
        }
        (store / f"{corruption}-{severity}.json").write_text(json.dumps(cell))
    for metric, value in {"lipschitz_lower_jacobian": 4.0, "lipschitz_upper_product": upper}.items():
        rows.append(Row(**identity, metric=metric, value=value, n=64))
    for layer in ("conv1", "fc"):
        rows.append(Row(**identity, metric="spectral_norm", layer=layer, value=2.0, n=64))
    (store / "settings.json").write_text(json.dumps({**SETTINGS, "n": len(right), **(settings or {})}))
    (folder / "config.json").write_text(json.dumps({"norm": "bn", "seed": seed, "data_dir": "/here", **(config or {})}))
    (folder / "run.json").write_text(json.dumps({"complete": True}))
    write_rows(folder / "results.csv", rows)
    return folder


def store_confidences(folder: Path, **values: np.ndarray) -> None:
    """Put numbers of each clean image into a run folder, as `evaluate` does."""
    path = folder / "evaluation/none-0.json"
    cell = json.loads(path.read_text())
    cell |= {name: base64.b64encode(v.astype("<f4").tobytes()).decode() for name, v in values.items()}
    path.write_text(json.dumps(cell))


def draw_confidences(bits: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Confidences and cross-entropies that go with the bits of clean images."""
    generator = np.random.default_rng(seed)
    confidence = 1 / (1 + np.exp(-np.abs(generator.normal(0, 2.4, len(bits))) - 1))
    other = (1 - confidence) * generator.uniform(0.05, 0.95, len(bits))
    return {"confidence": confidence, "nll": -np.log(np.where(bits, confidence, other))}
