"""A corrupted data set on disk, in the layout of CIFAR-10-C (Hendrycks & Dietterich 2019, arXiv:1903.12261).

    <corruption>.npy    uint8 (S·N, H, W, C): severity s in the rows [(s - 1) N, s N) where all five were asked for
    labels.npy          int64 (S·N,): the N labels, once for each severity
    conditions.json     what the images depend on, which rows hold which severity, and the checksum of every file
    SHA256SUMS          `sha256sum -c SHA256SUMS` checks the arrays
    .<corruption>.npy.part    unfinished; conditions.json says how many of its severities are safely on the disk

The arrays are written, not memory-mapped: a full disk is then an error, where a page of a mapping would be a SIGBUS.
"""

import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convbench.config import EvalConfig
from convbench.datasets import Arrays, load_dataset
from convbench.errors import ConfigError, ConvbenchError, DataError
from convbench.evaluation import Condition
from convbench.files import disk_errors, only_writer, read_json, write_atomically, write_json
from convbench.generated_images import resolve_generator
from convbench.names import canonical_dataset, resolved_evaluation
from convbench.results import Watcher
from convbench.runtime import conditions
from convbench.training_data import fingerprint

LABELS, RECORD, CHECKSUMS = "labels.npy", "conditions.json", "SHA256SUMS"


def write_corrupted_set(
    folder: Path,
    dataset: str,
    config: EvalConfig,
    *,
    data_dir: Path | str | None = None,
    image_size: int = 0,
    overwrite: bool = False,
    watcher: Watcher | None = None,
) -> None:
    """Write the corruptions of `config` that `folder` does not hold yet; a killed call is continued by the next.

    Image i of a file is image i of the split under the stream (seed, corruption, severity, i), as `evaluate` measures
    it: no byte depends on the batch size, on the order or on an interruption.

    Args:
        config: split, examples, corruptions, severities, engine, profile, seed and batch size; metrics play no part.
        overwrite: throw away a set of other settings; without it that is a `ConfigError`.

    Raises:
        ConvbenchError: bad names or data, other settings, files that are not this set's, a folder in use, a disk that
            is too small.
    """
    config, dataset = resolved_evaluation(config), canonical_dataset(dataset)
    if not config.corruptions:
        raise ConfigError("--corruption needs at least one corruption to write.")
    arrays = load_dataset(dataset, config.split, data_dir=data_dir, image_size=image_size)
    if config.examples > len(arrays):
        raise ConfigError(
            f"--examples {config.examples}: the {config.split} split of {dataset} has {len(arrays)} images."
        )
    arrays = arrays.select(np.arange(config.examples)) if config.examples else arrays
    export = _Export(folder, dataset, arrays, config)
    with only_writer(folder):
        export.settle(overwrite)
        missing = [name for name in config.corruptions if not export.holds(name)]
        export.check(missing)
        if watcher is not None:
            watcher.start(sum(export.severities_left(name) for name in missing), len(arrays))
        for name in missing:
            export.write(name, watcher)
        export.finish()


class _Export:
    """The folder of a set while it is being written."""

    def __init__(self, folder: Path, dataset: str, arrays: Arrays, config: EvalConfig) -> None:
        self.folder, self.arrays, self.config = folder, arrays, config
        self.generator = resolve_generator(
            config.corruption_engine,
            config.corruption_profile,
            config.seed,
            (arrays.images.shape[1], arrays.images.shape[2]),
            config.corruptions,
        )
        n = len(arrays)
        self.record: dict[str, Any] = {
            "dataset": dataset,
            "split": config.split,
            "n": n,
            "data_fingerprint": fingerprint(arrays),
            "corruption_engine": self.generator.engine,
            "corruption_profile": self.generator.profile,
            "corruption_seed": config.seed,
            "severities": list(config.severities),
            "rows": {str(severity): [k * n, (k + 1) * n] for k, severity in enumerate(config.severities)},
            "classes": list(arrays.classes),
            "conditions": conditions(torch.device("cpu")),
            "files": {},
            "unfinished": {},
        }
        header = io.BytesIO()
        shape = (len(config.severities) * n, *arrays.images.shape[1:])
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        self.header = header.getvalue()

    def settle(self, overwrite: bool) -> None:
        """Go on with a set of equal settings; refuse, or throw away, one of others."""
        path = self.folder / RECORD
        if not path.exists():
            if foreign := sorted(file.name for file in self.folder.glob("*.npy")):
                raise ConfigError(
                    f"{self.folder} holds {foreign[0]} but no {RECORD}: it is no set of convbench, and nothing in it "
                    "is replaced. Choose another folder."
                )
            return
        found = read_json(path, DataError)
        if not all(isinstance(found.get(key), dict) for key in ("files", "unfinished")):
            raise DataError(f"{path} is no record of a corrupted set, and nothing there is replaced.")
        old, new = _compared(found), _compared(self.record)
        differing = [key for key in new if old.get(key) != new[key]]
        if not differing:
            # A file that was deleted is not listed any more.
            files = {name: entry for name, entry in found["files"].items() if (self.folder / name).exists()}
            self.record |= {"files": files, "unfinished": found["unfinished"]}
            return
        if not overwrite:
            key = differing[0]
            raise ConfigError(
                f"{self.folder} was made with {key} = {old.get(key)!r}, now it is {new[key]!r}. Images of different "
                "conditions do not go into one set: choose another folder, or start again with --overwrite."
            )
        with disk_errors(self.folder):
            # Only what the record lists, and the record last, so that a kill in between loses no trace of the rest.
            for name in (*found["files"], *(f"{corruption}.npy" for corruption in found["unfinished"])):
                (self.folder / Path(name).name).unlink(missing_ok=True)
            for part in self.folder.glob(".*.npy.part"):
                part.unlink()
            (self.folder / CHECKSUMS).unlink(missing_ok=True)
            path.unlink()

    def holds(self, corruption: str) -> bool:
        """Whether the file of `corruption` is whole, with the checksum that was recorded."""
        path = self._path(corruption)
        if not path.exists():
            return False
        known = self.record["files"].get(path.name)
        if known is None and corruption in self.record["unfinished"] and not self._part(corruption).exists():
            self._enter(path)  # killed after the file had got its name and before that was recorded
            return True
        if known is None or known["sha256"] != _sha256(path):
            raise DataError(f"{path} is not the file that {RECORD} describes; delete it, and it is made again.")
        return True

    def severities_left(self, corruption: str) -> int:
        """How many severities of a file are not on the disk yet."""
        return len(self.config.severities) - self._severities_done(corruption)

    def check(self, missing: list[str]) -> None:
        """Refuse what would fail after hours: a corruption that the engine cannot make, a disk that is too small."""
        for name in missing:
            self.generator.corrupt(self.arrays.images[:1], name, self.config.severities[0], [0])
        needed = sum(self.severities_left(name) for name in missing) * self.arrays.images.nbytes
        with disk_errors(self.folder):
            free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise ConvbenchError(
                f"the corrupted set needs {_in_words(needed)} in {self.folder}, and its disk has {_in_words(free)} "
                "free: ask for fewer corruptions or examples, or choose another disk."
            )

    def write(self, corruption: str, watcher: Watcher | None) -> None:
        """Write or continue one file, severity by severity, and give it its name when it is whole."""
        path, part, size = self._path(corruption), self._part(corruption), self.config.batch_size
        done = self._severities_done(corruption)
        with disk_errors(path):
            file = part.open("r+b" if done else "w+b")
        with file:
            with disk_errors(path):
                file.write(self.header)
                # What lies behind the last recorded severity may be torn.
                file.truncate(file.seek(self._end_of(done)))
            for number, severity in enumerate(self.config.severities[done:], done + 1):
                if watcher is not None:
                    watcher.cell(Condition(corruption, severity), False)
                for start in range(0, len(self.arrays), size):
                    images = self.arrays.images[start : start + size]
                    index = range(start, start + len(images))
                    corrupted = self.generator.corrupt(images, corruption, severity, index)
                    with disk_errors(path):
                        file.write(corrupted.data)
                    if watcher is not None:
                        watcher.images(len(images))
                with disk_errors(path):
                    file.flush()
                    os.fsync(file.fileno())
                self.record["unfinished"][corruption] = number
                write_json(self.folder / RECORD, self.record)
        with disk_errors(path):
            part.replace(path)
        self._enter(path)

    def finish(self) -> None:
        """Write the labels and the list of checksums."""
        path = self.folder / LABELS
        labels = np.tile(self.arrays.labels, len(self.config.severities))
        write_atomically(path, lambda file: np.save(file, labels))
        self._enter(path)
        lines = (f"{entry['sha256']}  {name}\n" for name, entry in self.record["files"].items())
        write_atomically(self.folder / CHECKSUMS, "".join(lines))

    def _path(self, corruption: str) -> Path:
        return self.folder / f"{corruption}.npy"

    def _part(self, corruption: str) -> Path:
        return self.folder / f".{corruption}.npy.part"

    def _end_of(self, severities: int) -> int:
        """The length of a file with so many severities, in bytes."""
        return len(self.header) + severities * self.arrays.images.nbytes

    def _severities_done(self, corruption: str) -> int:
        """How many severities of an unfinished file are on the disk; none if it is shorter than was recorded."""
        part, recorded = self._part(corruption), self.record["unfinished"].get(corruption, 0)
        return recorded if part.exists() and part.stat().st_size >= self._end_of(recorded) else 0

    def _enter(self, path: Path) -> None:
        """Record a finished file with its checksum."""
        files = self.record["files"] | {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}}
        self.record["files"] = dict(sorted(files.items()))
        self.record["unfinished"].pop(path.stem, None)
        write_json(self.folder / RECORD, self.record)


def _compared(record: dict[str, Any]) -> dict[str, Any]:
    """What must be equal for images to go into one set: all that was chosen, and the versions that made them."""
    chosen = {key: value for key, value in record.items() if key not in ("conditions", "files", "unfinished")}
    versions = record.get("conditions", {}).get("versions", {})
    # No corruption is made of the loops that numba compiles.
    return chosen | {f"version of {package}": version for package, version in versions.items() if package != "numba"}


def _in_words(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 else f"{size / 1024**2:.2f} MiB"


def _sha256(path: Path) -> str:
    with disk_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
