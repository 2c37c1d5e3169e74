"""The command line: one thin file per command, and the only place that turns errors into exit codes."""

import os
import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from convbench.cli.compare import compare
from convbench.cli.evaluate import evaluate
from convbench.cli.listing import list_names
from convbench.cli.sweep import sweep
from convbench.cli.train import train
from convbench.errors import ConvbenchError

# Rich help panels alone would double the time of --help.
app = typer.Typer(
    name="convbench",
    help="Does this normalization make my ConvNet more robust, and can I prove it in CI?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("sweep")(sweep)
app.command("compare")(compare)
app.command("list")(list_names)

# Typer's own copy of Click has no public name for its usage error; this one is its parent class.
_UsageError: type[Exception] = typer.BadParameter.__base__  # pyright: ignore[reportAssignmentType]  # a class has a base

INTERRUPTED, INTERNAL_ERROR = 130, 70


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"convbench {version('convbench')}")
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Does this normalization make my ConvNet more robust, and can I prove it in CI?"""


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code (0, 2, 3, 70 or 130; 1 is the gate's alone)."""
    try:
        return int(app(args=arguments, standalone_mode=False) or 0)
    except ConvbenchError as error:
        if os.environ.get("CONVBENCH_DEBUG"):
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except _UsageError as error:
        message = error.format_message()  # pyright: ignore[reportAttributeAccessIssue]  # Click's, see _UsageError
        # Without a command the "message" is the help page: shown as it is.
        print(message if "\n" in message.strip() else f"error: {message} Try --help.", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted: what was finished is kept, the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is wrong, and nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except typer.Exit as exit_:
        return exit_.exit_code
    except Exception:
        traceback.print_exc()
        print("internal error: this is a bug of convbench, please report it with the lines above.", file=sys.stderr)
        return INTERNAL_ERROR
