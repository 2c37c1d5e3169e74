"""Shards of one evaluation, merged: the bytes of the whole, and nothing smaller than it."""

import json
import shutil
from dataclasses import replace

import pytest

from convbench.config import EvalConfig
from convbench.errors import NotComparableError, ResultsError
from convbench.evaluation import plan
from convbench.names import resolved_evaluation
from convbench.results import cells_of_shard, evaluate_to
from convbench.shards import merge
from convbench.subject import subject_of_run

CONFIG = EvalConfig(
    corruptions=("gaussian_noise", "contrast"), severities=(1, 5), examples=40, network_metrics=("spectral_norm",)
)


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    """The whole evaluation, and its three shards, each on its own copy of the run."""
    root = tmp_path_factory.mktemp("shards")
    for name, shard in (("whole", (1, 1)), ("a", (1, 3)), ("b", (2, 3)), ("c", (3, 3))):
        shutil.copytree(trained.folder, root / name)
        evaluate_to(root / name, subject_of_run(trained), CONFIG, device="cpu", shard=shard)
    return root


@pytest.fixture
def shards(measured, tmp_path):
    """Copies that a test may spoil."""
    for name in "abc":
        shutil.copytree(measured / name, tmp_path / name)
    return [tmp_path / name for name in "abc"]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_every_cell_is_in_exactly_one_shard(count):
    cells = plan(resolved_evaluation(EvalConfig(corruptions=("common",))))
    found = [cell for number in range(1, count + 1) for cell in cells_of_shard(cells, (number, count))]
    assert sorted(cell.name for cell in found) == sorted(cell.name for cell in cells)


def test_merged_shards_are_the_whole_evaluation(measured, shards, tmp_path):
    merged = merge(shards[::-1], tmp_path / "out")
    assert merged.results.path.read_bytes() == (measured / "whole" / "results.csv").read_bytes()
    for path in (measured / "whole" / "evaluation").glob("*.json"):
        ours = json.loads((tmp_path / "out" / "evaluation" / path.name).read_text())
        assert ours == json.loads(path.read_text())
    assert (tmp_path / "out" / "config.json").exists()
    assert merged.warnings == ()
    assert merge(shards, tmp_path / "out").results.rows == merged.results.rows  # once more changes nothing


def test_shards_one_after_the_other_in_one_folder(measured, trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained.folder, folder)
    for number in (2, 1, 3):
        evaluate_to(folder, subject_of_run(trained), CONFIG, device="cpu", shard=(number, 3))
    assert (folder / "results.csv").read_bytes() == (measured / "whole" / "results.csv").read_bytes()


def test_a_missing_shard_is_named_and_may_come_later(measured, shards, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(NotComparableError, match=r"2 of 6 cells are in none of the 2 shards: gaussian_noise-1"):
        merge([shards[0], shards[2]], out)
    assert merge([shards[1]], out).results.path.read_bytes() == (measured / "whole" / "results.csv").read_bytes()


def test_shards_of_other_conditions_are_refused(shards, trained, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(trained.folder, other)
    evaluate_to(other, subject_of_run(trained), replace(CONFIG, examples=30), device="cpu", shard=(2, 3))
    with pytest.raises(NotComparableError, match=r"examples is 40 and 30"):
        merge([shards[0], other], tmp_path / "out")
    assert not (tmp_path / "out" / "results.csv").exists()


def test_shards_of_different_archives_are_joined_and_contradicting_ones_refused(shards, tmp_path):
    def state(folder, prints):
        path = folder / "evaluation" / "settings.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"archive": {"fingerprints": prints}}))

    state(shards[0], {"fog": "1"})
    state(shards[1], {"snow": "2"})
    merge(shards, tmp_path / "out")
    joined = json.loads((tmp_path / "out" / "evaluation" / "settings.json").read_text())
    assert joined["archive"] == {"fingerprints": {"fog": "1", "snow": "2"}}
    state(shards[2], {"fog": "3"})
    with pytest.raises(NotComparableError, match="fog is '1' and '3'"):
        merge(shards, tmp_path / "other")


def test_two_values_of_one_cell_are_refused(shards, tmp_path):
    cell = shards[0] / "evaluation" / "none-0.json"
    other = json.loads(cell.read_text())
    other["rows"][0]["value"] = "0.123"
    (shards[1] / "evaluation" / "none-0.json").write_text(json.dumps(other))
    with pytest.raises(ResultsError, match=r"different measurements of none-0"):
        merge(shards, tmp_path / "out")


def test_the_command(cli, shards, measured, tmp_path):
    code, out, _ = cli("merge", *shards, "--out", "runs/pr")
    assert (code, out.strip()) == (0, "runs/pr/results.csv")
    code, _, err = cli("compare", measured / "whole", shards[0])
    assert code == 3
    assert "shard 1/3 alone" in err
    code, _, err = cli("compare", measured / "whole", "runs/pr")
    assert code == 0, err
    code, _, err = cli("merge", shards[0], tmp_path / "nothing", "--out", "runs/other")
    assert (code, err.count("\n")) == (2, 1)
    assert "nothing is no evaluated run" in err


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", ""])
def test_a_shard_that_is_none(cli, shard):
    code, _, err = cli("evaluate", "--shard", shard)
    assert code == 2
    assert f"--shard takes I/N with 1 <= I <= N, as 2/4; got {shard!r}." in err
