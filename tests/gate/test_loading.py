"""One side from its argument: what is taken, and what is refused with which words."""

import base64
import fcntl
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from convbench.errors import ConfigError, ConvbenchError, NotComparableError, ResultsError
from convbench.gate.arms import Arm
from convbench.gate.baselines import save_baseline
from convbench.gate.loading import exists, join, load_arm, load_baseline, with_own_labels
from tests.gate.folders import CONDITIONS, draw_bits, write_folder


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(error: type[ConvbenchError], argument: str, *parts: str, code: int | None = None) -> None:
    with pytest.raises(error) as caught:
        load_arm(argument)
    for part in parts:
        assert part in str(caught.value), caught.value
    assert caught.value.exit_code == (code or error.exit_code)


def same_bits(arm: Arm, bits) -> bool:
    (evidence,) = arm.evidence
    return evidence.correct.keys() == bits.keys() and all(
        found.dtype == bool and np.array_equal(found, bits[key]) for key, found in evidence.correct.items()
    )


def test_a_run_folder_gives_rows_settings_and_bits():
    bits = draw_bits(n=1001)  # not a multiple of 8
    arm = load_arm(str(write_folder(Path("run"), bits)))
    assert same_bits(arm, bits)
    assert arm.label == "run"
    run = arm.evidence[0].run
    assert run.settings["data_fingerprint"] == "f00dfeed"
    for row in run.rows:
        if row.metric == "accuracy":
            assert row.value == bits[row.corruption, row.severity].mean()
    assert arm.evidence[0].confidence is None


@pytest.mark.parametrize("name", ["run/results.csv", "run"])
def test_the_results_of_a_folder_bring_its_bits(name):
    bits = draw_bits()
    write_folder(Path("run"), bits)
    assert same_bits(load_arm(name), bits)


def test_a_csv_alone_has_no_bits():
    shutil.copy(write_folder(Path("run"), draw_bits()) / "results.csv", "alone.csv")
    arm = load_arm("alone.csv")
    assert (arm.label, dict(arm.evidence[0].correct), dict(arm.evidence[0].run.settings)) == ("alone", {}, {})


def test_confidence_and_nll_of_clean_images_are_read_where_they_were_stored():
    bits = draw_bits(n=100)
    folder = write_folder(Path("run"), bits)
    (evidence,) = load_arm("run").evidence
    assert (evidence.confidence, evidence.nll) == (None, None)
    cell = json.loads((folder / "evaluation/none-0.json").read_text())
    values = {"confidence": np.linspace(0.5, 1, 100), "nll": -np.log(np.linspace(0.5, 1, 100))}
    cell |= {name: base64.b64encode(v.astype("<f4").tobytes()).decode() for name, v in values.items()}
    (folder / "evaluation/none-0.json").write_text(json.dumps(cell))
    (evidence,) = load_arm("run").evidence
    assert evidence.confidence == pytest.approx(values["confidence"], abs=5e-4)
    assert evidence.nll == pytest.approx(values["nll"], abs=5e-4)
    cell["nll"] = cell["nll"][:80]
    (folder / "evaluation/none-0.json").write_text(json.dumps(cell))
    refused(ResultsError, "run", "none-0.json", "15 numbers for 100 images")


def test_seeds_of_one_network_are_one_arm():
    for seed in (0, 1, 2):
        write_folder(Path(f"runs/bn-s{seed}"), draw_bits(seed=seed), seed=seed)
    for argument in ("runs/bn-*", "runs"):
        arm = load_arm(argument)
        assert [evidence.run.seed for evidence in arm.evidence] == [0, 1, 2]
        assert all(len(evidence.correct) == 1 + len(CONDITIONS) for evidence in arm.evidence)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"columns": {"norm": "none"}}, ["differ in norm", "'bn'", "'none'"]),
        ({"columns": {"label_noise": "pair", "label_noise_rate": 0.4}}, ["differ in label_noise"]),
        ({"config": {"epochs": 9}}, ["differ in epochs", "3", "9"]),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_no_arm(changes, parts):
    write_folder(Path("runs/a"), draw_bits(), seed=0, config={"epochs": 3})
    second = {"config": {"epochs": 3}} | changes
    write_folder(Path("runs/b"), draw_bits(), seed=1, run_id="digits-b", **second)
    refused(NotComparableError, "runs/*", "runs/* holds runs that", *parts, "digits-b", "--by", code=3)


def test_seeds_that_read_the_same_images_from_two_folders_are_one_arm():
    for seed, path in enumerate(("folder:/here/pets", "folder:~/pets")):
        columns, config = {"dataset": path}, {"dataset": path}
        write_folder(Path(f"runs/s{seed}"), draw_bits(seed=seed), seed=seed, columns=columns, config=config)
    arm = load_arm("runs")
    assert [one.run.rows[0].dataset for one in arm.evidence] == ["folder:/here/pets", "folder:~/pets"]
    settings = Path("runs/s1/evaluation/settings.json")
    settings.write_text(settings.read_text().replace("f00dfeed", "beef"))
    refused(NotComparableError, "runs", "differ in dataset", "folder:/here/pets", "folder:~/pets", code=3)


def test_a_seed_that_is_not_evaluated_is_not_left_out_unseen():
    write_folder(Path("runs/a"), draw_bits())
    Path("runs/b").mkdir()
    Path("runs/b/config.json").write_text("{}")
    refused(NotComparableError, "runs", "runs/b is not evaluated yet", code=3)


def test_a_run_is_not_joined_with_itself():
    write_folder(Path("a"), draw_bits())
    shutil.copytree("a", "b")
    with pytest.raises(ResultsError, match="is there twice"):
        join([load_arm("a"), load_arm("b")])


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("epoch,loss\n1,0.5\n", ["not a convbench results file"]),
        ("", ["not a convbench results file"]),
        ("run_id,task,", ["not a convbench results file"]),
        ("\x00\x01", ["not a convbench results file"]),
    ],
)
def test_foreign_and_torn_tables_are_refused(content, parts):
    Path("other.csv").write_text(content)
    refused(ResultsError, "other.csv", "other.csv", *parts, code=2)


def test_a_table_cut_in_a_line_is_refused():
    text = (write_folder(Path("run"), draw_bits()) / "results.csv").read_text()
    Path("torn.csv").write_text(text[: len(text) * 2 // 3])
    refused(ResultsError, "torn.csv", "torn.csv, line", code=2)


def test_what_does_not_exist_is_refused():
    refused(ResultsError, "nowhere", "nowhere", code=2)
    Path("empty").mkdir()
    refused(ResultsError, "empty", "not a run folder", code=2)
    for argument in ("", " "):  # of a shell variable that was never set, and not the working directory
        refused(ConfigError, argument, "empty text", code=2)
        with pytest.raises(ConfigError):
            load_baseline(argument)


def test_a_missing_baseline_names_the_command_that_makes_it():
    with pytest.raises(NotComparableError) as caught:
        load_baseline(".convbench/main.cbbase")
    assert "`convbench baseline save RUN -o .convbench/main.cbbase`" in str(caught.value)
    assert "--allow-missing-baseline" in str(caught.value)
    with pytest.raises(NotComparableError, match=r"-o \.convbench/baseline\.cbbase"):
        load_baseline("runs/main")


class TestIncompleteRuns:
    """A run that is being written, was interrupted, or is a part of one must not look like a worse network: exit 3."""

    def test_in_use(self):
        folder = write_folder(Path("run"), draw_bits())
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            refused(NotComparableError, "run", "run is in use", code=3)
        assert load_arm("run").evidence[0].correct

    def test_a_shard(self):
        cells = ["none-0", *(f"{c}-{s}" for c, s in CONDITIONS), "frost-1", "frost-3", "haze-1", "haze-2"]
        write_folder(Path("run"), draw_bits(), settings={"shard": [1, 4], "cells": cells})
        refused(NotComparableError, "run", "shard 1/4", "frost-1, frost-3, haze-1 and 1 more are missing",
                "convbench merge", code=3)  # fmt: skip

    def test_an_interrupted_evaluation(self):
        write_folder(Path("run"), draw_bits(), settings={"cells": ["none-0", "frost-1"]})
        refused(NotComparableError, "run", "not finished: frost-1 is missing", code=3)

    def test_a_plan_that_is_done_is_whole(self):
        cells = ["none-0", *(f"{c}-{s}" for c, s in CONDITIONS)]
        write_folder(Path("run"), draw_bits(), settings={"cells": cells})
        assert len(load_arm("run").evidence[0].correct) == 5

    def test_a_cell_that_the_table_has_and_the_folder_has_not(self):
        folder = write_folder(Path("run"), draw_bits())
        (folder / "evaluation/fog-3.json").unlink()
        refused(NotComparableError, "run", "run is incomplete", "fog-3", code=3)

    def test_a_cell_that_the_table_has_not(self):
        folder = write_folder(Path("run"), draw_bits())
        lines = (folder / "results.csv").read_text().splitlines(keepends=True)
        (folder / "results.csv").write_text("".join(line for line in lines if ",snow,3," not in line))
        refused(NotComparableError, "run", "older than its evaluation: snow-3 is missing", code=3)

    def test_metrics_of_the_network_are_no_conditions(self):
        folder = write_folder(Path("run"), draw_bits())
        (folder / "evaluation/spectral_norm-tol=1e-6.json").write_text('{"rows": []}')
        assert len(load_arm("run").evidence[0].correct) == 5

    def test_cells_of_another_evaluation(self):
        """Half of the cells are of a second evaluation that the table does not know: never mixed."""
        folder = write_folder(Path("run"), draw_bits())
        other = write_folder(Path("other"), draw_bits(seed=1))
        shutil.copy(other / "evaluation/snow-1.json", folder / "evaluation/snow-1.json")
        refused(ResultsError, "run", "snow-1.json", "of another evaluation", code=2)

    @pytest.mark.parametrize("damage", ["", "{", '{"n": 2000}', '{"n": 2000, "correct": "AAAA"}', "[]"])
    def test_a_torn_cell(self, damage):
        folder = write_folder(Path("run"), draw_bits())
        (folder / "evaluation/snow-1.json").write_text(damage)
        refused(ResultsError, "run", "snow-1.json", code=2)

    def test_torn_settings(self):
        folder = write_folder(Path("run"), draw_bits())
        (folder / "evaluation/settings.json").write_text('{"weights')
        refused(ResultsError, "run", "settings.json", code=2)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A commit with a baseline file, a table, and files that are neither."""
    root = tmp_path_factory.mktemp("repository")
    folder = write_folder(root / "run", draw_bits(n=64))
    save_baseline([str(folder)], root / "base.cbbase", author="A")
    (root / "sub").mkdir()
    shutil.copy(folder / "results.csv", root / "sub/table.csv")
    (root / "pointer.cbbase").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (root / "text.csv").write_text("no,table\n")
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c"]
    for command in (["init", "-q", "-b", "trunk"], ["add", "-A"], ["commit", "-q", "-m", "x"], ["tag", "v1"]):
        subprocess.run([*git, *command], cwd=root, check=True)
    for name in ("base.cbbase", "sub/table.csv"):
        (root / name).unlink()  # what is read is the commit, not the working tree
    return root


class TestGit:
    """Files as they were committed."""

    @pytest.fixture(autouse=True)
    def inside(self, repository, monkeypatch):
        monkeypatch.chdir(repository)

    def test_a_baseline_file(self):
        arm = load_arm("git:v1:base.cbbase")
        assert arm.label == "v1"
        assert same_bits(arm, draw_bits(n=64))

    def test_a_table(self, monkeypatch):
        assert len(load_arm("git:HEAD~0:sub/table.csv").evidence[0].run.rows) > 10
        monkeypatch.chdir("sub")
        assert load_arm("git:trunk:./table.csv").evidence[0].run.path is None

    @pytest.mark.parametrize(
        ("argument", "error", "part"),
        [
            ("git:mainn:base.cbbase", ConfigError, "git knows no revision 'mainn'"),
            ("git:v1:gone.cbbase", NotComparableError, "does not exist in 'v1'"),
            ("git:v1:sub", NotComparableError, "git has no such file"),
            ("git:v1:pointer.cbbase", ResultsError, "pointer of Git LFS"),
            ("git:v1:text.csv", ResultsError, "git:v1:text.csv is not a convbench results file"),
            ("git:v1", ConfigError, "git:REVISION:PATH"),
            ("git::x", ConfigError, "git:REVISION:PATH"),
            ("git:--help:x", ConfigError, "git:REVISION:PATH"),
            ("git:v1; touch hacked:x", ConfigError, "no revision"),
        ],
    )
    def test_what_cannot_be_read(self, argument, error, part):
        refused(error, argument, part)
        assert not Path("hacked").exists()

    def test_a_missing_file_is_a_missing_baseline(self):
        assert exists("git:v1:base.cbbase")
        with pytest.raises(NotComparableError, match="convbench baseline save"):
            load_baseline("git:v1:gone.cbbase")

    def test_outside_a_repository(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        refused(ConfigError, "git:v1:base.cbbase", "not a git repository")

    def test_without_git(self, monkeypatch):
        monkeypatch.setenv("PATH", "/nonexistent")
        refused(ConfigError, "git:v1:base.cbbase", "git is not installed")


def test_labels_tell_arms_apart():
    def labels(*pairs):
        arms = [Arm(label=label, source=source, evidence=()) for label, source in pairs]
        return [arm.label for arm in with_own_labels(arms)]

    assert labels(("a", "x/a"), ("b", "x/b")) == ["a", "b"]
    assert labels(("a", "x/a"), ("a", "y/a"), ("b", "b")) == ["x/a", "y/a", "b"]
    assert labels(("a", "a"), ("a", "a")) == ["a (1)", "a (2)"]
