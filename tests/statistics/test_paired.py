"""McNemar's test and the table that it needs, against statsmodels, SciPy and counting in a loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from convbench.statistics.paired import EXACT_BELOW, agreement, mcnemar


def test_few_discordant_images_get_the_exact_test():
    for lost in range(EXACT_BELOW):
        for gained in range(EXACT_BELOW - lost):
            expected = statsmodels_mcnemar([[5, lost], [gained, 5]], exact=True).pvalue
            assert float(mcnemar(lost, gained)) == pytest.approx(min(expected, 1.0), rel=1e-12), (lost, gained)


@given(st.integers(0, 6000), st.integers(0, 6000))
def test_many_discordant_images_get_the_mid_p(lost, gained):
    m, k = lost + gained, min(lost, gained)
    if m < EXACT_BELOW:
        return
    # Fagerland, Lydersen and Laake 2013, equation 3: the exact p less one point probability.
    expected = 2 * binom.cdf(k, m, 0.5) - binom.pmf(k, m, 0.5) if lost != gained else 1.0
    assert float(mcnemar(lost, gained)) == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_the_exact_test_ends_below_25():
    assert float(mcnemar(6, 18)) == pytest.approx(2 * binom.cdf(6, 24, 0.5), rel=1e-12)
    assert float(mcnemar(6, 19)) == pytest.approx(2 * binom.cdf(6, 25, 0.5) - binom.pmf(6, 25, 0.5), rel=1e-12)


def test_published_values():
    # Fagerland, Lydersen and Laake 2013, table 4: airway hyper-responsiveness, 1 against 7, exact conditional 0.070.
    assert round(float(mcnemar(1, 7)), 3) == 0.070
    # statsmodels' and the specification's example: 25 against 10, exact 0.0167; the mid-p is smaller.
    assert round(float(statsmodels_mcnemar([[0, 25], [10, 0]], exact=True).pvalue), 6) == 0.016674
    assert round(float(mcnemar(25, 10)), 6) == 0.011331


def test_the_test_is_symmetric_and_says_1_where_nothing_differs():
    assert float(mcnemar(0, 0)) == float(mcnemar(40, 40)) == 1.0
    assert np.array_equal(mcnemar(np.array([3, 100]), np.array([9, 160])), mcnemar([9, 160], [3, 100]))
    assert (mcnemar([0, 0], [30, 5000]) < 1e-8).all()


def test_agreement_counts_what_a_loop_counts():
    generator = np.random.default_rng(0)
    first, second = generator.random((3, 57)) < 0.7, generator.random((3, 57)) < 0.6
    counted = agreement(first, second)
    for row in range(3):
        pairs = list(zip(first[row], second[row], strict=True))
        expected = [pairs.count(kind) for kind in [(True, True), (True, False), (False, True), (False, False)]]
        assert [int(cell[row]) for cell in counted] == expected
    with pytest.raises(ValueError, match="not the same images"):
        agreement(first, second[:, 1:])


@pytest.mark.slow
@pytest.mark.parametrize(("n", "discordant"), [(10_000, 0.06), (10_000, 0.12), (1000, 0.06), (200, 0.08)])
def test_the_level_is_kept(n, discordant):
    generator = np.random.default_rng([n, 11])
    m = generator.binomial(n, discordant, 20_000)
    lost = generator.binomial(m, 0.5)
    assert float(np.mean(mcnemar(lost, m - lost) < 0.05)) <= 0.055  # the mid-p may exceed its level by a little
