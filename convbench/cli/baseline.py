"""`convbench baseline`: the one small file for git that a candidate is compared with."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from convbench.gate.baseline_file import Reason

DEFAULT = Path(".convbench/baseline.cbbase")

baseline = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_Author = Annotated[
    str, typer.Option(help="Who says so. [default: user.name of git, else the login]", show_default=False)
]


@baseline.command("save")
def save(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="One run, or several that differ in the seed only.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to make.")] = DEFAULT,
    reason: Annotated[str, typer.Option(help="Why these runs. [default: first baseline]", show_default=False)] = "",
    author: _Author = "",
) -> None:
    """Make a baseline file of evaluated runs: numbers, correctness bits, settings, reason and author."""
    from convbench.gate.baselines import save_baseline

    _report(output, *save_baseline(runs, output, reason=reason, author=author))


@baseline.command("update")
def update(
    runs: Annotated[
        list[str],
        typer.Option("--from", metavar="RUN", help="The run that is the baseline now; repeat for further seeds."),
    ],
    reason: Annotated[str, typer.Option(help="Why the numbers may change; stays in the history.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to replace.")] = DEFAULT,
    author: _Author = "",
) -> None:
    """Replace the baseline and say why; earlier reasons are kept."""
    from convbench.gate.baselines import update_baseline

    _report(output, *update_baseline(runs, output, reason=reason, author=author))


@baseline.command("show")
def show(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The baseline file.", show_default=True)] = DEFAULT,
) -> None:
    """Print what a baseline file holds, and why."""
    from convbench.gate.baseline_file import read_baseline
    from convbench.gate.showing import baseline_text

    print(baseline_text(path, read_baseline(path)), end="")


def _report(path: Path, entry: "Reason", notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    count = len(entry.runs)
    size = path.stat().st_size / 1024
    print(f"{path}: {entry.runs[0] if count == 1 else f'{count} runs'}, {size:.0f} KiB.")
