"""`convbench compare` as a user runs it: outputs, errors, and what it does not import."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import convbench
from convbench.cli.compare import compare
from convbench.errors import ConfigError, ConvbenchError, NotComparableError, UnknownNameError

SOURCE = Path(convbench.__path__[0]).parent
app = typer.Typer(rich_markup_mode=None, add_completion=False)
app.command()(compare)


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_all_outputs_are_written_and_the_table_is_printed(write_run):
    for norm in ("bn", "none"):
        write_run(norm)
    kinds = {"md": "out/report.md", "csv": "out/table.csv", "latex": "out/table.tex", "plots": "out/plots"}
    result = invoke(*(word for kind, path in kinds.items() for word in ("-o", f"{kind}={path}")))
    assert result.exit_code == 0, result.output
    assert "accuracy per corruption" in result.stdout
    assert Path("out/report.md").read_text().startswith("### convbench: robustness by norm")
    assert Path("out/table.csv").read_text().startswith("norm,baseline,metric,")
    assert r"\begin{tabular}" in Path("out/table.tex").read_text()
    names = ("corruptions.png", "severity.png", "spectrum.png")
    assert sorted(path.name for path in Path("out/plots").iterdir()) == sorted(names)


def test_a_single_run_prints_its_own_table(write_run):
    result = invoke(str(write_run("bn")))
    assert result.exit_code == 0
    assert "accuracy per severity" in result.stdout
    assert "Wilson" in result.stdout


@pytest.mark.parametrize("output", ["html=report.html", "report.md", "md=", "=x"])
def test_a_wrong_output_is_refused_before_any_run_is_read(output):
    result = invoke("-o", output)
    assert isinstance(result.exception, ConfigError)
    assert "md, csv, plots" in str(result.exception)


def test_no_runs_and_a_missing_baseline_exit_with_3(write_run):
    result = invoke()
    assert isinstance(result.exception, NotComparableError)
    write_run("none")
    result = invoke("--baseline", "bn")
    assert isinstance(result.exception, NotComparableError)


def test_an_unwritable_output_prints_no_table(write_run):
    write_run("bn")
    Path("taken").write_text("a file, not a folder")
    result = invoke("-o", "md=taken/report.md")
    assert isinstance(result.exception, ConvbenchError)
    assert "cannot write" in str(result.exception)
    assert result.stdout == ""


def test_a_metric_is_asked_for_by_name(write_run):
    write_run("bn")
    write_run("none")
    result = invoke("--metric", "mce", "--metric", "mce_alexnet", "-o", "csv=table.csv")
    assert result.exit_code == 0, result.output
    assert "mce:baseline=bn" in result.stdout
    assert "mce_alexnet of 2 runs is not defined: AlexNet's errors are of ImageNet-C" in " ".join(result.stdout.split())
    assert "\nnone,bn,mce:baseline=bn,all,all,," in Path("table.csv").read_text()


def test_a_wrong_metric_is_refused_before_any_run_is_read():
    result = invoke("nowhere", "--metric", "mse")
    assert isinstance(result.exception, UnknownNameError)
    assert "Did you mean 'mce'" in str(result.exception)


def modules_after(code: str, *names: str, cwd: Path = SOURCE) -> set[str]:
    """Which of `names` a fresh Python has loaded after `code`."""
    script = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}\nprint('loaded', *sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, timeout=120, check=True
    )
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("loaded "))
    return set(names) & set(line.split())


COMMAND = """
import typer
from convbench.cli.compare import compare
app = typer.Typer(rich_markup_mode=None)
app.command()(compare)
app({arguments!r}, standalone_mode=False)
"""


def test_compare_and_its_outputs_import_no_torch(write_run, tmp_path):
    write_run("bn")
    write_run("none")
    code = COMMAND.format(
        arguments=["-o", "md=x.md", "-o", "csv=x.csv", "-o", "latex=x.tex", "--metric", "mce_alexnet"]
    )
    assert modules_after(code, "torch", "pandas", "matplotlib", cwd=tmp_path) == set()
    code = COMMAND.format(arguments=["-o", "plots=plots"])
    assert modules_after(code, "torch", "pandas", "matplotlib.pyplot", cwd=tmp_path) == set()


def test_help_imports_nothing_heavy(tmp_path):
    heavy = ("torch", "numpy", "pandas", "matplotlib", "rich", "convbench.comparison")
    assert modules_after(COMMAND.format(arguments=["--help"]), *heavy, cwd=tmp_path) == set()


def test_the_import_check_can_fail():
    assert modules_after("import json", "json") == {"json"}
