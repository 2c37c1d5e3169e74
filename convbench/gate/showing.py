"""A baseline file in words, for a terminal."""

from collections.abc import Iterator
from pathlib import Path

from convbench.comparison.comparability import list_conditions
from convbench.comparison.quantities import conditions_of
from convbench.gate.baseline_file import Baseline, Reason

_FACTS = ("dataset", "split", "model", "norm", "label_noise", "label_noise_rate")
_SETTINGS = ("data_fingerprint", "corruption_profile", "corruption_seed", "checkpoint")


def baseline_text(path: Path, baseline: Baseline) -> str:
    """What `baseline` holds, its conditions of measurement, and its history, the latest reason first."""
    return "\n".join(_lines(path, baseline)) + "\n"


def _lines(path: Path, baseline: Baseline) -> Iterator[str]:
    runs = [evidence.run for evidence in baseline.evidence]
    yield f"{path}"
    for evidence in baseline.evidence:
        bits = (
            f"{len(evidence.correct)} conditions with correctness bits" if evidence.correct else "no correctness bits"
        )
        yield f"  run {evidence.run.run_id}: {len(evidence.run.rows)} numbers, {bits}"
    facts, settings = runs[0].facts(), runs[0].settings
    for name in _FACTS:
        if facts.get(name) not in (None, ""):
            yield f"  {name.replace('_', ' ')}: {facts[name]}"
    conditions = conditions_of(runs)
    if conditions:
        yield f"  conditions: {len(conditions)} ({list_conditions(conditions)})"
    yield f"  images: {max(row.n for row in runs[0].rows)}"
    for name in _SETTINGS:
        if settings.get(name) not in (None, ""):
            yield f"  {name.replace('_', ' ')}: {settings[name]}"
    yield "history, the latest first"
    for reason in reversed(baseline.history):
        yield f"  {reason.reason} ({reason.author}, convbench {reason.convbench})"
        yield f"    {_accuracy(reason)}{', '.join(reason.runs)}"


def _accuracy(reason: Reason) -> str:
    clean, corrupted = reason.accuracy
    words = [f"accuracy {100 * clean:.2f} %"] if clean is not None else []
    words += [f"mean corrupted accuracy {100 * corrupted:.2f} %"] if corrupted is not None else []
    return ", ".join(words) + (": " if words else "")
