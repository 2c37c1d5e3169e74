"""`convbench compare BASELINE CANDIDATE` and `convbench baseline` as a user or a pipeline runs them."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convbench.cli.gating import KINDS
from tests.gate.folders import draw_bits, write_folder

COMMAND = Path(sys.executable).with_name("convbench")


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """`same` is a network like `base`, `worse` loses 3 % of the images under every corruption; no GitHub around."""
    monkeypatch.chdir(tmp_path)
    for variable in ("GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(variable, raising=False)
    for name, drop in (("base", 0.0), ("same", 0.0), ("worse", 0.03)):
        write_folder(tmp_path / name, draw_bits(drop=drop), run_id=f"digits-{name}")
    return tmp_path


def one_line(stderr: str) -> str:
    """The only line on stderr."""
    assert "Traceback" not in stderr
    (line,) = stderr.splitlines()
    assert line.startswith("error: ")
    return line


class TestInstalledCommand:
    """Every exit code from outside."""

    @pytest.mark.parametrize(
        ("arguments", "code", "part"),
        [
            (["base", "same"], 0, "HELD"),
            (["base", "worse"], 1, "REGRESSED"),
            (["base", "worse", "--max-drop", "acuracy=1"], 2, "Did you mean 'accuracy'"),
            (["none.cbbase", "worse"], 3, "convbench baseline save RUN -o none.cbbase"),
        ],
    )
    def test_exit_codes(self, arguments, code, part):
        done = subprocess.run([COMMAND, "compare", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert part in (done.stdout if code < 2 else one_line(done.stderr))

    @pytest.mark.parametrize("where", ["convbench.gate.judging.judge", "convbench.gate.outputs.junit.text"])
    def test_a_bug_is_70_and_never_1(self, where):
        """Also where the gate would fail, and where the bug is in an output: the other outputs are still written."""
        module, name = where.rsplit(".", 1)
        code = (
            f"import sys, {module} as broken\n"
            "from convbench.cli.app import run\n"
            "def bug(*args, **kwargs): raise ZeroDivisionError('a bug')\n"
            f"broken.{name} = bug\n"
            "sys.exit(run(['compare', 'base', 'worse', '-o', 'junit=j.xml', '-o', 'json=r.json']))\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 70
        assert "ZeroDivisionError: a bug" in done.stderr
        assert "internal error" in done.stderr
        assert Path("r.json").exists() == ("outputs" in where)
        assert ("REGRESSED" in done.stdout) == ("outputs" in where)

    def test_a_reader_that_has_gone_leaves_the_exit_code(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        command = [COMMAND, "compare", "base", "worse", "-o", "json=r.json"]
        done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write_end)
        assert (done.returncode, done.stderr) == (1, "")
        assert Path("r.json").exists()

    def test_it_needs_neither_torch_nor_pandas_nor_matplotlib(self):
        code = (
            "import sys\nfrom convbench.cli.app import run\n"
            f"code = run(['compare', 'base', 'worse', *{[x for k in KINDS for x in ('-o', f'{k}=out/{k}')]!r}])\n"
            "print(code, sorted({'torch', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules)), file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.splitlines()[-1] == "1 []"
        assert sorted(path.name for path in Path("out").iterdir()) == sorted(KINDS)

    @pytest.mark.parametrize("arguments", [["baseline", "--help"], ["baseline", "save", "--help"], ["baseline", "sv"]])
    def test_help_and_usage_errors_import_nothing_heavy(self, arguments):
        code = (
            f"import sys\nfrom convbench.cli.app import run\nrun({arguments!r})\n"
            "print(sorted({'torch', 'numpy', 'scipy', 'rich', 'pandas'} & set(sys.modules)), file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.splitlines()[-1] == "[]"


def test_identity_all_zero(cli):
    code, output, _ = cli("compare", "base", "base", "-o", "csv=r.csv", "--fail-on", "regressed,suspect,missing,broken")
    assert code == 0
    assert "HELD" in output
    rows = list(csv.DictReader(Path("r.csv").read_text().splitlines()))
    assert len(rows) > 8
    assert {float(row["change"]) for row in rows if row["change"]} == {0.0}
    assert {float(row["p"]) for row in rows if row["p"]} == {1.0}


def test_swapped_sides_negate(cli):
    tables = [
        {
            (row["metric"], row["corruption"], row["severity"], row["layer"]): row
            for row in csv.DictReader(io.StringIO(text))
        }
        for text in (cli("compare", *sides, "-o", "csv=-")[1] for sides in (("base", "worse"), ("worse", "base")))
    ]
    assert tables[0].keys() == tables[1].keys()
    changes = [
        (float(row["change"]), float(tables[1][key]["change"]))
        for key, row in tables[0].items()
        if row["scale"] != "ratio"
    ]
    assert sum(one != 0 for one, _ in changes) >= 5
    assert all(one == pytest.approx(-other, abs=1e-12) for one, other in changes)


def test_none_or_one_argument_or_by_is_the_table(cli):
    for arguments in (["base"], ["base", "worse", "--by", "run_id"], ["*", "--by", "norm"]):
        code, output, stderr = cli("compare", *arguments)
        assert code == 0, stderr
        assert "accuracy per" in output


def test_all_outputs_are_written_before_the_exit_code(cli):
    outputs = [f"{kind}=out/{kind}" for kind in KINDS]
    code, table, stderr = cli("compare", "base", "worse", *(x for output in outputs for x in ("-o", output)))
    assert code == 1, stderr
    assert table.startswith("REGRESSED")
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(KINDS)
    assert all(path.stat().st_size > 100 for path in Path("out").iterdir())
    report = json.loads(Path("out/json").read_text())
    assert report["verdict"] == "REGRESSED"


def test_an_output_to_stdout_is_alone_there(cli):
    code, output, stderr = cli("compare", "base", "worse", "-o", "json=-")
    assert (code, stderr) == (1, "")
    assert json.loads(output)["verdict"] == "REGRESSED"


class TestUnwritableOutputs:
    @pytest.fixture(autouse=True)
    def blocked(self):
        Path("blocked").write_text("a file where a folder should be")

    @pytest.mark.parametrize(("candidate", "options", "code"), [("same", [], 2), ("worse", [], 1),
                                                               ("worse", ["--exit-zero"], 2)])  # fmt: skip
    def test_the_others_are_written_and_a_failed_gate_stays_failed(self, cli, candidate, options, code):
        outputs = ["-o", "md=blocked/x.md", "-o", "json=r.json", "-o", "junit=blocked/j.xml"]
        found, table, stderr = cli("compare", "base", candidate, *outputs, *options)
        assert found == code
        assert [line.partition(":")[2].split(":")[0] for line in stderr.splitlines()] == [
            " cannot write blocked/x.md",
            " cannot write blocked/j.xml",
        ]
        assert json.loads(Path("r.json").read_text())
        assert table

    def test_a_full_disk(self, cli):
        code, _, stderr = cli("compare", "base", "same", "-o", "md=/dev/full")
        assert code == 2
        assert "cannot write /dev/full: no space left on device" in one_line(stderr)
        assert Path("/dev/full").is_char_device()

    def test_a_folder(self, cli):
        Path("folder").mkdir()
        code, _, stderr = cli("compare", "base", "same", "-o", "md=folder")
        assert code == 2
        assert "cannot write folder" in one_line(stderr)

    def test_github_files(self, cli, monkeypatch):
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", "blocked/summary")
        code, _, stderr = cli("compare", "base", "same", "-o", "json=r.json")
        assert code == 2
        assert "blocked/summary" in one_line(stderr)


class TestGitHub:
    @pytest.fixture(autouse=True)
    def step(self, monkeypatch):
        for variable in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
            monkeypatch.setenv(variable, variable)
        monkeypatch.setenv("GITHUB_ACTIONS", "true")

    def test_summary_outputs_and_annotations(self, cli):
        code, output, _ = cli("compare", "base", "worse")
        assert code == 1
        assert "REGRESSED" in Path("GITHUB_STEP_SUMMARY").read_text()
        assert "verdict=REGRESSED\n" in Path("GITHUB_OUTPUT").read_text()
        assert any(line.startswith("::error title=convbench") for line in output.splitlines())

    def test_commands_do_not_disturb_an_output_on_stdout(self, cli):
        _, output, stderr = cli("compare", "base", "worse", "-o", "json=-")
        assert json.loads(output)
        assert stderr.startswith("::error ")

    def test_they_can_be_turned_off(self, cli):
        _, output, _ = cli("compare", "base", "worse", "--no-summary")
        assert "::error" not in output
        assert not Path("GITHUB_OUTPUT").exists()
        assert not Path("GITHUB_STEP_SUMMARY").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["base", "worse", "--exit-zero"], 0, []),
        (["base", "worse", "--fail-on", "broken"], 0, []),
        (["base", "worse", "--max-drop", "mean_corrupted_accuracy=9"], 0, []),
        (["base", "same", "--min", "clean_acc=99"], 1, []),
        (["base", "same", "--min", "clean_acc=80"], 0, []),
        (["base", "same", "worse"], 1, []),
        (["base", "nowhere"], 2, ["nowhere"]),
        (["base", "worse", "--metric", "mean_ce"], 2, ["--metric is for tables", "--by"]),
        (["base", "worse", "--baseline", "bn"], 2, ["--baseline is for tables"]),
        (["base", "--strict"], 2, ["--strict is for a gate"]),
        (["base", "worse", "--by", "norm", "--max-drop", "accuracy=1"], 2, ["--max-drop is for a gate"]),
        (["base", "worse", "-o", "pdf=x"], 2, ["KIND=PATH", "junit"]),
        (["base", "worse", "-o", "plots=x"], 2, ["KIND=PATH", "junit"]),
        (["base", "-o", "html=x"], 2, ["html needs a baseline and a candidate"]),
        (["base", "worse", "-o", "md=-", "-o", "json=-"], 2, ["another output goes to -"]),
        (["base", "worse", "--alpha", "much"], 2, ["--alpha"]),
        (["base", "worse", "--filter", "corruption:(fog"], 2, ["character 12"]),
        (["base", "worse", "--filter", "corruption:forst"], 2, ["matches no condition"]),
        (["git:main:x.cbbase", "worse"], 2, ["git:main:x.cbbase"]),
    ],
)
def test_options_and_their_exit_codes(cli, monkeypatch, tmp_path, arguments, code, parts):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found, output, stderr = cli("compare", *arguments)
    assert found == code, output + stderr
    if code == 2:
        for part in parts:
            assert part in one_line(stderr)
        assert output == ""


def test_rules_of_a_file_and_flags(cli):
    Path("convbench.toml").write_text("[compare.margin]\nmean_corrupted_acc = 9\n")
    assert cli("compare", "base", "worse")[0] == 0
    assert cli("compare", "base", "worse", "--max-drop", "mean_corrupted_accuracy=0.5")[0] == 1
    Path("convbench.toml").write_text("[compare]\nmargins = 3\n")
    code, _, stderr = cli("compare", "base", "worse")
    assert (code, "Did you mean 'margin'" in one_line(stderr)) == (2, True)
    assert cli("compare", "base")[0] == 0  # the table has no rules


def test_other_images_are_not_comparable(cli):
    write_folder(Path("other"), draw_bits(), settings={"data_fingerprint": "beef"})
    code, output, stderr = cli("compare", "base", "other", "-o", "json=r.json")
    assert (code, output) == (3, "")
    assert "fingerprint of the images is 'f00dfeed' in base and 'beef' in other" in one_line(stderr)
    assert not Path("r.json").exists()


def test_a_missing_condition_fails_the_gate_but_a_missing_shard_is_incomplete(cli):
    write_folder(Path("less"), draw_bits(conditions=[("fog", 1), ("fog", 3), ("snow", 1)]))
    code, output, _ = cli("compare", "base", "less")
    assert (code, "MISSING" in output) == (1, True)
    cells = [f"{c}-{s}" for c in ("fog", "snow") for s in (1, 3)]
    write_folder(
        Path("shard"), draw_bits(conditions=[("fog", 1)]), settings={"shard": [1, 4], "cells": ["none-0", *cells]}
    )
    code, _, stderr = cli("compare", "base", "shard")
    assert (code, "shard 1/4" in one_line(stderr)) == (3, True)


def test_several_seeds_are_one_arm(cli):
    for arm, drop in (("old", 0.0), ("new", 0.05)):
        for seed in range(3):
            write_folder(Path(f"{arm}/s{seed}"), draw_bits(drop=drop, seed=seed), seed=seed)
    code, output, stderr = cli("compare", "old/*", "new/*", "-o", "json=r.json")
    assert code == 1, output + stderr
    assert "images only" not in output
    assert cli("compare", "old", "old/*")[0] == 0
