"""Score intervals against statsmodels, published tables and their properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from convbench.statistics.intervals import (
    newcombe_paired,
    newcombe_unpaired,
    normal_quantile,
    wilson_interval,
    wilson_lower,
)

counts = st.integers(0, 60)


def test_wilson_agrees_with_statsmodels_and_with_the_interval_of_the_rows():
    correct, n = np.array([0, 1, 9, 50, 9999, 10_000]), np.array([1, 3, 10, 100, 10_000, 10_000])
    for alpha in (0.01, 0.05, 0.3):
        low, high = wilson_interval(correct, n, alpha)
        expected = np.array([proportion_confint(k, m, alpha, method="wilson") for k, m in zip(correct, n, strict=True)])
        assert np.allclose(low, expected[:, 0], atol=1e-14)
        assert np.allclose(high, expected[:, 1], atol=1e-14)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", Stat. Med. 17:857-872, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_has_the_published_values(correct, n, low, high):
    assert [round(float(end), 4) for end in wilson_interval(correct, n)] == [low, high]


def test_the_one_sided_bound_spends_all_of_alpha_below():
    lower = wilson_lower(88, 100, 0.05)
    assert lower == wilson_interval(88, 100, 0.1)[0]
    # The score test inverted: at the bound the observed share is exactly one quantile away.
    z = (0.88 - lower) / math.sqrt(lower * (1 - lower) / 100)
    assert z == pytest.approx(normal_quantile(0.95), rel=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        # Newcombe 1998a, Stat. Med. 17:873-890, table II, method 10, examples (a) to (h); second minus first.
        ((48, 80), (56, 70), 0.0524, 0.3339),
        ((3, 10), (9, 10), 0.1705, 0.8090),
        ((2, 7), (6, 7), 0.0582, 0.8062),
        ((0, 29), (5, 56), -0.0381, 0.1926),
        ((0, 20), (0, 10), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((0, 20), (10, 10), 0.6791, 1.0),
        ((0, 10), (10, 10), 0.6075, 1.0),
        # Fagerland, Lydersen and Laake 2017, "Statistical Analysis of Contingency Tables", chapter 4, Perondi's trial.
        ((1, 34), (7, 34), 0.0189, 0.3404),
    ],
)
def test_the_unpaired_interval_has_the_published_values(first, second, low, high):
    ends = newcombe_unpaired(*first, *second)
    assert [round(float(end), 4) for end in ends] == [low, high]


def test_the_unpaired_interval_agrees_with_statsmodels():
    for a, n_0, b, n_1 in [(82, 100, 92, 100), (7500, 10_000, 7400, 10_000), (0, 12, 5, 30), (1, 2, 1, 2)]:
        expected = confint_proportions_2indep(b, n_1, a, n_0, method="newcomb", compare="diff")
        assert np.allclose(newcombe_unpaired(a, n_0, b, n_1), expected, atol=1e-12)
    low, high = newcombe_unpaired(92, 100, 82, 100)
    assert (round(100 * float(low), 1), round(100 * float(high), 1)) == (-19.5, -0.6)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Newcombe 1998b, Stat. Med. 17:2635-2650, method 10: (36, 12, 2, 0), there as first minus second.
        ((36, 2, 12, 0), 0.0569, 0.3404),
        # Fagerland, Lydersen and Laake 2017, chapter 8: consolidation therapy (Cavo et al. 2012), first minus second
        # there, -0.1186 to -0.0046.
        ((59, 6, 16, 80), 0.0046, 0.1186),
        # Fagerland, Lydersen and Laake 2014, Stat. Med. 33:2850-2875: airway hyper-responsiveness (Bentur et al. 2009),
        # -0.507 to -0.026.
        ((1, 1, 7, 12), 0.0256, 0.5069),
    ],
)
def test_the_paired_interval_has_the_published_values(table, low, high):
    assert [round(float(end), 4) for end in newcombe_paired(*table)] == [low, high]


def paired_by_hand(both, lost, gained, neither, z):
    """Method 10 of Newcombe 1998b, line by line, for one table."""

    def wilson(k, n):
        centre = (2 * k + z * z) / (2 * (n + z * z))
        half = z * math.sqrt(z * z + 4 * k * (1 - k / n)) / (2 * (n + z * z))
        return centre - half, centre + half

    n = both + lost + gained + neither
    p_0, p_1 = (both + lost) / n, (both + gained) / n
    (l_0, u_0), (l_1, u_1) = wilson(both + lost, n), wilson(both + gained, n)
    product = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    top = both * neither - lost * gained
    if top > n / 2:
        top -= n / 2
    elif top >= 0:
        top = 0
    phi = top / math.sqrt(product) if product else 0.0
    below = (p_1 - l_1) ** 2 - 2 * phi * (p_1 - l_1) * (u_0 - p_0) + (u_0 - p_0) ** 2
    above = (u_1 - p_1) ** 2 - 2 * phi * (u_1 - p_1) * (p_0 - l_0) + (p_0 - l_0) ** 2
    return p_1 - p_0 - math.sqrt(max(below, 0)), p_1 - p_0 + math.sqrt(max(above, 0))


@given(counts, counts, counts, counts, st.sampled_from([0.01, 0.05, 0.2]))
def test_the_paired_interval_is_the_paper_s_and_sound(both, lost, gained, neither, alpha):
    n = both + lost + gained + neither
    if n == 0:
        return
    low, high = (float(end) for end in newcombe_paired(both, lost, gained, neither, alpha))
    # A square root of a difference near 0 loses half of the digits.
    assert (low, high) == pytest.approx(
        paired_by_hand(both, lost, gained, neither, normal_quantile(1 - alpha / 2)), abs=1e-7
    )
    assert -1 - 1e-12 <= low <= (gained - lost) / n <= high <= 1 + 1e-12
    swapped = newcombe_paired(both, gained, lost, neither, alpha)
    assert (float(-swapped[1]), float(-swapped[0])) == pytest.approx((low, high), abs=1e-12)


def test_pairing_narrows_and_every_argument_broadcasts():
    paired = newcombe_paired(np.array([7000, 7200]), 310, 290, np.array([2400, 2200]))
    unpaired = newcombe_unpaired(np.array([7310, 7510]), 10_000, np.array([7290, 7490]), 10_000)
    assert paired[0].shape == (2,)
    assert ((paired[1] - paired[0]) < 0.45 * (unpaired[1] - unpaired[0])).all()


@pytest.mark.slow
@pytest.mark.parametrize(("n", "share", "discordant", "drop"), [
    (10_000, 0.75, 0.06, 0.0), (10_000, 0.75, 0.06, 0.01), (10_000, 0.75, 0.12, 0.01), (1000, 0.75, 0.06, 0.0),
    (1000, 0.75, 0.06, 0.02), (200, 0.75, 0.08, 0.05),
])  # fmt: skip
def test_the_paired_interval_covers_the_truth(n, share, discordant, drop):
    lost, gained = (discordant + drop) / 2, (discordant - drop) / 2
    probabilities = [share - lost, lost, gained, 1 - share - gained]
    tables = np.random.default_rng([n, 7]).multinomial(n, probabilities, 20_000)
    low, high = newcombe_paired(*tables.T)
    covered = float(np.mean((low <= -drop) & (-drop <= high)))
    # 20,000 draws: standard error 0.15 %.
    assert 0.943 <= covered <= 0.965, covered
