"""Which runs an argument names, and what is refused before any number is read."""

import os
import shutil

import pytest

from convbench.comparison import load_runs, runs_of
from convbench.errors import NotComparableError, ResultsError
from convbench.rows import write_rows


def ids(loaded):
    return [run.rows[0].norm for run in loaded.runs]


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_without_arguments_every_evaluated_run_oldest_first(write_run):
    for age, norm in enumerate(["none", "bn", "mixture"]):
        os.utime(write_run(norm) / "config.json", (1000 - age, 1000 - age))
    write_run("convnorm", evaluated=False)
    loaded = load_runs()
    assert ids(loaded) == ["mixture", "bn", "none"]
    assert len(loaded.notes) == 1
    assert "convnorm" in loaded.notes[0]
    assert "not evaluated yet" in loaded.notes[0]


def test_a_folder_a_file_a_glob_and_a_folder_of_runs_name_the_same_run(write_run):
    folder = write_run("bn")
    for argument in (folder, folder / "results.csv", "runs/*", "runs/*/results.csv", "runs"):
        assert ids(load_runs([str(argument)])) == ["bn"], argument


def test_settings_and_versions_come_with_the_folder_but_not_with_a_copied_file(write_run, tmp_path):
    folder = write_run("bn", config={"epochs": 3})
    (run,) = load_runs([str(folder)]).runs
    assert run.config["epochs"] == 3
    assert run.settings["data_fingerprint"] == "f00d"
    assert run.record["conditions"]["versions"]["torch"] == "2.9.0"
    shutil.copy(folder / "results.csv", tmp_path / "copy.csv")
    (run,) = load_runs([str(tmp_path / "copy.csv")]).runs
    assert (run.config, run.settings, run.record) == ({}, {}, {})


def test_the_same_run_given_twice_counts_once(write_run):
    folder = write_run("bn")
    assert len(load_runs([str(folder), f"{folder}/../{folder.name}/results.csv", "runs/*"]).runs) == 1


def test_a_key_in_two_files_is_refused(write_run, tmp_path):
    folder = write_run("bn")
    shutil.copy(folder / "results.csv", tmp_path / "copy.csv")
    with pytest.raises(ResultsError, match=r"copy\.csv both hold accuracy"):
        load_runs([str(folder), str(tmp_path / "copy.csv")])


def test_one_file_may_hold_several_runs(make_run, tmp_path):
    write_rows(tmp_path / "all.csv", [row for norm in ("bn", "none") for row in make_run(norm).rows])
    assert ids(load_runs([str(tmp_path / "all.csv")])) == ["bn", "none"]


def test_nothing_to_compare_says_what_to_do(write_run):
    with pytest.raises(NotComparableError, match=r"convbench train.*convbench evaluate") as caught:
        load_runs()
    assert caught.value.exit_code == 3
    write_run("bn", evaluated=False)
    with pytest.raises(NotComparableError, match="not evaluated yet"):
        load_runs()


def test_a_named_run_that_is_not_evaluated_is_an_error(write_run):
    write_run("none")
    folder = write_run("bn", evaluated=False)
    with pytest.raises(NotComparableError, match="convbench evaluate"):
        load_runs([str(folder)])


@pytest.mark.parametrize("argument", ["runs/nope", "nope.csv", "nope*"])
def test_a_missing_path_is_named(argument):
    with pytest.raises(ResultsError) as caught:
        load_runs([argument])
    assert argument in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(ResultsError, match="not a run folder"):
        load_runs(["photos"])


def test_another_tools_csv_is_refused_with_its_columns(tmp_path):
    (tmp_path / "foreign.csv").write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(ResultsError, match=r"foreign\.csv is not a convbench results file.*loss"):
        load_runs(["foreign.csv"])


def test_a_header_without_rows_is_left_out_with_a_note(write_run):
    write_run("none")
    write_rows(write_run("bn") / "results.csv", [])
    loaded = load_runs()
    assert ids(loaded) == ["none"]
    assert "no rows yet" in loaded.notes[0]


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_record_is_named(write_run, content):
    (write_run("bn") / "run.json").write_text(content)
    with pytest.raises(ResultsError, match=r"run\.json"):
        load_runs()


def test_one_run_id_cannot_stand_for_two_networks(make_run):
    rows = [*make_run("bn", run_id="x").rows, *make_run("none", run_id="x").rows]
    with pytest.raises(ResultsError, match="two networks: norm is 'bn' and 'none'"):
        runs_of(rows)
