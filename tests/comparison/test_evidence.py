"""How sure a mean and a difference are: against SciPy's t tests, and by simulation."""

import base64
import json
import math
import random
import statistics

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from convbench.comparison import Estimate, compare, load_runs
from convbench.comparison.evidence import difference, interval_of_mean, over_images
from convbench.comparison.quantities import CLEAN, CORRUPTED, Quantity, corruption_mean, severity_mean
from convbench.errors import ResultsError
from convbench.rows import read_rows, write_rows

runs = st.lists(st.floats(0.1, 0.9).map(lambda x: round(x, 3)), min_size=3, max_size=6)


def of_runs(values, n=100):
    """The estimate of runs with these values."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(mean=statistics.fmean(values), sd=sd, runs=len(values), n=n)


@given(runs)
def test_from_three_runs_on_the_interval_is_students_over_them(values):
    interval, over = interval_of_mean(of_runs(values), None)
    wanted = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95) if len(set(values)) > 1 else (values[0],) * 2
    assert (over, interval) == ("seeds", pytest.approx(tuple(wanted), abs=1e-9))


def test_of_fewer_runs_the_interval_is_over_the_images():
    images = np.random.default_rng(0).integers(0, 11, 500) / 10
    two = of_runs([0.5, 0.6])
    interval, over = interval_of_mean(two, images)
    half = scipy.stats.t.ppf(0.975, 499) * scipy.stats.sem(images)
    assert (over, interval) == ("images", pytest.approx((0.55 - half, 0.55 + half)))
    stated = Estimate(mean=0.5, sd=None, runs=1, n=500, interval=(0.45, 0.56))
    assert interval_of_mean(stated, images) == ((0.45, 0.56), "images")  # Wilson's, as the rows have it
    assert interval_of_mean(two, None) == (None, "")


def test_an_interval_over_images_is_one_of_shares():
    images = np.array([1.0] * 49 + [0.9])
    interval, _ = interval_of_mean(of_runs([float(images.mean())]), images)
    assert interval is not None
    assert interval[1] == 1.0


@given(runs, runs)
def test_without_bits_the_difference_is_welchs(first, second):
    assume(len(set(first)) > 1 and len(set(second)) > 1)  # SciPy warns of an arm without any spread
    found = difference(of_runs(first), of_runs(second), None, None)
    wanted = scipy.stats.ttest_ind(first, second, equal_var=False)
    assert found is not None
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-6, abs=1e-12)
    assert found.interval == pytest.approx(tuple(wanted.confidence_interval(0.95)), abs=1e-9)


def test_of_single_runs_the_difference_is_students_over_paired_images():
    generator = np.random.default_rng(1)
    first = generator.integers(0, 6, 300) / 5
    second = np.clip(first - generator.integers(0, 2, 300) / 5, 0, 1)
    found = difference(of_runs([float(first.mean())]), of_runs([float(second.mean())]), first, second)
    wanted = scipy.stats.ttest_rel(first, second)
    assert found is not None
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-6)
    assert found.interval == pytest.approx(tuple(wanted.confidence_interval(0.95)))


def test_with_runs_and_images_the_variances_add():
    first, second, images = [0.5, 0.52, 0.54], [0.6, 0.61, 0.65], np.random.default_rng(2).random((2, 400))
    found = difference(of_runs(first), of_runs(second), images[0], images[1])
    parts = [*(statistics.variance(arm) / 3 for arm in (first, second)), np.var(images[0] - images[1], ddof=1) / 400]
    freedom = sum(parts) ** 2 / sum(part**2 / degrees for part, degrees in zip(parts, (2, 2, 399), strict=True))
    half = scipy.stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts))
    assert found is not None
    assert found.value == pytest.approx(-0.1)
    assert found.interval == pytest.approx((-0.1 - half, -0.1 + half))


def test_what_is_not_known_is_not_said():
    few, many = of_runs([0.5, 0.6]), of_runs([0.5, 0.6, 0.7])
    assert difference(few, many, None, None) is None
    assert difference(few, many, np.ones(5), np.ones(6)) is None  # not the same images
    assert difference(of_runs([math.inf]), many, np.arange(5.0), np.ones(5)) is None
    same = difference(many, many, np.ones(5), np.ones(5))
    assert same is not None
    assert (same.value, same.p) == (0, 1)
    alike = difference(of_runs([1.0] * 3), of_runs([0.5] * 3), None, None)
    assert alike is not None
    assert (alike.interval, alike.p) == ((0.5, 0.5), 0.0)


def write_bits(folder, *, wrong=0):
    """Give every accuracy of a run folder bits that fit it, and the rows what the bits say; `wrong` of them flipped."""
    rows = read_rows(folder / "results.csv")
    kept = []
    for row in rows:
        if row.metric == "accuracy":
            right = round(row.value * row.n)
            bits = np.zeros(row.n, dtype=bool)
            bits[random.Random(f"{row.run_id}{row.corruption}{row.severity}").sample(range(row.n), right)] = True
            kept.append(type(row)(**{**vars(row), "value": right / row.n}))
            bits[:wrong] ^= True
            text = base64.b64encode(np.packbits(bits).tobytes()).decode()
            path = folder / "evaluation" / f"{row.corruption}-{row.severity}.json"
            path.write_text(json.dumps({"n": row.n, "correct": text}))
        elif not row.metric.startswith("accuracy_"):
            kept.append(row)
    write_rows(folder / "results.csv", kept)


def test_each_image_counts_under_all_conditions_of_a_mean(write_run):
    folder = write_run("bn", corruptions=["fog", "snow"], severities=[1, 2])
    write_bits(folder)
    comparison = compare(load_runs([str(folder)]).runs)
    (group,) = comparison.groups
    for quantity in (CLEAN, CORRUPTED, corruption_mean("fog"), severity_mean(2), Quantity("accuracy", "snow", 1)):
        images = over_images(comparison, group, quantity)
        assert images is not None
        assert images.shape == (360,)
        assert images.mean() == pytest.approx(group.estimates[quantity].mean)
    over_all = over_images(comparison, group, CORRUPTED)
    assert over_all is not None
    assert set(over_all) <= {0, 0.25, 0.5, 0.75, 1}
    assert over_images(comparison, group, Quantity("mean_ce", "all", "all")) is None
    (folder / "evaluation" / "fog-1.json").unlink()
    assert over_images(compare(load_runs([str(folder)]).runs), group, CORRUPTED) is None


@pytest.mark.parametrize("damage", ["contradiction", "short", "not base64", "not JSON"])
def test_damaged_bits_are_one_clear_line(write_run, damage):
    folder = write_run("bn")
    write_bits(folder, wrong=3 if damage == "contradiction" else 0)
    path = folder / "evaluation" / "fog-1.json"
    if damage != "contradiction":
        text = {"short": '{"n": 360, "correct": "AAAA"}', "not base64": '{"n": 360, "correct": "%"}'}
        path.write_text(text.get(damage, "{"))
    comparison = compare(load_runs([str(folder)]).runs)
    said = r"fog-1\.json has 3\d\d of 360 images right, .* says" if damage == "contradiction" else r"fog-1\.json"
    with pytest.raises(ResultsError, match=said):
        over_images(comparison, comparison.groups[0], corruption_mean("fog"))
