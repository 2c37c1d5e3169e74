"""The documentation is a test target: what it names exists, and what exists is named."""

import re
from pathlib import Path

import pytest
import typer

from convbench.cli.app import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]  # it is a group


def test_every_command_is_in_the_readme_and_has_help():
    for name, command in COMMANDS.items():
        assert f"`convbench {name}`" in README
        assert command.help


def commands_of(group):
    for command in group.values():
        yield command
        yield from commands_of(getattr(command, "commands", {}))


@pytest.mark.parametrize(
    "name", ["README.md", "docs/gate.md", "docs/spectral.md", "docs/statistics.md", "docs/compare-outputs.md"]
)
def test_every_option_that_a_page_names_exists(name):
    parameters = [parameter for command in commands_of(COMMANDS) for parameter in command.params]
    known = {flag for parameter in parameters for flag in (*parameter.opts, *parameter.secondary_opts)}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / name).read_text()))
    assert named <= known | {"--help"}, named - known


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md"], ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_option_has_help():
    for command in COMMANDS.values():
        for parameter in command.params:
            assert getattr(parameter, "help", "x"), (command.name, parameter.name)


def test_the_columns_of_the_readme_are_those_of_the_file():
    from convbench.rows import COLUMNS

    table = README[README.index("## The results file") : README.index("## Add a normalization")]
    assert all(f"`{column}`" in table for column in COLUMNS)


def test_the_normalization_of_the_readme_works():
    import torch
    from torch import nn

    from convbench.norms import NORMS

    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "register(" in block]
    exec(compile(code, "README.md", "exec"), {})
    try:
        unit = NORMS.build("local_response:size=3")(nn.Conv2d(3, 8, 3))
        assert unit(torch.randn(2, 3, 8, 8)).shape == (2, 8, 6, 6)
    finally:  # the registry outlives the test
        del NORMS._entries["local_response"], NORMS._names["local_response"]


def test_no_file_names_a_package_registry():
    # Spelled apart, so that this file does not name one either.
    hosts = ["py" + "pi.org", "python" + "hosted", "npm" + "js.org", "debian" + ".org"]
    for path in ROOT.rglob("*"):
        skipped = {".git", ".venv", "demo", "runs", "__pycache__", "node_modules"} & set(path.relative_to(ROOT).parts)
        if path.is_file() and not skipped and path.suffix in {".py", ".md", ".toml", ".yml", ".cff", "", ".cfg"}:
            text = path.read_text(errors="ignore")
            assert not [host for host in hosts if host in text], path
