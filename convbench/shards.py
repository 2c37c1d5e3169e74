"""One evaluation on several machines: each measures its share of the cells, and `merge` puts them together.

convbench evaluate RUN --corruption common --shard 1/4     ... 4/4, each on its own copy of RUN
convbench merge shards/* --out runs/whole
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convbench.errors import NotComparableError, ResultsError
from convbench.files import disk_errors, only_writer, read_json, write_json
from convbench.results import Results, collect, first_difference, joined_settings

_STORE = "evaluation"


@dataclass(frozen=True)
class Merged:
    """What a merge left on disk, and what every reader should know of it."""

    results: Results
    shards: int
    warnings: tuple[str, ...]


def merge(folders: Sequence[Path], out: Path) -> Merged:
    """Put the evaluations in `folders` together in `out`: its cells, its settings, and one results.csv.

    A cell may be in several folders, if it is the same in all of them. What is in `out` already counts as a shard.

    Raises:
        ResultsError: a folder is not evaluated, or two folders hold different values of one cell.
        NotComparableError: two folders were measured differently, or cells are missing from all of them; what there is
            is in `out` by then, and a later merge may add to it.
    """
    if (out / _STORE / "settings.json").is_file() and out.resolve() not in {folder.resolve() for folder in folders}:
        folders = [*folders, out]
    settings = [_settings_of(folder) for folder in folders]
    joined = settings[0]
    for folder, own in zip(folders[1:], settings[1:], strict=True):
        _require_alike((folders[0], joined), (folder, own))
        joined = joined_settings(own, joined)  # so that a later one may contradict any before it
    cells = _cells_of(folders)
    planned = list(dict.fromkeys(name for own in settings for name in own.get("cells", ())))
    with only_writer(out):
        _copy_run(folders, out)
        whole = joined | {"cells": planned or sorted(cells)}
        whole.pop("shard", None)
        for name, path in cells.items():
            target = out / _STORE / f"{name}.json"
            if path.resolve() != target.resolve():
                _copy(path, target)
        write_json(out / _STORE / "settings.json", whole)
        results = collect(out)
    missing = [name for name in planned if name not in cells]
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise NotComparableError(
            f"{len(missing)} of {len(planned)} cells are in none of the {len(folders)} shards: "
            f"{', '.join(missing[:4])}{more}. {out} holds the others; merge again when the missing shard is there."
        )
    return Merged(results, len(folders), tuple(_warnings(folders, settings)))


def _settings_of(folder: Path) -> dict[str, Any]:
    path = folder / _STORE / "settings.json"
    if not path.is_file():
        raise ResultsError(f"{folder} is no evaluated run: it has no {_STORE}/settings.json.")
    return read_json(path, ResultsError)


def _require_alike(first: tuple[Path, dict[str, Any]], other: tuple[Path, dict[str, Any]]) -> None:
    (one, before), (two, now) = first, other
    if set(before.get("cells", ())) != set(now.get("cells", ())):
        raise NotComparableError(f"{one} and {two} are shards of different evaluations: their cells are others.")
    difference = first_difference(before, now)
    if difference is not None:
        raise NotComparableError(
            f"{one} and {two} are no shards of one evaluation: "
            f"{difference.key} is {difference.before!r} and {difference.now!r}."
        )


def _cells_of(folders: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / _STORE).glob("*.json")):
            if path.name == "settings.json":
                continue
            before = found.setdefault(path.stem, path)
            if before != path and read_json(before, ResultsError) != read_json(path, ResultsError):
                raise ResultsError(
                    f"{before} and {path} are different measurements of {path.stem}; which of them counts?"
                )
    return found


def _copy_run(folders: Sequence[Path], out: Path) -> None:
    """What describes the training, from the first folder that has it; weights stay where they are."""
    for name in ("config.json", "run.json", "history.csv", "label_noise.json", "conversion.md"):
        source = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if source is not None and not (out / name).exists():
            _copy(source, out / name)


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part)
        part.replace(target)


def _warnings(folders: Sequence[Path], settings: Sequence[dict[str, Any]]) -> list[str]:
    """Devices, versions and batch sizes may differ: a number of such a merge is of neither alone."""
    first = settings[0].get("conditions", {})
    found = []
    for folder, own in zip(folders[1:], settings[1:], strict=True):
        for key, value in own.get("conditions", {}).items():
            if first.get(key) != value:
                found.append(f"{key} is {first.get(key)!r} in {folders[0]} and {value!r} in {folder}")
    return found
