"""The bootstrap against a loop over drawn images, and against the standard errors that theory gives."""

import math

import numpy as np
import pytest
from scipy import stats

from convbench.statistics.bootstrap import (
    ImageResamples,
    change_over_images,
    change_over_runs_and_images,
    percentile_interval,
)


def test_means_are_those_of_the_drawn_images():
    generator = np.random.default_rng(1)
    values = generator.normal(size=(83, 3))
    means = ImageResamples(83, 150, seed=5).means(values)
    draws = np.random.default_rng([5, 0])
    for mean in means:
        drawn = draws.integers(0, 83, 83)
        assert np.allclose(mean, np.mean([values[i] for i in drawn], axis=0), atol=1e-12)


def test_the_draws_depend_on_nothing_but_n_count_and_seed():
    values = np.arange(50.0)[:, None]
    first = ImageResamples(50, 120, 0).means(values)
    np.random.seed(3)
    assert np.array_equal(first, ImageResamples(50, 120, 0).means(values))
    assert np.array_equal(first[:70], ImageResamples(50, 70, 0).means(values))
    assert not np.array_equal(first, ImageResamples(50, 120, 1).means(values))
    with pytest.raises(ValueError, match="50 are resampled"):
        ImageResamples(50, 100, 0).means(values[:-1])


def test_images_are_the_clusters_of_a_mean_over_conditions():
    generator = np.random.default_rng(2)
    n, conditions = 2000, 40
    hard = generator.normal(size=(n, 1))
    right = (hard + generator.normal(size=(n, conditions)) > 0.6).astype(float)
    per_image = right.mean(axis=1)
    samples = ImageResamples(n, 2000, 0).means(per_image[:, None])[:, 0]
    theory = per_image.std(ddof=1) / math.sqrt(n)
    naive = right.std(ddof=1) / math.sqrt(n * conditions)
    # The standard error of a standard deviation from 2,000 draws is 1.6 %.
    assert samples.std(ddof=1) == pytest.approx(theory, rel=0.06)
    assert samples.std(ddof=1) > 3 * naive


def test_the_percentile_interval_of_a_mean_is_the_normal_one_for_many_images():
    values = np.random.default_rng(3).exponential(size=(4000, 1))
    low, high = percentile_interval(ImageResamples(4000, 4000, 0).means(values), 0.1)
    half = stats.norm.ppf(0.95) * values.std(ddof=1) / math.sqrt(4000)
    assert low[0] == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high[0] == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_over_images_only_the_runs_are_averaged():
    first, second = np.random.default_rng(4).random((2, 100, 2))
    change = change_over_images(first, second)
    assert np.allclose(change.samples, [(b[0] + b[1] - a[0] - a[1]) / 2 for a, b in zip(first, second, strict=True)])
    assert change.standard_error == pytest.approx(np.std(change.samples, ddof=1))
    assert change.interval(0.2) == tuple(np.quantile(change.samples, [0.1, 0.9]))
    assert change.p(2 * change.standard_error) == pytest.approx(2 * stats.norm.sf(2))
    assert change.p(0.0) == 1.0


def test_over_runs_the_standard_error_is_that_of_two_means():
    # Without any noise of the images only the runs differ: s0²/R0 + s1²/R1 with unbiased variances.
    runs = [0.90, 0.92, 0.91], [0.88, 0.90, 0.93, 0.91]
    arms = [np.tile(values, (40_000, 1)) for values in runs]
    change = change_over_runs_and_images(*arms, seed=0)
    theory = math.sqrt(sum(np.var(values, ddof=1) / len(values) for values in runs))
    assert change.standard_error == pytest.approx(theory, rel=0.02)
    assert change.degrees_of_freedom == 5
    assert change.p(3 * change.standard_error) == pytest.approx(2 * stats.t.sf(3, 5))
    assert change.samples.mean() == pytest.approx(np.mean(runs[1]) - np.mean(runs[0]), abs=1e-3)
    widened = change.samples.std(ddof=1) / change.standard_error
    assert widened == pytest.approx(stats.t.ppf(0.975, 5) / stats.norm.ppf(0.975), rel=1e-9)


def test_equal_runs_leave_the_images_alone():
    images = np.random.default_rng(5).normal(size=(3000, 1))
    first, second = np.tile(images, (1, 3)), np.tile(images + 0.5, (1, 3))
    change = change_over_runs_and_images(first, second, seed=0)
    assert np.allclose(change.samples, 0.5)
    assert change.p(0.5) == 0.0 or change.standard_error == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 5, 10])
@pytest.mark.parametrize("between", [0.0, 0.004, 0.02])
def test_the_two_level_interval_covers_the_truth(runs, between):
    """Runs that truly differ by a seed's effect of sd `between`, on 1,000 shared images."""
    generator = np.random.default_rng([runs, round(1000 * between)])
    n, covered, trials = 1000, 0, 400
    draw = ImageResamples(n, 1000, 0)
    for _ in range(trials):
        hard = generator.random(n)[:, None]
        arms = [
            (0.8 * hard + 0.2 * generator.random((n, runs)) < 0.75 + generator.normal(0, between, runs)).astype(float)
            for _ in range(2)
        ]
        change = change_over_runs_and_images(draw.means(arms[0]), draw.means(arms[1]), seed=0)
        low, high = change.interval()
        covered += low <= 0 <= high
    assert covered / trials >= 0.93, covered / trials  # 400 trials: standard error 1.1 %
