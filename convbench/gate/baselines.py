"""Saving and replacing the baseline: which runs, why, and who said so."""

import getpass
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from convbench.errors import ConfigError, NotComparableError
from convbench.gate.arms import Arm
from convbench.gate.baseline_file import Baseline, Reason, read_baseline, reason_for, write_baseline
from convbench.gate.comparability import check_comparable
from convbench.gate.loading import join, load_arm

FIRST = "first baseline"


def save_baseline(
    runs: Sequence[str], path: Path, *, reason: str = "", author: str = ""
) -> tuple[Reason, tuple[str, ...]]:
    """Make `runs` the baseline in the new file `path`.

    Args:
        runs: arguments of `load_arm`, together one arm.
        reason, author: for the history; empty are "first baseline" and `default_author()`.

    Returns:
        The entry of the history, and notes: what comparisons with this baseline cannot check or show.

    Raises:
        ConfigError: there is a baseline already.
        NotComparableError: the runs are not one arm, or were measured under different conditions.
        ConvbenchError: a run cannot be read, the file not written.
    """
    if path.exists():
        raise ConfigError(
            f"{path} is there already: `convbench baseline update --from RUN --reason TEXT` replaces it and keeps its "
            "history."
        )
    arm, notes = _measured_alike(runs)
    return save_arm(arm, path, reason=reason, author=author), notes


def save_arm(arm: Arm, path: Path, *, reason: str = "", author: str = "", history: Sequence[Reason] = ()) -> Reason:
    """Write `arm` to `path` as the baseline, after the entries of `history`; return its own entry."""
    entry = reason_for(
        arm.evidence,
        reason=reason.strip() or FIRST,
        author=author.strip() or default_author(),
        version=version("convbench"),
    )
    write_baseline(path, Baseline(evidence=arm.evidence, history=(*history, entry)))
    return entry


def update_baseline(
    runs: Sequence[str], path: Path, *, reason: str, author: str = ""
) -> tuple[Reason, tuple[str, ...]]:
    """Replace the baseline in `path` by `runs` and keep its history.

    Returns:
        The new entry of the history, and notes: those of `save_baseline`, and whether the conditions of measurement
        changed too.

    Raises:
        ConfigError: no reason is given.
        NotComparableError: there is no baseline at `path`, or the runs are not one arm.
        ConvbenchError: a file cannot be read or written.
    """
    if not reason.strip():
        raise ConfigError('--reason is empty: say why the numbers may change, as --reason "new augmentation, #123".')
    if not path.exists():
        raise NotComparableError(f"there is no baseline {path}: `convbench baseline save RUN -o {path}` makes one.")
    before = read_baseline(path)
    arm, notes = _measured_alike(runs)
    old = Arm(label="the old baseline", source=str(path), evidence=before.evidence)
    try:
        check_comparable(old, arm)
    except NotComparableError as difference:
        notes = (*notes, f"runs that compared with the old baseline will not compare with this one; {difference}")
    return save_arm(arm, path, reason=reason, author=author, history=before.history), notes


def default_author() -> str:
    """The name in git's settings, else of the login; "unknown" where a container has neither."""
    try:
        found = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=False, timeout=10)
        if name := found.stdout.strip():
            return name
    except (OSError, subprocess.TimeoutExpired):
        pass  # no git here
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _measured_alike(runs: Sequence[str]) -> tuple[Arm, tuple[str, ...]]:
    """The arm of `runs`, and what is not known of it."""
    arm = join([load_arm(argument) for argument in runs])
    notes = check_comparable(arm, arm).notes
    if without := [one.run.run_id for one in arm.evidence if not one.correct]:
        bits = f"no correctness bits of {', '.join(without)}: comparisons with it are unpaired, and weaker."
        notes = (*notes, f"{bits} A whole run folder has them.")
    return arm, notes
