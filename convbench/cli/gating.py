"""The gate of `convbench compare`: every output is written first, the exit code comes last."""

import importlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from convbench.errors import ConfigError, ConvbenchError

if TYPE_CHECKING:
    from convbench.gate.report import Report
    from convbench.gate.rules import Rules

# Kind -> the module of convbench.gate.outputs whose `text(report)` makes it.
KINDS: Mapping[str, str] = {
    "md": "markdown",
    "csv": "tidy",
    "json": "json_report",
    "junit": "junit",
    "gitlab-metrics": "gitlab_metrics",
    "gha-benchmark": "gha_benchmark",
    "gha-benchmark-smaller": "gha_benchmark_smaller",
    "html": "html",
    "latex": "latex",
}
STDOUT = "-"
WRITE_FAILED = 2


def gate(
    arguments: Sequence[str],
    rules: "Rules",
    outputs: Sequence[tuple[str, str]],
    *,
    github: bool = True,
    exit_zero: bool = False,
    allow_missing_baseline: bool = False,
) -> int:
    """Compare the first of `arguments` with the others, write `outputs`, print the table; return the exit code.

    0: the gate is passed. 1: it is not, also where an output could not be written: that the numbers got worse is the
    graver news, and the lost output is said on stderr. 2: it is passed, but an output could not be written. With
    `exit_zero` a gate that is not passed is 0.

    Raises:
        ConvbenchError: bad arguments, rules or files (exit 2), or sides that cannot be compared (exit 3).
    """
    baseline, *candidates = arguments
    if allow_missing_baseline and _made_first(baseline, candidates):
        return 0
    from convbench.gate.comparing import compare_with_baseline

    report = compare_with_baseline(baseline, candidates, rules)
    failed, bug = _write(report, outputs)
    to_stdout = any(path == STDOUT for _, path in outputs)
    if github:
        failed += _tell_github(report, to_stderr=to_stdout)
    if not to_stdout:
        _print_table(report)
    for error in failed:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    if bug is not None:
        raise bug
    if report.exit_code and not exit_zero:
        return report.exit_code
    return WRITE_FAILED if failed else 0


def parse_outputs(texts: Sequence[str]) -> list[tuple[str, str]]:
    """KIND=PATH of each `-o`; PATH may be "-" of one.

    Raises:
        ConfigError: an unknown kind, no path, or two outputs in one place.
    """
    outputs = []
    for text in texts:
        kind, equals, path = text.partition("=")
        if kind not in KINDS or not equals or not path:
            raise ConfigError(f"-o {text}: give KIND=PATH with a kind of {', '.join(KINDS)}; PATH may be {STDOUT}.")
        if any(path == other for _, other in outputs):
            raise ConfigError(f"-o {text}: another output goes to {path} already.")
        outputs.append((kind, path))
    return outputs


def _made_first(baseline: str, candidates: Sequence[str]) -> bool:
    """Make the candidate the baseline where there is none; whether it was."""
    from convbench.gate.baseline_file import SUFFIX
    from convbench.gate.baselines import save_baseline
    from convbench.gate.loading import exists

    if exists(baseline):
        return False
    if not baseline.endswith(SUFFIX) or baseline.startswith("git:"):
        raise ConfigError(f"--allow-missing-baseline makes a {SUFFIX} file, and the baseline is {baseline}.")
    if len(candidates) != 1:
        raise ConfigError(
            f"--allow-missing-baseline makes a baseline of one candidate, and there are {len(candidates)}."
        )
    _, notes = save_baseline(candidates, Path(baseline))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"there was no baseline: {candidates[0]} is it now, in {baseline}. Nothing was compared.")
    return True


def _write(report: "Report", outputs: Sequence[tuple[str, str]]) -> tuple[list[ConvbenchError], Exception | None]:
    """Write every output that can be written; what failed, and the first bug."""
    from convbench.files import write_atomically

    failed: list[ConvbenchError] = []
    bug: Exception | None = None
    for kind, path in outputs:
        try:
            text = importlib.import_module(f"convbench.gate.outputs.{KINDS[kind]}").text(report)
            if path == STDOUT:
                _print(text, sys.stdout)
            else:
                write_atomically(Path(path), text)
        except ConvbenchError as error:
            failed.append(error)
        except Exception as error:  # the other outputs, and the numbers in them, are still wanted
            bug = bug or error
    return failed, bug


def _tell_github(report: "Report", *, to_stderr: bool) -> list[ConvbenchError]:
    """Job summary, outputs and annotations of a step, where GitHub's variables ask for them; what failed."""
    from convbench.gate.outputs.github import annotations, append_outputs, append_summary

    failed: list[ConvbenchError] = []
    for variable, append in (("GITHUB_STEP_SUMMARY", append_summary), ("GITHUB_OUTPUT", append_outputs)):
        if path := os.environ.get(variable):
            try:
                append(report, Path(path))
            except ConvbenchError as error:
                failed.append(error)
    if os.environ.get("GITHUB_ACTIONS") == "true" and (commands := annotations(report)):
        _print(commands, sys.stderr if to_stderr else sys.stdout)  # the runner reads both
    return failed


def _print_table(report: "Report") -> None:
    from convbench.gate.outputs.terminal import text

    styled = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if styled else 80
    _print(text(report, width=width, styled=styled, encoding=sys.stdout.encoding or "utf-8"), sys.stdout)


def _print(text: str, stream: TextIO) -> None:
    """Print and flush; a reader that has gone must not change the exit code of a gate."""
    encoding = stream.encoding or "utf-8"
    try:
        text = text.encode(encoding, "replace").decode(encoding)  # a terminal that cannot show ± still gets its table
        print(text, end="" if text.endswith("\n") else "\n", file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
