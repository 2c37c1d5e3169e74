"""What may stand side by side: each condition of measurement on its own, and what is only said."""

from dataclasses import replace
from typing import Any

import pytest

import convbench.gate.comparability as comparability
from convbench.comparison.runs import Run
from convbench.errors import NotComparableError
from convbench.gate.arms import Arm, Evidence
from convbench.gate.comparability import check_comparable
from convbench.rows import Row
from tests.gate.folders import SETTINGS

COLUMNS: dict[str, Any] = {
    "run_id": "digits-x", "dataset": "digits", "model": "resnet8", "norm": "bn", "seed": 0, "label_noise": "none",
    "label_noise_rate": 0.0, "split": "test", "metric": "accuracy", "value": 0.9, "n": 100,
}  # fmt: skip


def arm(label: str, *, settings: dict[str, Any] | None = SETTINGS, attack: str = "", **columns: Any) -> Arm:
    """One run with a clean and a corrupted condition."""
    shared = COLUMNS | {key: value for key, value in columns.items() if key not in ("source", "profile", "clean_n")}
    fog = {"corruption": "fog", "severity": 3, "source": "generated", "profile": "torch/cifar-c"} | {
        key: columns[key] for key in ("source", "profile") if key in columns
    }
    rows = [Row(**shared | {"n": columns.get("clean_n", shared["n"])}), Row(**shared, **fog)]
    if attack:
        rows.append(Row(**shared, attack=attack))
    return Arm(label=label, source=label, evidence=(Evidence(run=Run(rows=tuple(rows), settings=settings or {})),))


def conditions(**changes: Any) -> dict[str, Any]:
    return SETTINGS | {"conditions": SETTINGS["conditions"] | changes}


@pytest.mark.parametrize(
    ("candidate", "key", "values"),
    [
        ({"dataset": "cifar10"}, "data set", ["'digits' in main", "'cifar10' in pr"]),
        ({"split": "validation"}, "split", ["'test' in main", "'validation' in pr"]),
        ({"settings": SETTINGS | {"data_fingerprint": "beef"}}, "fingerprint of the images", ["'f00dfeed'", "'beef'"]),
        ({"settings": SETTINGS | {"corruption_seed": 3}}, "seed of the corruptions", ["0 in main", "3 in pr"]),
        ({"settings": SETTINGS | {"checkpoint": "last"}}, "checkpoint", ["'best' in main", "'last' in pr"]),
        ({"settings": SETTINGS | {"lipschitz_examples": 8}}, "number of examples of the Lipschitz bounds", ["64", "8"]),
        ({"clean_n": 99}, "number of examples (clean)", ["100 in main", "99 in pr"]),
        ({"source": "archive"}, "source (fog severity 3)", ["'generated'", "'archive'"]),
        ({"profile": "torch/imagenet-c"}, "profile (fog severity 3)", ["'torch/cifar-c'", "'torch/imagenet-c'"]),
        ({"attack": "pgd:eps=4/255"}, "attack pgd", ["'pgd:eps=8/255' in main", "'pgd:eps=4/255' in pr"]),
    ],
)
def test_one_difference_is_named_with_both_values(candidate, key, values):
    baseline = arm("main", attack="pgd:eps=8/255")
    with pytest.raises(NotComparableError) as caught:
        check_comparable(baseline, arm("pr", **candidate))
    assert f"{key} is " in str(caught.value)
    for value in values:
        assert value in str(caught.value)
    assert caught.value.exit_code == 3


class TestFolders:
    """A folder: data set is its images, not its path."""

    HERE, THERE = "folder:/here/pets", "folder:~/pets-v1"

    def test_one_set_of_images_at_two_paths_compares(self):
        here, there = (
            arm(path, dataset=path, settings=SETTINGS | {"dataset": path}) for path in (self.HERE, self.THERE)
        )
        assert check_comparable(here, there).fingerprint["dataset"] == self.HERE

    @pytest.mark.parametrize(
        ("changes", "key"),
        [
            ({"dataset": THERE, "settings": SETTINGS | {"data_fingerprint": "beef"}}, "data set"),
            ({"dataset": HERE, "settings": SETTINGS | {"data_fingerprint": "beef"}}, "fingerprint of the images"),
            ({"dataset": THERE, "settings": None}, "data set"),  # a CSV alone doesn't say which images
            ({"dataset": "digits"}, "data set"),
        ],
    )
    def test_other_images_or_unknown_ones_elsewhere_do_not(self, changes, key):
        with pytest.raises(NotComparableError, match=f"not comparable: {key} is"):
            check_comparable(arm("main", dataset=self.HERE), arm("pr", **changes))

    def test_a_csv_alone_compares_where_the_path_is_equal(self):
        check_comparable(arm("main", dataset=self.HERE), arm("pr", dataset=self.HERE, settings=None))

    def test_a_registered_name_is_the_name_whatever_the_images(self):
        with pytest.raises(NotComparableError, match="data set is 'digits' in main and 'cifar10' in pr"):
            check_comparable(arm("main"), arm("pr", dataset="cifar10"))


def test_the_first_key_in_the_stated_order_is_named():
    other = arm("pr", split="validation", settings=SETTINGS | {"corruption_seed": 3})
    with pytest.raises(NotComparableError, match="not comparable: split is"):
        check_comparable(arm("main"), other)


def test_archives_are_told_apart_by_their_fingerprints():
    sides = [arm(name, settings=SETTINGS | {"archive": {"fingerprints": {"fog": name}}}) for name in ("a", "b")]
    with pytest.raises(NotComparableError, match="fingerprint of the archive's fog is 'a' in a and 'b' in b"):
        check_comparable(*sides)


def test_equal_sides_share_a_fingerprint_and_need_no_note():
    found = check_comparable(arm("main"), arm("pr", model="resnet20", norm="none"))
    assert found.notes == ()
    assert found.fingerprint == {
        "dataset": "digits", "split": "test", "data_fingerprint": "f00dfeed", "corruption_seed": 0,
        "checkpoint": "best", "lipschitz_examples": 64, "corruption_source": "generated",
        "corruption_profile": "torch/cifar-c",
    }  # fmt: skip


def test_device_batch_size_and_versions_are_only_said():
    other = conditions(device="NVIDIA H200", batch_size=64, versions={"convbench": "0.1.0", "torch": "2.9.0"})
    (note,) = check_comparable(arm("main"), arm("pr", settings=other)).notes
    for part in ("device (cpu in main, NVIDIA H200 in pr)", "batch size (256", "torch (2.15.0 in main, 2.9.0 in pr)"):
        assert part in note
    assert "convbench (" not in note


def test_what_one_side_does_not_state_is_no_difference_but_said():
    (note,) = check_comparable(arm("main"), arm("table", settings=None)).notes
    assert note.startswith("not checked, because table does not say: the images and their order, the seed of")
    with pytest.raises(NotComparableError, match="number of examples"):
        check_comparable(arm("main"), arm("table", settings=None, n=50))


def test_new_and_missing_conditions_and_attacks_are_no_difference():
    rows = arm("pr").evidence[0].run.rows
    only_clean = Arm(label="pr", source="pr", evidence=(Evidence(run=Run(rows=rows[:1], settings=SETTINGS)),))
    check_comparable(arm("main"), only_clean)
    check_comparable(only_clean, arm("main", attack="pgd:eps=8/255"))


def test_seeds_of_one_arm_are_compared_too():
    first, second = arm("runs").evidence[0], arm("runs", run_id="digits-y", seed=1, split="validation").evidence[0]
    both = Arm(label="runs", source="runs", evidence=(first, second))
    with pytest.raises(NotComparableError, match=r"split is 'test' in runs \(digits-x\) and 'validation' in runs"):
        check_comparable(both, arm("pr"))


class TestDefinitions:
    @pytest.fixture(autouse=True)
    def changed_in_0_2(self, monkeypatch):
        monkeypatch.setattr(comparability, "DEFINITION_CHANGES", {"ece": ("0.2.0", "0.10.0"), "accuracy": ()})

    def side(self, version: str, metric: str = "ece") -> Arm:
        one = arm(version, settings=conditions(versions={"convbench": version}))
        run = one.evidence[0].run
        rows = (*run.rows, replace(run.rows[0], metric=metric))
        return replace(one, evidence=(Evidence(run=replace(run, rows=rows)),))

    @pytest.mark.parametrize(
        ("one", "other"),
        [("0.1.0", "0.2.0"), ("0.1.9", "0.2.1rc1"), ("0.2.0", "0.10.0"), ("0.9.0", "0.10.0"), ("0.10.1", "0.1")],
    )
    def test_numbers_of_two_definitions_do_not_compare(self, one, other):
        with pytest.raises(NotComparableError, match=f"definition of ece .* {one!r} .* {other!r}"):
            check_comparable(self.side(one), self.side(other))
        check_comparable(self.side(one, "brier"), self.side(other, "brier"))

    @pytest.mark.parametrize(("one", "other"), [("0.1.0", "0.1.5"), ("0.2.0", "0.9.3"), ("0.10.0", "1.0")])
    def test_numbers_of_one_definition_do(self, one, other):
        check_comparable(self.side(one), self.side(other))


def test_every_definition_that_changed_is_of_a_metric():
    from convbench.metrics import CORRUPTION_METRICS, NETWORK_METRICS, PREDICTION_METRICS

    registries = (PREDICTION_METRICS, NETWORK_METRICS, CORRUPTION_METRICS)
    assert all(any(name in registry for registry in registries) for name in comparability.DEFINITION_CHANGES)
