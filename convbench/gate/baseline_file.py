"""The baseline as one small text file for git: rows, correctness bits, settings, and why it is the baseline.

    {"convbench_baseline": 1, "history": [...], "runs": [...], "sha256": "..."}

JSON with the numbers of one condition a line, so that a review shows which changed. Equal input gives equal
bytes: there is no date, git knows it. `sha256` is of the runs: a file that was edited by hand, or merged, is refused.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from convbench.comparison.quantities import CLEAN, CORRUPTED, conditions_of, measure
from convbench.comparison.runs import Run
from convbench.errors import ConfigError, ResultsError
from convbench.files import write_atomically
from convbench.gate.arms import Evidence
from convbench.gate.confidences import decode_confidences, encode_confidences
from convbench.gate.correctness import decode_bits, encode_bits
from convbench.metrics.corruption_error import CLEAN as CLEAN_CONDITION
from convbench.rows import COLUMNS, Row

SUFFIX = ".cbbase"
SCHEMA = 1
_KEY = "convbench_baseline"
_ELSEWHERE = {"data_dir"}  # of a config: where data lie on one machine is nothing for git


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why these runs became the baseline, and who said so.

    Args:
        runs: their ids.
        accuracy: clean and mean corrupted accuracy, means over the runs; None where one was not measured.
    """

    reason: str
    author: str
    convbench: str
    runs: tuple[str, ...]
    accuracy: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """Runs of one arm and how they became the baseline, the latest reason last."""

    evidence: tuple[Evidence, ...]
    history: tuple[Reason, ...]


def reason_for(evidence: Sequence[Evidence], *, reason: str, author: str, version: str) -> Reason:
    """The entry of the history that makes `evidence` the baseline."""
    runs = [one.run for one in evidence]
    measured = [measure(run, conditions_of(runs)) for run in runs]
    means = (
        math.fsum(m[quantity].value for m in measured) / len(measured) if all(quantity in m for m in measured) else None
        for quantity in (CLEAN, CORRUPTED)
    )
    clean, corrupted = means
    return Reason(
        reason=reason,
        author=author,
        convbench=version,
        runs=tuple(run.run_id for run in runs),
        accuracy=(clean, corrupted),
    )


def format_baseline(baseline: Baseline) -> str:
    """The file of `baseline`; equal baselines give equal text."""
    runs = [_encode(one) for one in baseline.evidence]
    return (
        "\n".join(
            [
                f'{{"{_KEY}": {SCHEMA},',
                '"history": [',
                ",\n".join(json.dumps(asdict(reason), allow_nan=False) for reason in baseline.history),
                "],",
                '"runs": [',
                ",\n".join(_lines(run) for run in runs),
                "],",
                f'"sha256": "{_digest(runs)}"}}',
            ]
        )
        + "\n"
    )


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write `baseline` to `path`, atomically."""
    write_atomically(path, format_baseline(baseline))


def read_baseline(path: Path) -> Baseline:
    """The baseline in the file `path`; errors as of `parse_baseline`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {(error.strerror or str(error)).lower()}.") from None
    return parse_baseline(content, str(path))


def parse_baseline(content: bytes, name: str) -> Baseline:
    """The baseline that `content` holds; `name` is what messages call it.

    Raises:
        ResultsError: it is not a baseline file, is torn or damaged, or was edited.
        ConfigError: a newer convbench wrote it.
    """
    try:
        value = json.loads(content)
        version = value[_KEY]
    except (ValueError, RecursionError):
        why = "it holds conflict marks of git" if b"\n<<<<<<< " in content else "it is torn, or no text of JSON"
        raise ResultsError(f"{name} is not a baseline file: {why}.") from None
    except (KeyError, TypeError):
        raise ResultsError(f"{name} is not a baseline file: it has no {_KEY!r}.") from None
    if isinstance(version, int) and version > SCHEMA:
        raise ConfigError(
            f"{name} was written by a newer convbench (layout {version}, this one reads {SCHEMA}): update convbench."
        )
    try:
        if version != SCHEMA or value["sha256"] != _digest(value["runs"]):
            raise ValueError("it was changed after convbench wrote it")
        evidence = tuple(_decode(run) for run in value["runs"])
        history = tuple(_reason(entry) for entry in value["history"])
        if not evidence:
            raise ValueError("it has no runs")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ResultsError(
            f"{name} is damaged: {error}. `convbench baseline save` makes it anew, or take an older one from git."
        ) from None
    return Baseline(evidence=evidence, history=history)


def _encode(evidence: Evidence) -> dict[str, Any]:
    run = evidence.run
    cells = [{**asdict(row), "value": _spelled(row.value)} for row in run.rows]
    # A column that is equal in all rows is said once, and so is what the numbers of one condition share.
    common = {name: cells[0][name] for name in COLUMNS if all(cell[name] == cells[0][name] for cell in cells)}
    groups: list[dict[str, Any]] = []
    for cell in cells:
        own = {name: cell[name] for name in COLUMNS if name not in common and name not in ("metric", "value")}
        if not groups or {**groups[-1], "values": None} != {**own, "values": None}:
            groups.append({**own, "values": {}})
        groups[-1]["values"][cell["metric"]] = cell["value"]
    encoded: dict[str, Any] = {
        "common": {name: value for name, value in common.items() if name not in ("metric", "value")},
        "config": {key: value for key, value in run.config.items() if key not in _ELSEWHERE},
        "settings": dict(run.settings),
        "rows": groups,
        "correct": encode_bits(evidence.correct),
    }
    if evidence.confidence is not None and evidence.nll is not None:
        values = {"confidence": evidence.confidence, "nll": evidence.nll}
        encoded["clean"] = encode_confidences(values, evidence.correct[CLEAN_CONDITION])
    # As a reader of the file will see it: the digest of what is written must be that of what is read.
    return json.loads(json.dumps(encoded, allow_nan=False))


def _decode(run: Mapping[str, Any]) -> Evidence:
    known = {field.name for field in fields(Row)}
    rows = []
    for group in run["rows"]:
        shared = run["common"] | {key: value for key, value in group.items() if key != "values"}
        for metric, value in group["values"].items():
            columns = {**shared, "metric": metric, "value": float(value)}
            if set(columns) != known:
                raise ValueError(f"its rows have other columns ({', '.join(sorted(set(columns) ^ known))})")
            rows.append(Row(**columns))
    if not rows:
        raise ValueError("a run has no rows")
    correct = decode_bits(run["correct"])
    return Evidence(
        run=Run(rows=tuple(rows), config=run["config"], settings=run["settings"]),
        correct=correct,
        **(decode_confidences(run["clean"], correct[CLEAN_CONDITION]) if "clean" in run else {}),
    )


def _reason(entry: Mapping[str, Any]) -> Reason:
    clean, corrupted = entry["accuracy"]
    return Reason(**{**entry, "runs": tuple(entry["runs"]), "accuracy": (clean, corrupted)})


def _lines(run: Mapping[str, Any]) -> str:
    """One run as JSON: a key a line, and the numbers of one condition a line."""
    parts = []
    for key, value in run.items():
        text = json.dumps(value)
        if key in ("rows", "correct") and value:
            text = "[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]"
        parts.append(f"{json.dumps(key)}: {text}")
    return "{" + ",\n".join(parts) + "}"


def _digest(runs: Any) -> str:
    return hashlib.sha256(json.dumps(runs, sort_keys=True).encode()).hexdigest()


def _spelled(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)  # JSON has neither NaN nor infinity
