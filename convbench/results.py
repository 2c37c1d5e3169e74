"""The results of a run folder: one atomic file per cell, and `results.csv`, which is their rows in order.

    evaluation/settings.json        what every cell was measured with; other settings are refused
    evaluation/<cell>.json          rows, and one correctness bit per image (base64 of packed bits); of the clean images
                                    also confidence and cross-entropy (base64 of little-endian float32)
    results.csv                     all rows, clean first

A killed evaluation loses at most the cell that was being measured, and goes on with the cells that are missing. The
rows of `results.csv` follow the official order of corruptions, so that the order of measuring does not show; those
that only an archive has come last, by name.
"""

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from convbench.comparison.correctness import read_bits
from convbench.config import EvalConfig
from convbench.errors import ConfigError, ResultsError
from convbench.evaluation import Bench, Cell, Condition, Measured, plan
from convbench.files import only_writer, read_json, write_json
from convbench.metrics import NETWORK_METRICS
from convbench.metrics.bound_order import broken_order
from convbench.names import resolved_evaluation
from convbench.rows import Row, write_rows
from convbench.runtime import conditions
from convbench.subject import Subject
from convbench.training_data import fingerprint
from corruptions import known_names as corruption_names

_OF_CORRUPTIONS = ("corruption_source", "corruption_profile")  # "" in the settings where nothing is corrupted
# The classes follow from the data, and older settings lack them; the cells grow.
_NOT_COMPARED = ("conditions", "classes", "shard", "cells")
_BEFORE = {"spectral_budget": "exact"}  # what held when older settings did not state it


class Watcher(Protocol):
    """What wants to know how an evaluation gets on (a progress bar)."""

    def start(self, cells: int, images: int) -> None: ...

    def cell(self, cell: Cell, cached: bool) -> None: ...

    def images(self, done: int) -> None: ...


@dataclass(frozen=True)
class Results:
    """What an evaluation left on disk: its rows, and why some numbers are missing."""

    path: Path
    rows: list[Row]
    notes: tuple[str, ...]


def evaluate_to(
    folder: Path,
    subject: Subject,
    config: EvalConfig,
    *,
    device: str = "auto",
    overwrite: bool = False,
    watcher: Watcher | None = None,
    shard: tuple[int, int] = (1, 1),
) -> Results:
    """Measure the cells of `config` that `folder` does not hold yet, and write `folder`/results.csv.

    Args:
        shard: (i, n) measures the i-th of n parts of the cells only; `convbench.shards.merge` puts them together.
        overwrite: throw away what was measured with other settings; without it that is a `ConfigError`.

    Raises:
        ConvbenchError: bad names or data, other settings, a folder in use, a disk that refuses.
    """
    config = resolved_evaluation(config)
    planned = plan(config)
    cells = cells_of_shard(planned, shard)
    with only_writer(folder):
        bench = Bench(subject, config, device)
        store = folder / "evaluation"
        _settle(store, _settings(bench) | {"shard": list(shard)}, [cell.name for cell in planned], overwrite)
        if watcher is not None:
            watcher.start(len(cells), len(bench.labels))
        for cell in cells:
            path = store / f"{cell.name}.json"
            cached = _holds(path, cell, config)
            if watcher is not None:
                watcher.cell(cell, cached)
            if not cached:
                measured = bench.measure(cell, watcher.images if watcher is not None else None)
                write_json(path, _encode(measured))
                # Every finished cell is in the CSV at once; a crash keeps what was there.
                collect(folder)
        return collect(folder)


def _settings(bench: Bench) -> dict[str, Any]:
    config, source = bench.config, bench.image_source
    return {
        "weights_sha256": bench.subject.weights_sha256,
        "dataset": bench.subject.dataset,
        "split": config.split,
        "examples": config.examples,
        "n": len(bench.labels),
        "classes": len(bench.arrays.classes),
        "data_fingerprint": fingerprint(bench.arrays),
        "checkpoint": config.checkpoint,
        "corruption_seed": config.seed,
        "corruption_source": source.source if source is not None else "",
        "corruption_profile": source.profile if source is not None else "",
        "archive": source.archive if source is not None else {},
        "lipschitz_examples": config.lipschitz_examples,
        "spectral_budget": config.spectral_budget,
        "conditions": conditions(bench.device, precision="float32", batch_size=config.batch_size),
    }


def cells_of_shard(cells: Sequence[Cell], shard: tuple[int, int]) -> list[Cell]:
    """The cells that shard i of n measures: every n-th condition, and the metrics of the network in the last one.

    Those share one computation, which should not be made twice. Every cell is in exactly one shard.
    """
    number, count = shard
    conditions = [cell for cell in cells if isinstance(cell, Condition)]
    of_network = [cell for cell in cells if not isinstance(cell, Condition)]
    return [*conditions[number - 1 :: count], *(of_network if number == count else ())]


def _settle(store: Path, settings: dict[str, Any], planned: list[str], overwrite: bool) -> None:
    """Go on with the cells of equal settings; refuse, or throw away, those of others.

    `cells` of the settings is what the folder shall hold in the end: a reader sees that an evaluation was interrupted.
    """
    path = store / "settings.json"
    if path.exists():
        found = read_json(path)
        difference = first_difference(found, settings)
        if difference is None:
            settings = joined_settings(found, settings)
        elif not overwrite:
            raise ConfigError(
                f"{store.parent} was evaluated with {difference}. Numbers of different conditions do not go into one "
                "file: repeat the old conditions, or start again with --overwrite."
            )
        else:
            for cell in store.glob("*.json"):
                cell.unlink()
    held = sorted(cell.stem for cell in store.glob("*.json") if cell != path)
    if settings["shard"] == [1, 1]:
        del settings["shard"]
    write_json(path, settings | {"cells": list(dict.fromkeys([*planned, *held]))})


def joined_settings(found: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of two evaluations that do not contradict each other.

    One of the two may corrupt nothing, or other images: what each one states holds for both.
    """
    joined = settings | {key: settings.get(key) or found.get(key, "") for key in _OF_CORRUPTIONS}
    joined["archive"] = found.get("archive", {}) | settings.get("archive", {})
    if prints := _fingerprints(found) | _fingerprints(settings):
        joined["archive"]["fingerprints"] = prints
    return joined


@dataclass(frozen=True)
class SettingsDifference:
    """A setting in which two evaluations contradict each other; of an archive its name, and both fingerprints."""

    key: str
    before: Any
    now: Any
    of_archive: bool = False

    def __str__(self) -> str:
        if self.of_archive:
            return f"{self.key} of another archive (fingerprint {self.before}, now it is {self.now})"
        return f"{self.key} = {self.before!r}, now it is {self.now!r}"


def first_difference(found: dict[str, Any], settings: dict[str, Any]) -> SettingsDifference | None:
    """The first setting in which two evaluations contradict each other; None where they do not."""
    for key, asked in settings.items():
        before = found.get(key, _BEFORE.get(key))
        if key == "archive":
            prints = _fingerprints(found)
            for name, now in _fingerprints(settings).items():
                if prints.get(name, now) != now:
                    return SettingsDifference(name, prints[name], now, of_archive=True)
        elif key in _OF_CORRUPTIONS and "" in (asked, found.get(key, "")):
            continue
        elif key not in _NOT_COMPARED and before != asked:
            return SettingsDifference(key, before, asked)
    return None


def _fingerprints(settings: dict[str, Any]) -> dict[str, str]:
    return settings.get("archive", {}).get("fingerprints", {})


def _holds(path: Path, cell: Cell, config: EvalConfig) -> bool:
    """Whether the cell was measured already, with every metric that is asked for now."""
    if not path.exists():
        return False
    if not isinstance(cell, Condition):
        return True
    found = {row.metric for row in _decode(path)[0]}
    return found >= set(config.metrics)


def _encode(measured: Measured) -> dict[str, Any]:
    cell: dict[str, Any] = {"rows": [asdict(row) | {"value": repr(row.value)} for row in measured.rows]}
    if measured.note:
        cell["note"] = measured.note
    if measured.correct is not None:
        cell["n"] = len(measured.correct)
        cell["correct"] = base64.b64encode(np.packbits(measured.correct).tobytes()).decode()
    for name, values in {"confidence": measured.confidence, "nll": measured.nll}.items():
        if values is not None:
            cell[name] = base64.b64encode(values.astype("<f4").tobytes()).decode()
    return cell


def _decode(path: Path) -> tuple[list[Row], str]:
    cell = read_json(path)
    try:
        rows = [Row(**row | {"value": float(row["value"])}) for row in cell["rows"]]
        return rows, cell.get("note", "")
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"{path} is not a cell of this version ({error}); delete it to measure it again.") from None


def read_correct(path: Path) -> np.ndarray:
    """The correctness bits of one cell file: bool (N,), in the order of the images that were measured.

    That is the order of the data set, but for an archive of image folders: see `image_sources.Archived`.

    Raises:
        ResultsError: a cell without bits (a network metric), or a damaged one.
    """
    return read_bits(read_json(path), path)


def collect(folder: Path) -> Results:
    """Write `folder`/results.csv from its cells, in the official order, and return it."""
    rows: list[Row] = []
    notes: dict[str, list[str]] = {}  # reason -> the metrics that it is the reason of
    for path in sorted((folder / "evaluation").glob("*.json")):
        if path.name != "settings.json":
            found, note = _decode(path)
            rows += found
            if note:
                metric, _, reason = note.partition(": ")
                notes.setdefault(reason, []).append(metric)
    # What only an archive has comes after what everyone knows, by name.
    names = ["none", *corruption_names()]
    names += sorted({row.corruption for row in rows} - set(names))
    order = {name: place for place, name in enumerate(names)}
    # Within one cell and metric the sort keeps the rows as they are: layers in the order of the network.
    rows.sort(key=lambda row: (row.metric in NETWORK_METRICS, order[row.corruption], row.severity))
    write_rows(folder / "results.csv", rows)
    merged = tuple(f"{', '.join(metrics)}: {reason}" for reason, metrics in notes.items())
    broken = broken_order({row.metric: row.value for row in rows if row.metric in NETWORK_METRICS and not row.layer})
    return Results(folder / "results.csv", rows, (*merged, *filter(None, [broken])))
