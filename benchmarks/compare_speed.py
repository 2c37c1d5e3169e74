"""How long `convbench compare A B` takes from the shell, and how much memory: loading, statistics, output.

Two runs, and `--runs` at once, of 95 conditions and 10,000 images each, in the layout of `convbench evaluate`, with
2,000 resamples; each command is a process of its own. Wall time, processor time and the largest resident size are the
kernel's. The processor time hardly depends on what else the machine does; the wall time does.

    python benchmarks/compare_speed.py --runs 50
"""

import argparse
import base64
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from convbench.config import SEVERITIES
from convbench.rows import Row, write_rows
from corruptions import GROUPS

CONDITIONS = [("none", 0), *((name, severity) for name in GROUPS["all"] for severity in SEVERITIES)]
LAYERS = [f"stage{stage}.{block}.conv{conv}" for stage in range(1, 4) for block in range(3) for conv in (1, 2)]
BUDGET = {"pair": "3 s", "many": "30 s"}
# What a command imports shows in `python -X importtime`; torch alone would take seconds.
FORBIDDEN = ("torch", "pandas", "matplotlib", "scipy.stats")


def write_run(folder: Path, seed: int, n: int, hardness: np.ndarray) -> None:
    """One run folder whose rows, bits, confidences and losses agree; 6 % of the bits are the run's own."""
    generator = np.random.default_rng([seed, n])
    identity = {
        "run_id": f"cifar10-resnet20-bn-s{seed}-0badcafe", "dataset": "cifar10", "model": "resnet20", "norm": "bn",
        "seed": seed, "label_noise": "none", "label_noise_rate": 0.0, "split": "test",
    }  # fmt: skip
    store = folder / "evaluation"
    store.mkdir(parents=True)
    rows: list[Row] = []
    for corruption, severity in CONDITIONS:
        right = hardness + 0.06 * generator.standard_normal(n) < 0.93 - 0.07 * severity
        where = {"corruption": corruption, "severity": severity}
        where |= {"source": "generated", "profile": "torch/cifar-c"} if severity else {}
        nll = np.where(right, -np.log1p(-0.9 * hardness), 1 + hardness).astype("<f4")
        confidence = np.where(right, np.exp(-nll), 0.5).astype("<f4")
        accuracy = float(right.mean())
        values = {"accuracy": accuracy, "accuracy_lower": accuracy - 0.008, "accuracy_upper": accuracy + 0.008}
        values |= {"nll": float(nll.mean()), "ece": 0.03}
        of_cell = [Row(**identity, **where, metric=metric, value=value, n=n) for metric, value in values.items()]
        cell = {
            "rows": [vars(row) | {"value": repr(row.value)} for row in of_cell],
            "n": n,
            "correct": _text(np.packbits(right)),
        }
        if not severity:
            cell |= {"confidence": _text(confidence), "nll": _text(nll)}
        (store / f"{corruption}-{severity}.json").write_text(json.dumps(cell, indent=2))
        rows += of_cell
    rows.append(Row(**identity, metric="lipschitz_upper_product", value=3.1e6, n=64))
    rows += [Row(**identity, metric="spectral_norm", layer=layer, value=2.0, n=64) for layer in LAYERS]
    settings = {
        "dataset": "cifar10",
        "split": "test",
        "n": n,
        "classes": 10,
        "data_fingerprint": "f00d",
        "conditions": {},
    }
    (store / "settings.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"dataset": "cifar10", "norm": "bn", "seed": seed}))
    write_rows(folder / "results.csv", rows)


def _text(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def measure(arguments: list[str], folder: Path) -> tuple[float, float, float, int]:
    """Wall seconds, processor seconds, largest resident MB and exit code of `convbench compare`."""
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "convbench", "compare", *arguments], cwd=folder, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, child.returncode


def imported(arguments: list[str], folder: Path) -> list[str]:
    """Which of `FORBIDDEN` the command imports."""
    code = (
        "import sys; from convbench.cli.app import run; run(sys.argv[1:]);"
        f"print([name for name in {FORBIDDEN!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "compare", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return json.loads(done.stderr.strip().splitlines()[-1].replace("'", '"'))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="runs that are compared at once, at least 2")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hardness = np.random.default_rng(0).random(options.images)
        names = [f"run{seed}" for seed in range(options.runs)]
        for seed, run in enumerate(names):
            write_run(folder / run, seed, options.images, hardness)
        where = f"{platform.machine()}, {os.cpu_count()} cores"
        print(f"{len(CONDITIONS) - 1} conditions, {options.images:,} images, {where}\n")
        print("| command | wall | CPU | memory | exit | budget |\n|:--|--:|--:|--:|--:|--:|")
        for row, arguments in {"pair": names[:2], "many": names}.items():
            found = [measure(arguments, folder) for _ in range(options.repeats if row == "pair" else 1)]
            wall, cpu, memory, code = min(found)
            command = f"compare of {len(arguments)} runs"
            print(f"| {command} | {wall:.2f} s | {cpu:.2f} s | {memory:.0f} MB | {code} | {BUDGET[row]}, 500 MB |")
        print(f"\nforbidden imports: {', '.join(imported(names[:2], folder)) or 'none'}")


if __name__ == "__main__":
    main()
