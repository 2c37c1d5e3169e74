"""The runs to compare: from run folders, results files, globs, or everything under runs/."""

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convbench.errors import NotComparableError, ResultsError
from convbench.files import read_json
from convbench.rows import Row, read_rows

RESULTS = "results.csv"
# What makes two networks different things; a seed does not. `split` is here because a test and a validation
# accuracy have no common mean either.
IDENTITY = ("dataset", "model", "norm", "label_noise", "label_noise_rate", "split")
_FOLDER = "folder:"
_NOT_TRAINING = {"seed", "data_dir"}  # of config.json: the seed is what is averaged over, the folder changes nothing


@dataclass(frozen=True, kw_only=True)
class Run:
    """One evaluated network: its rows, and what its folder says about how they came about.

    Args:
        rows: at least one, all of this run, equal in the columns of `IDENTITY`.
        config: `config.json` (how it was trained); empty when only a CSV was given, as are the next two.
        settings: `evaluation/settings.json` (how it was measured).
        record: `run.json` (versions, device).
    """

    rows: tuple[Row, ...]
    path: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return self.rows[0].run_id

    @property
    def seed(self) -> int | None:
        return self.rows[0].seed

    def facts(self) -> dict[str, Any]:
        """Everything a run can be grouped by: its columns, then the settings it was trained with."""
        facts = {name: getattr(self.rows[0], name) for name in (*IDENTITY, "seed", "run_id")}
        trained = {name: value for name, value in self.config.items() if name not in _NOT_TRAINING}
        return {**trained, **facts}


def data_sets(runs: Iterable[Run]) -> tuple[str, ...]:
    """The name of each run's data set, the same one for two folders of the same images.

    A `folder:` is named by its path, which says nothing of what is in it. Where the settings have the fingerprint of
    the images measured, folders of equal images get the name that came first; without it a folder is its path.
    """
    first: dict[str, str] = {}
    names = []
    for run in runs:
        name, images = run.rows[0].dataset, run.settings.get("data_fingerprint")
        names.append(first.setdefault(images, name) if name.startswith(_FOLDER) and images else name)
    return tuple(names)


def facts_of(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """`Run.facts` of each, with the data sets of `data_sets`."""
    return [run.facts() | {"dataset": name} for run, name in zip(runs, data_sets(runs), strict=True)]


@dataclass(frozen=True, kw_only=True)
class LoadedRuns:
    """Runs in the order in which they were given (oldest first when searched for), and what was passed over."""

    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()


def load_runs(arguments: Sequence[str] = (), *, root: Path | str = "runs") -> LoadedRuns:
    """Load what `arguments` name: run folders, folders of runs, results files, globs; none = all under `root`.

    The same run given twice counts once.

    Raises:
        NotComparableError: there is no evaluated run, or a run that was named is not evaluated yet.
        ResultsError: a path does not exist, a file is not ours, or two files hold the same key.
    """
    files: list[Path] = []
    notes: list[str] = []
    if arguments:
        for argument in arguments:
            found, passed_over = _resolve(argument)
            files += found
            notes += passed_over
    elif Path(root).is_dir():
        files, notes = _search(Path(root))
    runs: list[Run] = []
    owner: dict[tuple[object, ...], Path] = {}
    for file in {path.resolve(): path for path in files}.values():
        rows = read_rows(file)
        for row in rows:
            if row.key in owner:
                raise ResultsError(
                    f"{owner[row.key]} and {file} both hold {row.metric} of run {row.run_id} "
                    f"({row.corruption} severity {row.severity}); which of the two counts?"
                )
            owner[row.key] = file
        if rows:
            runs += _with_sidecars(runs_of(rows), file)
        else:
            notes.append(f"{file} has no rows yet: left out.")
    if not runs:
        raise NotComparableError(
            ("nothing to compare. " if not notes else f"nothing to compare: {' '.join(notes)} ")
            + "`convbench train` makes a run, `convbench evaluate` measures it."
        )
    return LoadedRuns(runs=tuple(runs), notes=tuple(notes))


def runs_of(rows: Iterable[Row]) -> tuple[Run, ...]:
    """The runs that `rows` hold, in order of appearance.

    Raises:
        ResultsError: one run id stands for two different networks.
    """
    by_run: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        of_run = by_run.setdefault((row.run_id, row.split), [])
        for name in (*IDENTITY, "seed"):
            if of_run and getattr(row, name) != getattr(of_run[0], name):
                raise ResultsError(
                    f"run {row.run_id} stands for two networks: {name} is "
                    f"{getattr(of_run[0], name)!r} and {getattr(row, name)!r}."
                )
        of_run.append(row)
    return tuple(Run(rows=tuple(of_run)) for of_run in by_run.values())


def _resolve(argument: str) -> tuple[list[Path], list[str]]:
    path = Path(argument)
    if path.is_file():
        return [path], []
    if path.is_dir():
        if (path / RESULTS).is_file():
            return [path / RESULTS], []
        files, notes = _search(path)
        if files:
            return files, notes
        if (path / "config.json").is_file():
            raise NotComparableError(f"run {path} is not evaluated yet: `convbench evaluate {path}` does it.")
        raise ResultsError(f"{path} is not a run folder: it has neither {RESULTS} nor config.json.")
    matches = [Path(match) for match in sorted(glob.glob(argument))]  # noqa: PTH207  # may be absolute
    if not matches:
        raise ResultsError(f"no run folder or results file at {argument}.")
    files = [match for match in matches if match.suffix == ".csv" and match.is_file()]
    notes = []
    for folder in filter(Path.is_dir, matches):
        _sort_folder(folder, files, notes)
    if not files:
        raise NotComparableError(f"nothing that {argument} matches is an evaluated run.")
    return files, notes


def _search(root: Path) -> tuple[list[Path], list[str]]:
    """The results files of `root` and of the folders in it, oldest run first, and the runs without one."""
    files = [root / RESULTS] if (root / RESULTS).is_file() else []
    notes: list[str] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        _sort_folder(folder, files, notes)
    return sorted(files, key=_age), notes


def _sort_folder(folder: Path, files: list[Path], notes: list[str]) -> None:
    if (folder / RESULTS).is_file():
        files.append(folder / RESULTS)
    elif (folder / "config.json").is_file():
        notes.append(f"{folder} is not evaluated yet: left out.")


def _age(results: Path) -> tuple[float, Path]:
    # config.json is written once, when training starts; results.csv again at every evaluation.
    config = results.with_name("config.json")
    return (config if config.is_file() else results).stat().st_mtime, results


def _with_sidecars(runs: tuple[Run, ...], file: Path) -> list[Run]:
    if file.name != RESULTS or len({run.run_id for run in runs}) != 1:
        return [Run(rows=run.rows, path=file) for run in runs]  # the files beside it describe one run only
    config = _read_object(file.with_name("config.json"))
    settings = _read_object(file.parent / "evaluation" / "settings.json")
    record = _read_object(file.with_name("run.json"))
    return [Run(rows=r.rows, path=file, config=config, settings=settings, record=record) for r in runs]


def _read_object(path: Path) -> dict[str, Any]:
    return read_json(path, ResultsError) if path.is_file() else {}
