"""`convbench baseline`, and files that are damaged or written while they are read."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from convbench.errors import NotComparableError, ResultsError
from convbench.gate.loading import load_arm
from tests.cli.test_compare_gate import one_line
from tests.gate.folders import draw_bits, write_folder


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """`worse` loses 3 % of the images of `base` under every corruption; `same` loses none."""
    monkeypatch.chdir(tmp_path)
    for name, drop in (("base", 0.0), ("same", 0.0), ("worse", 0.03)):
        write_folder(tmp_path / name, draw_bits(drop=drop), run_id=f"digits-{name}")


class TestBaselineCommands:
    def test_save_compare_update(self, cli):
        code, output, _ = cli("baseline", "save", "base", "--author", "Ada")
        assert (code, output.startswith(".convbench/baseline.cbbase: digits-base, ")) == (0, True)
        file = ".convbench/baseline.cbbase"
        assert cli("compare", file, "base")[0] == 0
        assert cli("compare", file, "worse")[0] == 1
        assert cli("compare", "base", file)[0] == 0
        code, output, stderr = cli("baseline", "update", "--from", "worse", "--reason", "wanted", "--author", "Bob")
        assert (code, stderr) == (0, "")
        assert cli("compare", file, "worse")[0] == 0
        code, output, _ = cli("baseline", "show")
        assert code == 0
        for part in ("digits-worse", "wanted (Bob, convbench", "first baseline (Ada", "fog 1, 3"):
            assert part in output

    @pytest.mark.parametrize(
        ("arguments", "code", "part"),
        [
            (["save", "nowhere"], 2, "nowhere"),
            (["save"], 2, "RUN"),
            (["save", "base", "worse"], 3, "same seed"),
            (["show"], 2, "no such file"),
            (["show", "base/results.csv"], 2, "not a baseline file"),
            (["update", "--from", "base"], 2, "--reason"),
            (["update", "--from", "base", "--reason", "x"], 3, "convbench baseline save"),
            (["sve"], 2, "unknown command 'sve'. Did you mean 'save'? Choose from: save, show, update."),
        ],
    )
    def test_what_is_wrong_is_one_line(self, cli, arguments, code, part):
        write_folder(Path("worse2"), draw_bits())
        found, _, stderr = cli("baseline", *arguments)
        assert part in one_line(stderr)
        assert found == code

    def test_what_a_bare_csv_does_not_say_is_noted(self, cli):
        shutil.copy("base/results.csv", "alone.csv")
        commands = (
            ("baseline", "save", "alone.csv"),
            ("baseline", "update", "--from", "alone.csv", "--reason", "smaller"),
            ("compare", "other.cbbase", "alone.csv", "--allow-missing-baseline"),
        )
        for arguments in commands:
            code, _, stderr = cli(*arguments)
            unknown, unpaired = stderr.splitlines()
            assert (code, unpaired.startswith("note: no correctness bits of digits-base")) == (0, True)
            assert "alone does not say: the images and their order, the seed of the corruptions" in unknown
        assert cli("baseline", "save", "base", "-o", "whole.cbbase")[2] == ""

    def test_the_first_run_on_main_makes_it(self, cli):
        arguments = ["compare", "new/b.cbbase", "base", "--allow-missing-baseline"]
        code, output, _ = cli(*arguments)
        assert (code, output) == (
            0, "there was no baseline: base is it now, in new/b.cbbase. Nothing was compared.\n")  # fmt: skip
        before = Path("new/b.cbbase").read_bytes()
        code, output, _ = cli(*arguments)
        assert (code, "HELD" in output) == (0, True)
        assert cli("compare", "new/b.cbbase", "worse", "--allow-missing-baseline")[0] == 1
        assert Path("new/b.cbbase").read_bytes() == before

    @pytest.mark.parametrize(
        ("arguments", "code", "part"),
        [
            (["gone", "base"], 2, "makes a .cbbase file"),
            (["x.cbbase", "base", "same"], 2, "one candidate"),
            (["x.cbbase", "nowhere"], 2, "nowhere"),
        ],
    )
    def test_only_a_baseline_file_is_made_of_one_whole_run(self, cli, arguments, code, part):
        found, _, stderr = cli("compare", *arguments, "--allow-missing-baseline")
        assert (found, part in one_line(stderr)) == (code, True)
        assert not Path("x.cbbase").exists()

    @pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "merge"])
    def test_a_damaged_file_is_2_and_never_1(self, cli, damage):
        cli("baseline", "save", "base", "-o", "b.cbbase")
        content = bytearray(Path("b.cbbase").read_bytes())
        if damage == "torn":
            content = content[: len(content) // 2]
        elif damage == "flipped":
            content[len(content) * 3 // 4] ^= 1
        elif damage == "empty":
            content = bytearray()
        else:
            content = content.replace(b'\n"runs"', b'\n<<<<<<< ours\n"runs"')
        Path("b.cbbase").write_bytes(content)
        code, _, stderr = cli("compare", "b.cbbase", "worse")
        assert (code, "b.cbbase" in one_line(stderr)) == (2, True)


@pytest.mark.parametrize("damage", ["results.csv", "evaluation/fog-1.json", "evaluation/settings.json", "config.json"])
def test_a_corrupt_candidate_is_2_and_never_1(cli, damage):
    path = Path("worse") / damage
    path.write_bytes(path.read_bytes()[:-30] + b"\xff\x00")
    code, _, stderr = cli("compare", "base", "worse")
    assert (code, damage in one_line(stderr)) == (2, True)


def test_a_run_that_is_written_meanwhile_is_never_half_read(tmp_path):
    """A writer turns `base` into `worse` and back, file by file, as an evaluation does; a reader sees one of them."""
    expected = [load_arm(name).evidence[0] for name in ("base", "worse")]
    stop = threading.Event()
    shutil.copytree("base", "run")

    def write() -> None:
        while not stop.is_set():
            for name in ("worse", "base"):
                for source in [*sorted(Path(name).rglob("*.json")), Path(name) / "results.csv"]:
                    target = Path("run") / source.relative_to(name)
                    shutil.copy(source, target.with_suffix(".part"))
                    target.with_suffix(".part").replace(target)

    writer = threading.Thread(target=write)
    writer.start()
    refused = 0
    try:
        for attempt in range(3000):
            try:
                (evidence,) = load_arm("run").evidence
            except (ResultsError, NotComparableError):
                refused += 1
                continue
            (whole,) = [one for one in expected if one.run.rows == evidence.run.rows]
            assert all(np.array_equal(whole.correct[key], bits) for key, bits in evidence.correct.items())
            if refused and attempt >= 40:
                break
    finally:
        stop.set()
        writer.join()
    assert refused  # else the two never met, and nothing was tested
