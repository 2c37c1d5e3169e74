"""`convbench merge`: the shards of one evaluation, put together."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def merge(
    shards: Annotated[
        list[Path],
        typer.Argument(
            metavar="SHARD", help="Run folders that were evaluated with --shard 1/n ... n/n.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The run folder that gets all cells and one results.csv.")],
) -> None:
    """Put the shards of one evaluation together; exit 3 where a condition is in none of them."""
    from convbench.shards import merge as merge_shards

    merged = merge_shards(shards, out)
    for warning in merged.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for note in merged.results.notes:
        print(f"note: {note}", file=sys.stderr)
    print(merged.results.path)
