"""Groups, means over seeds, withheld means, the baseline and the notes."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.comparison import compare
from convbench.comparison.caption import conditions
from convbench.comparison.comparability import first_difference
from convbench.comparison.quantities import (
    ALL,
    CLEAN,
    CORRUPTED,
    LARGEST_BARE,
    LARGEST_COMPOSED,
    LIPSCHITZ_UPPER,
    RELATIVE,
    Measurement,
    Quantity,
    corruption_mean,
    estimate,
    higher_is_better,
    measure,
    severity_mean,
)
from convbench.errors import NotComparableError, UnknownNameError
from convbench.rows import Row


def by_name(comparison):
    return {group.name: group for group in comparison.groups}


def accuracies(run, corruption=None, severity=None):
    return [
        row.value
        for row in run.rows
        if row.metric == "accuracy"
        and row.severity > 0
        and corruption in (None, row.corruption)
        and severity in (None, row.severity)
    ]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_spread_is_the_sample_standard_deviation(values):
    found = estimate([Measurement(value, 100) for value in values])
    assert found.mean == pytest.approx(statistics.mean(values))
    assert found.sd == pytest.approx(statistics.stdev(values))
    assert found.runs == len(values)


def test_one_value_or_an_infinite_one_has_no_spread():
    assert estimate([Measurement(0.5, 10, (0.4, 0.6))]).sd is None
    assert estimate([Measurement(0.5, 10, (0.4, 0.6))]).interval == (0.4, 0.6)
    infinite = estimate([Measurement(1.0, 10), Measurement(math.inf, 10)])
    assert (infinite.mean, infinite.sd) == (math.inf, None)


def test_means_over_seeds_of_means_over_conditions(make_run):
    runs = [make_run("bn", seed) for seed in (0, 1, 2)]
    (group,) = compare(runs).groups
    for quantity, wanted in {
        CORRUPTED: [statistics.mean(accuracies(run)) for run in runs],
        severity_mean(5): [statistics.mean(accuracies(run, severity=5)) for run in runs],
        corruption_mean("fog"): [statistics.mean(accuracies(run, "fog")) for run in runs],
        Quantity("accuracy", "fog", 3): [accuracies(run, "fog", 3)[0] for run in runs],
    }.items():
        found = group.estimates[quantity]
        assert found.mean == pytest.approx(statistics.mean(wanted))
        assert found.sd == pytest.approx(statistics.stdev(wanted))
        assert (found.runs, found.n, found.interval) == (3, 360, None)
    assert group.estimates[Quantity("mean_ce", ALL, ALL)].mean == pytest.approx(1 - group.estimates[CORRUPTED].mean)


def test_relative_accuracy_is_corrupted_over_clean(make_run):
    run = make_run("bn")
    estimates = compare([run]).groups[0].estimates
    assert estimates[RELATIVE].mean == pytest.approx(estimates[CORRUPTED].mean / estimates[CLEAN].mean)


def test_the_interval_of_a_single_run_is_the_one_in_its_rows(make_run):
    run = make_run("bn")
    clean = {row.metric: row.value for row in run.rows if row.severity == 0 and not row.layer}
    interval = compare([run]).groups[0].estimates[CLEAN].interval
    assert interval == (clean["accuracy_lower"], clean["accuracy_upper"])


def test_the_largest_layer_counts_and_undefined_norms_are_absent(make_run):
    groups = by_name(compare([make_run("bn"), make_run("mixture")]))
    layers = [row.value for row in groups["bn"].runs[0].rows if row.metric == "spectral_norm"]
    assert groups["bn"].estimates[LARGEST_BARE].mean == max(layers)
    assert groups["mixture"].get(LARGEST_COMPOSED) is None
    assert groups["mixture"].get(LIPSCHITZ_UPPER) is None


def test_a_broken_layer_is_not_hidden_by_a_larger_one(make_run):
    run = make_run("bn")
    nan = Row(**{**vars(run.rows[-3]), "metric": "spectral_norm", "layer": "broken", "value": math.nan})
    assert math.isnan(measure(type(run)(rows=(*run.rows, nan)), ())[LARGEST_BARE].value)


def test_a_run_that_lacks_conditions_gives_no_mean_over_fewer(make_run):
    whole, torn = make_run("bn"), make_run("none", corruptions=["fog"])
    comparison = compare([whole, torn])
    none = by_name(comparison)["none"]
    for withheld in (CORRUPTED, RELATIVE, severity_mean(5), corruption_mean("gaussian_noise")):
        assert none.get(withheld) is None
    assert none.estimates[corruption_mean("fog")].mean == pytest.approx(statistics.mean(accuracies(torn, "fog")))
    (note,) = comparison.notes
    assert note.startswith(f"{torn.run_id} lacks 5 of 10 conditions (gaussian_noise 1-5)")


def test_a_group_says_how_many_of_its_runs_have_a_mean(make_run):
    runs = [make_run("bn", 0), make_run("bn", 1), make_run("bn", 2, corruptions=["fog"])]
    (group,) = compare(runs).groups
    assert group.estimates[CORRUPTED].runs == 2
    assert group.estimates[CLEAN].runs == 3


@pytest.mark.parametrize(
    "column", [{"dataset": "mnist"}, {"model": "vgg11"}, {"label_noise_rate": 0.4}, {"split": "validation"}]
)
def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(make_run, column):
    comparison = compare([make_run("bn", 0), make_run("bn", 1, **column)])
    assert comparison.settings == tuple(column)
    assert [len(group.runs) for group in comparison.groups] == [1, 1]


def test_a_training_setting_that_varies_becomes_a_column(make_run):
    runs = [make_run("bn", s, config={"epochs": e, "lr": 0.1, "seed": s}) for s, e in enumerate((5, 25, 25))]
    comparison = compare(runs)
    assert comparison.settings == ("epochs",)
    assert [(comparison.label(group), len(group.runs)) for group in comparison.groups] == [
        ("bn, epochs 5", 1),
        ("bn, epochs 25", 2),
    ]
    assert [group.name for group in compare(runs, by="epochs").groups] == ["5", "25"]


def test_the_norms_are_not_averaged_when_grouping_by_another_column(make_run):
    runs = [make_run(norm, model=model, run_id=norm + model) for norm in ("bn", "none") for model in ("a", "b")]
    comparison = compare(runs, by="model")
    assert comparison.settings == ("norm",)
    assert [(group.name, *group.settings) for group in comparison.groups] == [
        ("a", "bn"),
        ("b", "bn"),
        ("a", "none"),
        ("b", "none"),
    ]
    assert compare(runs, by="run_id").settings == ()


def test_baseline_is_bn_by_norm_and_else_the_first(make_run):
    runs = [make_run("none"), make_run("bn"), make_run("mixture")]
    assert compare(runs).baseline == "bn"
    assert [group.name for group in compare(runs).groups] == ["bn", "none", "mixture"]
    assert compare(runs[::2]).baseline == "none"
    assert compare(runs, by="run_id").baseline == runs[0].run_id
    assert compare(runs, baseline="mixture").baseline == "mixture"


def test_a_missing_baseline_is_not_comparable(make_run):
    with pytest.raises(NotComparableError, match=r"no norm is called 'gn'. There are: bn, none"):
        compare([make_run("bn"), make_run("none")], baseline="gn")


def test_differences_are_from_the_baseline_with_the_same_settings(make_run):
    runs = [
        make_run(norm, label_noise_rate=rate, clean=0.97 - rate / 10, run_id=f"{norm}{rate}")
        for norm in ("none", "bn")
        for rate in (0.0, 0.4)
    ]
    comparison = compare(runs[:-1])  # there is no bn at 0.4
    found = {(group.name, group.settings): comparison.difference(group, CORRUPTED) for group in comparison.groups}
    assert found["bn", ("0",)] is None
    assert found["none", ("0",)] == pytest.approx(-0.03)
    assert found["none", ("0.4",)] is None


def test_a_label_noise_from_a_file_has_no_rate_in_words(make_run):
    noises = {"human:a.pt,set=worse": None, "symmetric": 0.4, "none": 0.0}
    runs = [
        make_run("bn", label_noise=kind, label_noise_rate=rate, run_id=f"bn{place}")
        for place, (kind, rate) in enumerate(noises.items())
    ]
    comparison = compare(runs)
    words = {comparison.describe(group.settings) for group in comparison.groups}
    assert words == {"label noise human:a.pt,set=worse", "label noise symmetric 0.4", "label noise none"}


def test_an_unknown_column_names_the_nearest(make_run):
    with pytest.raises(UnknownNameError, match="Did you mean 'model'"):
        compare([make_run("bn")], by="modell")


def test_rows_are_as_good_as_runs(make_run):
    runs = [make_run("bn"), make_run("none")]
    from_rows = compare([row for run in runs for row in run.rows])
    assert [group.estimates for group in from_rows.groups] == [group.estimates for group in compare(runs).groups]
    with pytest.raises(NotComparableError):
        compare([])


def test_two_profiles_in_one_run_are_refused(make_run):
    first, second = make_run("bn"), make_run("bn", profile="batched/cifar-c")
    rows = [*first.rows, *(row for row in second.rows if row.profile)]
    with pytest.raises(NotComparableError, match="two values of accuracy"):
        compare(rows)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"dataset": "mnist"}, "data set"),
        ({"split": "validation"}, "split"),
        ({"settings": {"corruption_seed": 7}}, "seed of the corruptions"),
        ({"settings": {"checkpoint": "last"}}, "checkpoint"),
        ({"settings": {"data_fingerprint": "beef"}}, "fingerprint of the images"),
        ({"n": 100}, "number of examples (clean)"),
        ({"profile": "batched/cifar-c"}, "profile (gaussian_noise severity 1)"),
    ],
)
def test_what_was_not_measured_alike_is_named(make_run, options, key):
    runs = [make_run("bn"), make_run("none", **options)]
    difference = first_difference(runs)
    assert difference is not None
    assert difference.key == key
    assert (difference.first[0], difference.second[0]) == (runs[0].run_id, runs[1].run_id)
    assert any(note.startswith(f"not measured alike: {key} is ") for note in compare(runs).notes)


def test_runs_measured_alike_have_no_difference(make_run):
    assert first_difference([make_run(norm, seed) for norm in ("bn", "none") for seed in (0, 1)]) is None
    assert compare([make_run("bn"), make_run("none")]).notes == ()


def test_seeds_that_read_the_same_images_from_two_folders_are_one_group(make_run):
    paths = ("folder:/here/pets", "folder:~/pets")
    one = compare([make_run(seed=seed, dataset=path) for seed, path in enumerate(paths)])
    assert [(len(group.runs), group.settings) for group in one.groups] == [(2, ())]
    assert not [note for note in one.notes if "not measured alike" in note]
    assert conditions(one).startswith("Conditions: folder:/here/pets; ")
    settings = ({}, {"data_fingerprint": "beef"})
    other = [make_run(seed=seed, dataset=paths[seed], settings=settings[seed]) for seed in (0, 1)]
    assert [group.settings for group in compare(other).groups] == [(path,) for path in paths]


def test_a_seed_that_comes_twice_is_noted(make_run):
    comparison = compare([make_run("bn", 1, run_id="a"), make_run("bn", 1, run_id="b")])
    assert "several runs with seed 1" in comparison.notes[0]


def test_directions_come_from_the_registries():
    for metric in ("accuracy", "mean_corrupted_accuracy"):
        assert higher_is_better(metric) is True
    for metric in ("nll", "largest_spectral_norm"):
        assert higher_is_better(metric) is False
    assert higher_is_better("relative_accuracy") is None
    assert higher_is_better("no such metric") is None


def test_a_run_without_corruptions_compares(make_run):
    comparison = compare([make_run("bn", corruptions=[]), make_run("none", corruptions=[])])
    assert comparison.conditions == ()
    assert comparison.groups[0].get(CORRUPTED) is None
