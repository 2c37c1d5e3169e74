"""Gaussian mixtures with diagonal covariance, fitted to a few thousand standardized channel vectors.

    p(x) = sum_k weight_k * N(x | mean_k, diag var_k),    x of C channels

Everything works on rows `(M, C)` in standardized units (zero mean, unit variance per channel), without which
k-means++ depends on the scale of the channels. No function loops on a condition, so that NaN cannot hang a fit.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# Of a component in the E-step, in standardized units. Without it the posterior of a point-like component (a constant
# background) hinges on how the batch's mean fluctuates; 1e-2 halved the gap between training and evaluation of 1e-4.
VARIANCE_FLOOR = 1e-2


class Mixture(NamedTuple):
    """Weights `(K,)`, means `(K, C)` and variances `(K, C)` of K components."""

    weight_k: Tensor
    mean_kc: Tensor
    var_kc: Tensor

    def moved_towards(self, batch: "Mixture", factor: float) -> "Mixture":
        """The running average; a component moves by its share of the batch, so that an absent one stays where it is."""
        weight_k = (1 - factor) * self.weight_k + factor * batch.weight_k
        step_k1 = (factor * batch.weight_k / weight_k)[:, None]
        return Mixture(weight_k, self.mean_kc.lerp(batch.mean_kc, step_k1), self.var_kc.lerp(batch.var_kc, step_k1))


class LogJoint(NamedTuple):
    """`log(weight_k N(x | mean_k, var_k)) = sum_c(square_kc x^2 + linear_kc x) + constant_k`, up to a constant."""

    square_kc: Tensor
    linear_kc: Tensor
    constant_k: Tensor


def log_joint(mixture: Mixture) -> LogJoint:
    """The coefficients that make the E-step two matrix products, in log space: a density would underflow."""
    var_kc = mixture.var_kc.clamp_min(VARIANCE_FLOOR)
    constant_k = mixture.weight_k.log() - 0.5 * (mixture.mean_kc.square() / var_kc + var_kc.log()).sum(1)
    return LogJoint(-0.5 / var_kc, mixture.mean_kc / var_kc, constant_k)


def log_densities(mixture: Mixture, rows_mc: Tensor) -> Tensor:
    """The log joint density of each row and component, shape `(M, K)`, less `C/2 log 2 pi`."""
    square_kc, linear_kc, constant_k = log_joint(mixture)
    return rows_mc.square() @ square_kc.t() + rows_mc @ linear_kc.t() + constant_k


def estimate_mixture(rows_mc: Tensor, resp_mk: Tensor, kappa: float) -> Mixture:
    """The M-step; `kappa` pseudo-rows per component, drawn from all rows, keep an empty one defined."""
    mass_k = resp_mk.sum(0) + kappa
    prior_c, prior_square_c = rows_mc.mean(0), rows_mc.square().mean(0)
    mean_kc = (resp_mk.t() @ rows_mc + kappa * prior_c) / mass_k[:, None]
    square_kc = (resp_mk.t() @ rows_mc.square() + kappa * prior_square_c) / mass_k[:, None]
    var_kc = (square_kc - mean_kc.square()).clamp_min(VARIANCE_FLOOR)
    return Mixture(mass_k / mass_k.sum(), mean_kc, var_kc)


def fit_mixture(
    rows_mc: Tensor,
    components: int,
    *,
    generator: torch.Generator,
    kappa: float = 0.01,
    restarts: int = 3,
    lloyd: int = 3,
    em_steps: int = 5,
) -> Mixture:
    """Fit by k-means++, `lloyd` k-means steps and `em_steps` of EM; the likeliest of `restarts`.

    A single k-means++ start ends in a local optimum in a fifth of the cases with five components.
    """
    best: Mixture | None = None
    best_score = rows_mc.new_zeros(())
    for _ in range(restarts):
        center_kc = _seed_centers(rows_mc, components, generator)
        resp_mk = _nearest(rows_mc, center_kc)
        for _ in range(lloyd):
            count_k = resp_mk.sum(0)[:, None]
            moved_kc = resp_mk.t() @ rows_mc / count_k.clamp_min(1)
            center_kc = torch.where(count_k > 0, moved_kc, center_kc)
            resp_mk = _nearest(rows_mc, center_kc)
        mixture = estimate_mixture(rows_mc, resp_mk, kappa)
        for _ in range(em_steps):
            mixture = estimate_mixture(rows_mc, log_densities(mixture, rows_mc).softmax(1), kappa)
        score = log_densities(mixture, rows_mc).logsumexp(1).mean()
        if best is None or score > best_score:
            best, best_score = mixture, score
    assert best is not None
    return best


def _seed_centers(rows_mc: Tensor, components: int, generator: torch.Generator) -> Tensor:
    """k-means++ (Arthur & Vassilvitskii 2007): each next centre is drawn by its squared distance to the nearest."""
    uniform = torch.rand(components, generator=generator, dtype=torch.float64).tolist()
    last = len(rows_mc) - 1
    chosen = [min(int(uniform[0] * len(rows_mc)), last)]
    distance_m = (rows_mc - rows_mc[chosen[0]]).square().sum(1)
    for k in range(1, components):
        # Inverse of the cumulated distances: defined for all-equal rows and for NaN, where `multinomial` raises.
        cumulated_m = distance_m.double().cumsum(0)
        position = int(torch.searchsorted(cumulated_m, cumulated_m[-1] * uniform[k], right=True))
        chosen.append(min(position, last))
        distance_m = torch.minimum(distance_m, (rows_mc - rows_mc[chosen[k]]).square().sum(1))
    return rows_mc[chosen]


def _nearest(rows_mc: Tensor, center_kc: Tensor) -> Tensor:
    """One-hot `(M, K)`: which centre is nearest to each row."""
    distance_mk = center_kc.square().sum(1) - 2 * rows_mc @ center_kc.t()
    return torch.nn.functional.one_hot(distance_mk.argmin(1), len(center_kc)).to(rows_mc.dtype)
