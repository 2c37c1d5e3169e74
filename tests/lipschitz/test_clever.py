"""CLEVER and its fit of extreme values, against SciPy's distribution and networks with a known answer."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import kstest, weibull_max
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz import clever_scores, margin_gradients
from convbench.lipschitz.reverse_weibull import fit_reverse_weibull


def draws(shape: float, location: float, scale: float, count: int, seed: int = 0) -> np.ndarray:
    return weibull_max.rvs(shape, location, scale, size=count, random_state=np.random.default_rng(seed))


@pytest.mark.parametrize(("shape", "location", "scale"), [(2.0, 5.0, 1.0), (3.0, 10.0, 2.0), (6.0, 100.0, 20.0)])
def test_a_fit_has_the_likelihood_of_scipys_search_from_the_truth(shape, location, scale):
    x = draws(shape, location, scale, 400)
    found = fit_reverse_weibull(x)

    def cost(p: np.ndarray) -> float:
        value = -weibull_max.logpdf(x, p[0], x.max() + np.exp(p[1]), np.exp(p[2])).sum()
        return value if np.isfinite(value) else 1e12

    start = [shape, np.log(location - x.max()), np.log(scale)]
    theirs = minimize(cost, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-9})
    ours = -weibull_max.logpdf(x, found.shape, found.location, found.scale).sum()
    assert ours <= theirs.fun + 1e-3
    assert found.location == pytest.approx(x.max() + np.exp(theirs.x[1]), rel=2e-3)
    assert found.location == pytest.approx(location, rel=0.05)
    assert found.p_value == pytest.approx(kstest(x, weibull_max(found.shape, found.location, found.scale).cdf).pvalue)
    assert not found.failed
    assert found.location > x.max()


def test_a_fit_is_scipys_own_where_that_converges():
    x = draws(2.0, 5.0, 1.0, 500, seed=0)
    shape, location, scale = weibull_max.fit(x, 2.0, loc=5.0, scale=1.0)
    found = fit_reverse_weibull(x)
    assert (found.shape, found.location, found.scale) == pytest.approx((shape, location, scale), rel=1e-2)


@pytest.mark.parametrize("factor", [1e-9, 3.7, 1e12])
def test_a_fit_scales_with_its_sample(factor):
    x = draws(3.0, 10.0, 2.0, 60)
    one, scaled = fit_reverse_weibull(x), fit_reverse_weibull(factor * x)
    assert scaled.location == pytest.approx(factor * one.location, rel=1e-9)
    assert scaled.scale == pytest.approx(factor * one.scale, rel=1e-6)
    assert (scaled.shape, scaled.p_value) == pytest.approx((one.shape, one.p_value), rel=1e-6)


FAILING = {
    "one value": np.full(50, 3.0),
    "a single draw": np.array([2.0]),
    "two values": np.repeat([1.0, 2.0], 25),  # as of a piecewise linear network
    "heavy upper tail": np.exp(np.random.default_rng(0).normal(size=200) * 2),
    "pressed against its end": 5 - np.random.default_rng(0).weibull(0.3, 200).clip(0, 4),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_fit_that_fails_says_so_and_gives_the_largest_value(name):
    found = fit_reverse_weibull(FAILING[name])
    assert found.failed
    assert found.location == FAILING[name].max()


@pytest.mark.parametrize("sample", [[], [1.0, -1.0], [0.0, 1.0], [1.0, np.nan], [1.0, np.inf]])
def test_what_is_no_sample_of_norms_is_refused(sample):
    with pytest.raises(ValueError, match="finite positive values"):
        fit_reverse_weibull(np.array(sample))


def images(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def test_of_a_linear_network_the_score_is_the_distance_to_the_nearest_decision_boundary():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    found = clever_scores(network, images(), radius=2.0, batches=4, samples=3)
    weight, bias = (p.detach().double().numpy() for p in network[1].parameters())
    for place, image in enumerate(images().double().flatten(1).numpy()):
        logits = weight @ image + bias
        c = int(logits.argmax())
        others = [j for j in range(4) if j != c]
        slopes = np.array([np.linalg.norm(weight[c] - weight[j]) for j in others])
        np.testing.assert_allclose(found.constants[place], slopes, rtol=1e-6)
        assert found.radius[place] == pytest.approx(min((logits[c] - logits[others]) / slopes), rel=1e-5)
    assert found.failed.all()  # every draw has the same slope: there is no distribution
    assert (found.p_values == 0).all()
    far = clever_scores(network, images(), radius=1e-3, batches=2, samples=1)
    assert np.all(far.radius == 1e-3)


def smooth_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 30), nn.Tanh(), nn.Linear(30, 3))


def test_on_a_smooth_network_the_fits_hold_and_the_estimate_is_above_what_was_seen():
    network = smooth_network()
    found = clever_scores(network, images(2), radius=0.5, batches=40, samples=30)
    assert found.failed.mean() < 0.5
    assert np.all(found.p_values[~found.failed] >= 0.05)
    assert np.all(found.constants >= found.seen)
    assert np.all(found.constants[~found.failed] > found.seen[~found.failed])
    assert np.all(found.constants[found.failed] == found.seen[found.failed])
    assert np.all(found.radius > 0)
    alone = clever_scores(network, images(1), radius=0.5, batches=40, samples=30, batch_size=7)
    np.testing.assert_allclose(alone.constants[0], found.constants[0], rtol=1e-5)
    np.testing.assert_array_equal(
        alone.constants, clever_scores(network, images(1), radius=0.5, batches=40, samples=30, batch_size=7).constants
    )


def test_in_a_tiny_ball_the_slopes_are_those_at_the_image():
    network = smooth_network()
    found = clever_scores(network, images(), radius=1e-4, batches=3, samples=2)
    np.testing.assert_allclose(found.seen.max(1), margin_gradients(network, images()).l2, rtol=1e-3)


def test_draws_fill_the_ball_uniformly():
    from convbench.lipschitz.clever import _ball

    image = torch.full((1, 2, 2), 0.5)
    offsets = (_ball(image, 3.0, 4000, torch.Generator().manual_seed(1)) - image).flatten(1).double()
    radii = offsets.norm(dim=1)
    assert float(radii.max()) <= 3.0 * (1 + 1e-6)
    assert kstest((radii.numpy() / 3.0) ** 4, "uniform").pvalue > 0.01  # volume grows with the 4th power
    assert float(offsets.mean(0).abs().max()) < 0.1


@pytest.mark.parametrize("wrong", [{"radius": 0.0}, {"radius": np.nan}, {"batches": 1}, {"samples": 0}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="are needed"):
        clever_scores(smooth_network(), images(), **wrong)


def test_one_class_has_no_target():
    with pytest.raises(MetricNotDefinedError, match="this needs 2"):
        clever_scores(nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), images())
