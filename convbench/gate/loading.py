"""One side of a comparison from its argument: run folders, results files, globs, baseline files, files in git."""

import glob
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from convbench.comparison.runs import Run, facts_of, load_runs
from convbench.errors import ConfigError, NotComparableError, ResultsError
from convbench.gate.arms import Arm, Evidence
from convbench.gate.baseline_file import SUFFIX, parse_baseline
from convbench.gate.run_folder import evidence_of

_GIT = "git:"
_SEEDS_ONLY = {"seed", "run_id"}  # what may differ within an arm


def load_arm(argument: str) -> Arm:
    """The arm that `argument` names: one run, or several that differ in the seed only.

    Args:
        argument: a run folder, a folder of run folders, a results CSV, a baseline file, "git:REV:path" of one of the
            latter two, or a glob.

    Raises:
        ResultsError: it does not exist, or is none of these.
        NotComparableError: a run is incomplete, or the runs differ in more than the seed.
        ConfigError: git cannot read the revision.
    """
    if not argument.strip():
        raise ConfigError("a run is named by an empty text: a variable that is not set?")
    if argument.startswith(_GIT):
        evidence = _from_git(argument)
    elif Path(argument).is_file() and _is_baseline(content := _read(Path(argument))):
        evidence = parse_baseline(content, argument).evidence
    else:
        loaded = load_runs([argument])
        if loaded.notes:  # a seed that is left out would change the mean unseen
            raise NotComparableError(f"{argument}: {loaded.notes[0].removesuffix(': left out.')}; evaluate it first.")
        evidence = tuple(evidence_of(run) for run in loaded.runs)
    _require_one_arm(argument, [one.run for one in evidence])
    return Arm(label=_label(argument), source=argument, evidence=evidence)


def join(arms: Sequence[Arm]) -> Arm:
    """One arm of the runs of several; errors as of `load_arm`, and a run that is there twice is a `ResultsError`."""
    evidence = tuple(one for arm in arms for one in arm.evidence)
    source = " ".join(arm.source for arm in arms)
    _require_one_arm(source, [one.run for one in evidence])
    ids = [one.run.run_id for one in evidence]
    if twice := next((run_id for run_id in ids if ids.count(run_id) > 1), None):
        raise ResultsError(f"{source}: run {twice} is there twice; which of the two counts?")
    return Arm(label=arms[0].label, source=source, evidence=evidence)


def load_baseline(argument: str) -> Arm:
    """The arm that is the baseline; one that does not exist is a `NotComparableError` with what creates it."""
    if not argument.strip() or exists(argument):
        return load_arm(argument)
    path = argument if argument.endswith(SUFFIX) else f".convbench/baseline{SUFFIX}"
    raise NotComparableError(
        f"there is no baseline {argument}. `convbench baseline save RUN -o {path}` makes one of a run; with "
        f"--allow-missing-baseline a missing {SUFFIX} file is made of the candidate."
    )


def exists(argument: str) -> bool:
    """Whether there is anything at `argument`: a path, a match of a glob, a file in git.

    Raises:
        ConfigError: git does not know the revision.
    """
    if argument.startswith(_GIT):
        revision, path = _split(argument)
        _require_revision(argument, revision)
        return _git("cat-file", "-e", f"{revision}:{path}").returncode == 0
    return Path(argument).exists() or bool(glob.glob(argument))  # noqa: PTH207  # may be absolute


def with_own_labels(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """`arms` with labels that tell them apart: of namesakes the whole argument."""
    labels = [arm.label for arm in arms]
    own = [arm if labels.count(arm.label) == 1 else replace(arm, label=arm.source) for arm in arms]
    taken = [arm.label for arm in own]
    return tuple(
        arm if taken.count(arm.label) == 1 else replace(arm, label=f"{arm.label} ({1 + taken[:i].count(arm.label)})")
        for i, arm in enumerate(own)
    )


def _label(argument: str) -> str:
    """Short: the name of the folder or file; of a file in git its revision."""
    if argument.startswith(_GIT):
        return _split(argument)[0]
    path = Path(os.path.abspath(argument))  # noqa: PTH100  # resolve() would follow a link to a name nobody typed
    if path.name == "results.csv":
        path = path.parent
    return path.stem if path.suffix in (SUFFIX, ".csv") else path.name or argument


def _require_one_arm(argument: str, runs: Sequence[Run]) -> None:
    """Refuse runs whose mean would be of different things."""
    first = runs[0]
    facts, *others = facts_of(runs)
    for other, of_other in zip(runs[1:], others, strict=True):
        for key, value in facts.items():
            if key not in _SEEDS_ONLY and key in of_other and of_other[key] != value:
                raise NotComparableError(
                    f"{argument} holds runs that differ in {key}: {value!r} in {first.run_id}, {of_other[key]!r} in "
                    f"{other.run_id}. One side is runs that differ in the seed only; --by compares groups of others."
                )
    ids: dict[int, str] = {}
    for run in runs:
        if run.seed is not None and ids.setdefault(run.seed, run.run_id) != run.run_id:
            raise NotComparableError(
                f"{argument} holds two runs of the same seed {run.seed}: {ids[run.seed]} and {run.run_id}. One side is "
                "runs of different seeds."
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {(error.strerror or str(error)).lower()}.") from None


def _is_baseline(content: bytes) -> bool:
    # By its content: a results file starts with its header, and a name may be anything.
    return content.lstrip()[:1] == b"{"


def _from_git(argument: str) -> tuple[Evidence, ...]:
    revision, path = _split(argument)
    _require_revision(argument, revision)
    # cat-file, where `git show` would print the listing of a folder as if it were a file.
    found = _git("cat-file", "blob", f"{revision}:{path}")
    if found.returncode != 0:
        raise NotComparableError(f"{argument}: git has no such file: {_first_line(found.stderr)}.")
    if found.stdout.startswith(b"version https://git-lfs"):
        raise ResultsError(f"{argument} is a pointer of Git LFS, not the file: add it to git itself, it is small.")
    if _is_baseline(found.stdout):
        return parse_baseline(found.stdout, argument).evidence
    with tempfile.TemporaryDirectory() as folder:
        # Not called results.csv: there are no files beside it that describe the run.
        copy = Path(folder) / "rows.csv"
        copy.write_bytes(found.stdout)
        try:
            runs = load_runs([str(copy)]).runs
        except (ResultsError, NotComparableError) as error:
            raise type(error)(str(error).replace(str(copy), argument)) from None
    return tuple(Evidence(run=replace(run, path=None)) for run in runs)


def _split(argument: str) -> tuple[str, str]:
    revision, colon, path = argument.removeprefix(_GIT).partition(":")
    if not revision or not colon or not path or revision.startswith("-"):
        raise ConfigError(f"{argument}: give git:REVISION:PATH, as git:main:.convbench/baseline{SUFFIX}.")
    return revision, path


def _require_revision(argument: str, revision: str) -> None:
    found = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{tree}}")
    if found.returncode != 0:
        inside = _git("rev-parse", "--git-dir")
        reason = f"git knows no revision {revision!r} (a shallow clone has few)"
        raise ConfigError(f"{argument}: {reason if inside.returncode == 0 else _first_line(inside.stderr)}.")


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    try:
        return subprocess.run(["git", *arguments], capture_output=True, env=environment, check=False, timeout=120)
    except FileNotFoundError:
        raise ConfigError(f"{_GIT}: the command git is not installed here.") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"git did not answer within 120 seconds: git {' '.join(arguments)}.") from None


def _first_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines() or ["no reason given"]
    return lines[0].removeprefix("fatal: ").removesuffix(".")
