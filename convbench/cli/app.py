"""The command line: one thin file per command, and the only place that turns errors into exit codes."""

import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated

import typer

from convbench.cli.baseline import baseline
from convbench.cli.compare import compare
from convbench.cli.corrupt import corrupt
from convbench.cli.evaluate import evaluate
from convbench.cli.listing import list_names
from convbench.cli.merge import merge
from convbench.cli.preview import preview
from convbench.cli.spectrum import spectrum
from convbench.cli.sweep import sweep
from convbench.cli.train import train
from convbench.errors import ConfigError, ConvbenchError, UnknownNameError

# Rich help panels alone would double the time of --help.
app = typer.Typer(
    name="convbench",
    help="Does this normalization make my ConvNet more robust, and can I prove it in CI?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
# The list of commands has a line for each; Typer would cut the first sentence of the help in the middle.
app.command("train", short_help="Train a network.")(train)
app.command("evaluate", short_help="Measure networks, clean and corrupted.")(evaluate)
app.command("sweep", short_help="Train and evaluate a grid of settings.")(sweep)
app.command("merge", short_help="Join the shards of one evaluation.")(merge)
app.command("compare", short_help="Gate a candidate against a baseline, or show runs side by side.")(compare)
app.add_typer(baseline, name="baseline", help="Save, show and update what the gate compares with.")
app.command("spectrum", short_help="Singular values of every layer.")(spectrum)
app.command("preview", short_help="A contact sheet of images under corruptions.")(preview)
app.command("corrupt", short_help="Write a corrupted data set, as CIFAR-10-C.")(corrupt)
app.command("list", short_help="Norms, models, data sets, corruptions, label noises, metrics.")(list_names)

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


@contextmanager
def _noticing_interrupt() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt on Ctrl-C as ever, and remember it: code in C may turn the exception into another."""
    received: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set a handler
        yield received
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, before)


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code (0, 2, 3, 70 or 130; 1 is the gate's alone)."""
    with _noticing_interrupt() as interrupts:
        try:
            # Not `app()`: it would end a broken pipe with exit code 1, which is the code of a failed gate.
            command = typer.main.get_command(app)
            with command.make_context("convbench", sys.argv[1:] if arguments is None else arguments) as context:
                command.invoke(context)
            sys.stdout.flush()
            return 0
        except typer.Exit as exit_:
            return exit_.exit_code
        except BrokenPipeError:
            # The reader of our output has gone (`| head`): nothing is wrong, and nobody is there to be told.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (Exception, KeyboardInterrupt) as error:
            if interrupts or isinstance(error, (KeyboardInterrupt, typer.Abort)):
                print("interrupted: what was finished is kept, the same command goes on from there.", file=sys.stderr)
                return INTERRUPTED
            return _report(error)


def _report(error: BaseException) -> int:
    """Say on stderr what went wrong, in one line where the user can mend it; return the exit code."""
    if os.environ.get("CONVBENCH_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, _UsageError):
        message = error.format_message()  # pyright: ignore[reportAttributeAccessIssue]  # Click's, see _UsageError
        if "\n" in message.strip():  # without a command the "message" is the help page
            print(message, file=sys.stderr)
            return 2
        unknown = re.match(r"No such command '(.*?)'", message)
        usage = ConfigError(f"{message} Try --help.")
        error = UnknownNameError("command", unknown[1], _commands(error)) if unknown else usage
    if isinstance(error, ConvbenchError):
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    traceback.print_exception(error)
    print("internal error: this is a bug of convbench, please report it with the lines above.", file=sys.stderr)
    return INTERNAL_ERROR


def _commands(error: BaseException) -> list[str]:
    """The commands of the group in which there was no such one."""
    context = error.ctx  # pyright: ignore[reportAttributeAccessIssue]  # Click's, see _UsageError
    return context.command.list_commands(context)
