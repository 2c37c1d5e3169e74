"""`convbench sweep`: norms x noises x seeds, trained and evaluated, one folder per run."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from convbench.cli.options import Device, Quiet, from_config, parse_value, use_file
from convbench.config import EvalConfig, TrainConfig
from convbench.errors import NotComparableError


@from_config(TrainConfig, grid=True)
def sweep(
    grid: Annotated[
        Path | None,
        typer.Argument(
            metavar="GRID",
            help="TOML file: training options with one value or a list each, and a table [evaluate].",
            callback=use_file,
            is_eager=True,
        ),
    ] = None,
    *,
    settings: dict[str, Any],
    corruption: Annotated[str, typer.Option("--corruption", help="Corruptions to evaluate, or groups.")] = "none",
    severity: Annotated[str, typer.Option("--severity", help="Severities: 1,3,5 or 1-5.")] = "1-5",
    examples: Annotated[int, typer.Option("--examples", help="Evaluate on the first N test images; 0 = all.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="Parent of run folders.")] = Path("runs"),
    workers: Annotated[
        int, typer.Option("--workers", help="Processes at once; 0 = one per core, one alone with a GPU.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the grid and do nothing.")] = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train and evaluate every combination of the given values that is missing.

    Each training option takes a comma list: --norm bn,mixture,convnorm,none --seed 0,1,2.
    """
    evaluation = EvalConfig(
        corruptions=parse_value("--corruption", corruption, tuple[str, ...]),
        severities=parse_value("--severity", severity, tuple[int, ...]),
        examples=examples,
    )
    # Imports stand in the body from here on: torch costs seconds that --help and a usage error must not.
    from convbench.cli.progress import SweepProgress
    from convbench.sweep import expand, sweep

    configs = expand(settings)
    if dry_run:
        varied = [key for key, values in settings.items() if len(values) > 1]
        for config in configs:
            facts = "  ".join(f"{key}={getattr(config, key)}" for key in varied)
            print(f"{out / config.run_id}  {facts}".rstrip())
        print(f"{len(configs)} runs", file=sys.stderr)
        return
    failed = []
    with SweepProgress(len(configs), quiet=quiet) as progress:
        for outcome in sweep(configs, evaluation, out=out, workers=workers, device=device, on_event=progress.event):
            progress.outcome(outcome)
            if outcome.error:
                failed.append(outcome)
            else:
                print(outcome.folder, flush=True)
    if failed:
        named = "; ".join(f"{outcome.config.run_id}: {outcome.error}" for outcome in failed)
        raise NotComparableError(f"{len(failed)} of {len(configs)} runs failed: {named}")
