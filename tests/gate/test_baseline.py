"""The baseline file: equal after a round trip, small, the same bytes again, and refused once it was touched."""

import base64
import getpass
import hashlib
import json
import os
import shutil
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.errors import ConfigError, ConvbenchError, NotComparableError, ResultsError
from convbench.gate.arms import Arm, Evidence
from convbench.gate.baseline_file import Baseline, format_baseline, parse_baseline, read_baseline, reason_for
from convbench.gate.baselines import default_author, save_baseline, update_baseline
from convbench.gate.comparing import compare_arms
from convbench.gate.correctness import decode_bits, encode_bits
from convbench.gate.loading import load_arm
from convbench.gate.showing import baseline_text
from tests.gate.folders import draw_bits, draw_confidences, store_confidences, write_folder

FILE = Path("base.cbbase")
CORRUPTIONS = [f"corruption_{i:02}" for i in range(15)]


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def same(one: Evidence, other: Evidence) -> None:
    assert one.run.rows == other.run.rows
    assert one.run.settings == other.run.settings
    assert list(one.correct) == list(other.correct)
    for condition, bits in one.correct.items():
        assert other.correct[condition].dtype == bool
        assert np.array_equal(other.correct[condition], bits)
    for name in ("confidence", "nll"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None)
        assert mine is None or np.array_equal(mine, theirs)


def test_a_run_is_the_same_after_a_round_trip():
    bits = draw_bits(n=1003)
    store_confidences(write_folder(Path("run"), bits), **draw_confidences(bits["none", 0]))
    save_baseline(["run"], FILE, author="A")
    same(load_arm("run").evidence[0], load_arm(str(FILE)).evidence[0])


def test_a_saved_baseline_gives_the_same_statistics_as_its_folder():
    for name, drop in (("a", 0.0), ("b", 0.02)):
        bits = draw_bits(drop=drop)
        folder = write_folder(Path(name), bits, run_id=f"digits-{name}")
        store_confidences(folder, **draw_confidences(bits["none", 0], seed=len(name)))
    save_baseline(["a"], FILE, author="A")
    reports = [compare_arms(load_arm(side), [load_arm("b")]) for side in ("a", str(FILE))]
    first, second = (report.judgements[0].checks for report in reports)
    assert first == second
    assert any(check.metric == "ece" and check.low is not None for check in first)


def test_several_seeds_and_numbers_that_are_not_finite():
    for seed in (0, 1):
        folder = write_folder(Path(f"runs/s{seed}"), draw_bits(n=64, seed=seed), seed=seed, upper=float("inf"))
        text = (folder / "results.csv").read_text().replace(",2.0,64", ",nan,64")
        (folder / "results.csv").write_text(text)
    save_baseline(["runs/s0", "runs/s1"], FILE, author="A")
    back, arm = load_arm(str(FILE)), load_arm("runs")
    assert [repr(e.run.rows) for e in back.evidence] == [repr(e.run.rows) for e in arm.evidence]  # NaN is not itself


def test_a_csv_alone_is_saved_without_bits():
    shutil.copy(write_folder(Path("run"), draw_bits()) / "results.csv", "alone.csv")
    save_baseline(["alone.csv"], FILE, author="A")
    same(load_arm("alone.csv").evidence[0], load_arm(str(FILE)).evidence[0])


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 2**32 - 1)), max_size=6))
def test_bits_of_any_sizes_are_the_same_after_a_round_trip(sizes):
    correct = {(f"c{i}", i): np.random.default_rng(seed).random(n) < seed / 2**32 for i, (n, seed) in enumerate(sizes)}
    back = decode_bits(json.loads(json.dumps(encode_bits(correct))))
    assert back.keys() == correct.keys()
    assert all(np.array_equal(back[condition], bits) for condition, bits in correct.items())


def test_the_file_is_small():
    """75 conditions of 10,000 images, as unlike one another as conditions get: at most 150 KiB."""
    generator = np.random.default_rng(0)
    skill, n = generator.normal(0, 2, 10_000), 10_000
    bits = {("none", 0): skill + generator.logistic(size=n) > -3}
    for corruption in CORRUPTIONS:
        hard = generator.normal(-2.5, 0.8)
        for severity in range(1, 6):
            bits[corruption, severity] = skill + generator.logistic(size=n) > hard + 0.5 * severity
    assert 0.6 < np.mean(list(bits.values())) < 0.7
    store_confidences(write_folder(Path("run"), bits), **draw_confidences(bits["none", 0]))
    save_baseline(["run"], FILE, author="A")
    assert FILE.stat().st_size <= 150 * 1024
    same(load_arm("run").evidence[0], load_arm(str(FILE)).evidence[0])


def test_equal_input_gives_equal_bytes_and_no_local_paths():
    write_folder(Path("run"), draw_bits())
    save_baseline(["run"], FILE, author="A")
    save_baseline(["run"], Path("again.cbbase"), author="A")
    assert FILE.read_bytes() == Path("again.cbbase").read_bytes()
    assert b"/here" not in FILE.read_bytes()  # the data folder of config.json
    assert str(Path.cwd()).encode() not in FILE.read_bytes()
    assert max(map(len, FILE.read_text().splitlines()[:3])) < 400


def test_history_is_kept_and_shown():
    write_folder(Path("a"), draw_bits())
    write_folder(Path("b"), draw_bits(drop=0.1), run_id="digits-b")
    with pytest.raises(NotComparableError, match="convbench baseline save"):
        update_baseline(["a"], FILE, reason="x")
    save_baseline(["a"], FILE, author="Ada")
    before = FILE.read_bytes()
    with pytest.raises(ConfigError, match="baseline update"):
        save_baseline(["b"], FILE)
    with pytest.raises(ConfigError, match="--reason is empty"):
        update_baseline(["b"], FILE, reason="  ")
    assert FILE.read_bytes() == before
    _, notes = update_baseline(["b"], FILE, reason="new augmentation, #12", author="Bob")
    assert notes == ()
    baseline = read_baseline(FILE)
    assert [(entry.reason, entry.author) for entry in baseline.history] == [
        ("first baseline", "Ada"),
        ("new augmentation, #12", "Bob"),
    ]
    assert baseline.evidence[0].run.run_id == "digits-b"
    text = baseline_text(FILE, baseline)
    assert text.index("new augmentation, #12 (Bob") < text.index("first baseline (Ada")
    assert "conditions: 4 (fog 1, 3; snow 1, 3)" in text
    assert "5 conditions with correctness bits" in text
    clean = draw_bits()["none", 0].mean()
    assert f"accuracy {100 * clean:.2f} %, mean corrupted accuracy" in text


def test_an_update_says_that_older_runs_no_longer_compare():
    write_folder(Path("a"), draw_bits())
    write_folder(Path("b"), draw_bits(), settings={"corruption_seed": 7})
    save_baseline(["a"], FILE, author="A")
    (note,) = update_baseline(["b"], FILE, reason="another seed")[1]
    assert "seed of the corruptions is 0 in the old baseline and 7 in b" in note


def test_runs_measured_differently_are_no_baseline():
    write_folder(Path("a"), draw_bits(), seed=0)
    write_folder(Path("b"), draw_bits(), seed=1, settings={"data_fingerprint": "other"})
    with pytest.raises(NotComparableError, match="fingerprint of the images"):
        save_baseline(["a", "b"], FILE)
    assert not FILE.exists()


class TestDamage:
    """Each damage is one line; never half of a baseline."""

    @pytest.fixture
    def text(self):
        write_folder(Path("run"), draw_bits(n=400))
        save_baseline(["run"], FILE, author="A")
        return FILE.read_text()

    def refused(self, content: str | bytes, *parts: str, error: type[ConvbenchError] = ResultsError) -> None:
        FILE.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(error) as caught:
            load_arm(str(FILE))
        for part in (str(FILE), *parts):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_cut_anywhere(self, text):
        for end in np.linspace(1, len(text) - 3, 40).astype(int):
            self.refused(text[:end])

    def test_one_number_changed_by_hand(self, text):
        rows = text.index('"rows"')
        changed = text[:rows] + text[rows:].replace('"accuracy": 0.', '"accuracy": 0.9', 1)
        assert changed != text
        self.refused(changed, "changed after convbench wrote it")

    def test_conflict_marks(self, text):
        self.refused(text.replace('"runs"', '\n<<<<<<< main\n"runs"'), "conflict marks of git")

    def test_a_newer_layout(self, text):
        self.refused(text.replace('"convbench_baseline": 1', '"convbench_baseline": 2'), "newer convbench (layout 2",
                     error=ConfigError)  # fmt: skip

    @pytest.mark.parametrize("content", ["{}", '{"a": 1}', '{"convbench_baseline": 1}', '{"convbench_baseline": "x"}',
                                         "{" * 100_000, '{"convbench_baseline": ' + "[" * 100_000])  # fmt: skip
    def test_other_json(self, content):
        self.refused(content)

    def test_bits_that_unpack_to_gigabytes(self, text):
        value = json.loads(text)
        value["runs"][0]["correct"][0]["bits"] = base64.b85encode(zlib.compress(bytes(50_000_000))).decode()
        value["sha256"] = hashlib.sha256(json.dumps(value["runs"], sort_keys=True).encode()).hexdigest()
        tracemalloc.start()
        self.refused(json.dumps(value), "damaged", "bytes where")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 10_000_000

    def test_nothing_is_unpickled(self, text):
        import pickle

        self.refused(b"{" + pickle.dumps(os.getcwd))


def test_a_full_disk_leaves_the_old_file(monkeypatch):
    write_folder(Path("run"), draw_bits(n=64))
    save_baseline(["run"], FILE, author="A")
    before = FILE.read_bytes()

    def refuse(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ConvbenchError, match="no space left on device"):
        update_baseline(["run"], FILE, reason="again", author="A")
    assert FILE.read_bytes() == before
    assert not list(Path.cwd().glob("*.part"))


def test_the_author_is_of_git_or_of_the_login(monkeypatch):
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "config", "user.name", "Ada Lovelace"], check=True)
    assert default_author() == "Ada Lovelace"
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("LOGNAME", "ada")
    assert default_author() == "ada"

    def nobody():
        raise OSError("no login")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert default_author() == "unknown"


def test_an_entry_without_corrupted_images_has_no_mean():
    write_folder(Path("run"), {("none", 0): draw_bits()["none", 0]})
    arm: Arm = load_arm("run")
    entry = reason_for(arm.evidence, reason="r", author="a", version="0")
    assert entry.accuracy == (draw_bits()["none", 0].mean(), None)
    text = format_baseline(Baseline(evidence=arm.evidence, history=(entry,)))
    assert parse_baseline(text.encode(), "x").history == (entry,)
