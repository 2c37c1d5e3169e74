"""The smallest detectable drop: by simulation it is seen as often as it says, and it is the table of the docs."""

import numpy as np
import pytest
from scipy.stats import binom

from convbench.statistics.paired import mcnemar
from convbench.statistics.power import detectable_normal, detectable_paired


def seen(n: int, discordant: float, drop: float, level: float, draws: int = 3000) -> float:
    """How often McNemar's test sees `drop` when a share `discordant` of n images differs."""
    lost, gained = (discordant + drop) / 2, (discordant - drop) / 2
    generator = np.random.default_rng([n, round(1e6 * drop)])
    table = generator.multinomial(n, [lost, gained, 1 - discordant], draws)
    return float(np.mean(mcnemar(table[:, 0], table[:, 1]) < level))


@pytest.mark.parametrize(("n", "discordant"), [(500, 0.1), (2000, 0.06), (10_000, 0.06), (10_000, 0.3)])
@pytest.mark.parametrize("tests", [1, 95])
def test_the_drop_is_seen_four_times_in_five(n, discordant, tests):
    drop = float(detectable_paired(round(discordant * n), n, tests=tests))
    assert drop < discordant
    power = seen(n, discordant, drop, 0.05 / tests)
    # 3,000 draws: standard error 0.7 %; the formula is the normal approximation of a discrete test, and least good far
    # out in the tail with few images (84 % for 500 of them at a 95th of the level).
    assert power == pytest.approx(0.8, abs=0.03 if n > 500 else 0.05)


def test_where_all_that_differs_must_be_lost_the_drop_is_still_seen():
    n = 200
    drop = float(detectable_paired(round(0.03 * n), n, tests=95))
    assert drop > 0.03  # more than differs now
    assert seen(n, drop, drop, 0.05 / 95) == pytest.approx(0.8, abs=0.03)
    # The normal formula's 7.35 points would be more than the 6 % that differ: twelve losses decide, by the binomial.
    assert binom.sf(11, n, float(detectable_paired(12, n, tests=95))) == pytest.approx(0.8, rel=1e-9)


def test_one_condition_with_six_percent_discordant():
    n = np.array([200, 500, 1000, 2000, 5000, 10_000])
    alone = detectable_paired(np.round(0.06 * n), n)
    assert np.allclose(100 * alone, [4.9, 3.1, 2.2, 1.5, 1.0, 0.7], atol=0.1)
    together = detectable_paired(np.round(0.06 * n), n, tests=95)
    # Of 200 images more than the 6 % that differ would have to be lost.
    assert np.allclose(100 * together, [7.3, 4.7, 3.3, 2.4, 1.5, 1.05], atol=0.1)


def test_nothing_is_seen_in_fewer_images_than_the_exact_test_needs():
    # Six losses and no gain: 2 / 2^6 = 0.031; five would be 0.0625.
    assert float(mcnemar(6, 0)) < 0.05 < float(mcnemar(5, 0))
    assert binom.sf(5, 100, float(detectable_paired(0, 100))) == pytest.approx(0.8, rel=1e-9)
    assert float(detectable_paired(0, 6)) == pytest.approx(0.8 ** (1 / 6), rel=1e-9)
    assert float(detectable_paired(0, 3)) == 1.0
    drops = detectable_paired(np.arange(0, 400, 5), 1000)
    assert (np.diff(drops) >= 0).all()


def test_by_the_standard_error():
    assert detectable_normal(0.01) == pytest.approx(0.028015, rel=1e-4)  # (1.959964 + 0.841621) / 100
    assert detectable_normal(0.01, tests=95) > detectable_normal(0.01)
