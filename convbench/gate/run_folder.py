"""From a run to what a paired test needs: its correctness bits, and that it is whole."""

import fcntl
import math
import re
from pathlib import Path

import numpy as np

from convbench.comparison.correctness import read_bits
from convbench.comparison.runs import RESULTS, Run
from convbench.errors import NotComparableError, ResultsError
from convbench.files import read_json
from convbench.gate.arms import Evidence
from convbench.gate.confidences import read_confidences
from convbench.metrics import NETWORK_METRICS
from convbench.metrics.corruption_error import CLEAN, Condition

_CONDITION_FILE = re.compile(r".+-[0-9]\.json")
_NAMED = 3  # missing cells that a message names before it counts


def evidence_of(run: Run) -> Evidence:
    """The rows of `run` with the bits of its folder; without bits where it came from a CSV alone.

    Raises:
        NotComparableError: the run is incomplete: being measured just now, a shard, or interrupted.
        ResultsError: its cells contradict its results, or are damaged.
    """
    store = run.path.parent / "evaluation" if run.path is not None else None
    if store is None or not run.settings:  # settings are there only where the folder describes this one run
        return Evidence(run=run)
    _require_not_in_use(store.parent)
    _require_whole(store, run)
    correct: dict[Condition, np.ndarray] = {}
    of_clean: dict[str, np.ndarray] = {}
    for condition, stated in _accuracies(run).items():
        path = store / _file_of(condition)
        cell = read_json(path, ResultsError)
        bits = read_bits(cell, path)
        if stated is not None and (len(bits), int(bits.sum())) != stated:
            raise ResultsError(
                f"{path} has {bits.sum()} of {len(bits)} images right, {run.path} says {stated[1]} of {stated[0]}: one "
                "of them is of another evaluation. `convbench evaluate --overwrite` measures the run anew."
            )
        correct[condition] = bits
        if condition == CLEAN:
            of_clean = read_confidences(cell, bits, path)
    return Evidence(run=run, correct=correct, **of_clean)


def _accuracies(run: Run) -> dict[Condition, tuple[int, int] | None]:
    """The measured conditions of `run`: images and how many of them were right, where a row says it."""
    found: dict[Condition, tuple[int, int] | None] = {}
    for row in run.rows:
        if row.attack or row.metric in NETWORK_METRICS:
            continue
        stated = row.metric == "accuracy" and math.isfinite(row.value)
        before = found.get((row.corruption, row.severity))
        found[row.corruption, row.severity] = (row.n, round(row.value * row.n)) if stated else before
    return found


def _require_not_in_use(folder: Path) -> None:
    """Refuse a folder that another process writes to: what it holds is not yet what it will hold."""
    try:
        with (folder / ".lock").open("rb") as lock:
            # Held for microseconds only; a writer keeps the exclusive lock for as long as it lives.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(lock, fcntl.LOCK_UN)
    except BlockingIOError:
        raise NotComparableError(
            f"{folder} is in use: another convbench is writing to it. Wait for it, then compare."
        ) from None
    except OSError:
        return  # no writer was ever here, or this file system has no locks


def _require_whole(store: Path, run: Run) -> None:
    """Refuse a run that lacks a cell of its plan, or that has measured more than its results hold."""
    planned = run.settings.get("cells", ())
    shard = run.settings.get("shard")
    missing = [str(name) for name in planned if not (store / f"{name}.json").is_file()]
    if missing and shard:
        raise NotComparableError(
            f"{store.parent} is shard {'/'.join(map(str, shard))} alone: {_some(missing)} missing. "
            f"`convbench merge` makes one run of all shards."
        )
    if missing:
        raise NotComparableError(
            f"the evaluation of {store.parent} is not finished: {_some(missing)} missing. "
            "The same `convbench evaluate` goes on from there."
        )
    in_rows = {_file_of((row.corruption, row.severity)) for row in run.rows}
    on_disk = {path.name for path in store.glob("*-*.json") if _is_condition(path.name)}
    if gone := sorted(_file_of(condition) for condition in _accuracies(run) if _file_of(condition) not in on_disk):
        raise NotComparableError(
            f"{store.parent} is incomplete: {run.path} has numbers of {_some([Path(name).stem for name in gone])}, "
            f"{store} has no such file. Take {RESULTS} alone to compare without pairs, or evaluate again."
        )
    # A kill between a cell and the table leaves the table one cell short; the next evaluation mends it.
    if beyond := sorted(on_disk - in_rows):
        raise NotComparableError(
            f"{run.path} is older than its evaluation: {_some([Path(name).stem for name in beyond])} missing in it. "
            "The same `convbench evaluate` writes it again."
        )


def _is_condition(name: str) -> bool:
    # A metric of the network with options may end in a digit as well: "spectral_norm-tol=1e-6.json".
    return _CONDITION_FILE.fullmatch(name) is not None and name.partition("-")[0] not in NETWORK_METRICS


def _file_of(condition: Condition) -> str:
    return f"{condition[0]}-{condition[1]}.json"


def _some(names: list[str]) -> str:
    """ "fog-1, fog-2, fog-3 and 4 more are" or "fog-1 is"."""
    more = len(names) - _NAMED
    listed = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{listed} {'is' if len(names) == 1 else 'are'}"
