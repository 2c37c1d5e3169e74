"""What the command line prints about itself fits a terminal of 80 columns."""

import sys

import pytest
import typer

from convbench.cli.app import app

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # it is a group


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_the_list_of_commands_has_a_whole_sentence_for_each(cli):
    code, output, _ = cli("--help")
    listed = {line.split()[0]: line for line in output.partition("Commands:\n")[2].splitlines()}
    assert (code, sorted(listed)) == (0, COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed.values())
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize("command", [*COMMANDS, "baseline save", "baseline update", "baseline show"])
def test_every_page_of_help_fits(cli, command):
    code, output, _ = cli(*command.split(), "--help")
    assert code == 0
    assert max(map(len, output.splitlines())) <= 80
    assert not [strange for strange in ("{{", "[[", "...]...", "...}...") if strange in output]


def test_a_list_is_wrapped_on_a_terminal_only(cli, monkeypatch):
    piped = cli("list", "corruptions")[1]
    assert max(map(len, piped.splitlines())) > 80
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = cli("list", "corruptions")[1]
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.split() == piped.split()
