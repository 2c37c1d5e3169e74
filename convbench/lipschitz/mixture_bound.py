"""The slope of a mixture normalization at evaluation, bounded over a ball or a box of channel vectors, or over all.

With the affine maps y_k = A_k x + c_k of the components, A_k = gamma / (sqrt(lam_k) s_k), their posteriors r_k and the
gradients g_k = -V_k^-1 (x - m_k) of the log densities, f = sum_k r_k y_k + beta has the Jacobian

    J = sum_k r_k A_k + 1/2 sum_jk r_j r_k (y_j - y_k) (g_j - g_k)^T

(the second term is the covariance of y and g under r), and sum_jk r_j r_k over j != k is at most 1 - 1/K:

    ||J|| <= max_k ||A_k|| + (1 - 1/K) / 2 max_jk ||y_j - y_k|| ||g_j - g_k||

Both differences are affine in x: they are bounded on bounded sets, and on all vectors only where the components share
their variances and their weights. max_k ||A_k|| alone is no bound. The second term is usually the larger by far.

As computed, posteriors below 1e-12 are zero, which makes jumps of about 1e-12 ||y_j - y_k||; no slope counts them.
"""

import math

import torch
from torch import Tensor

from convbench.norms import MixtureNorm2d
from convbench.norms.mixtures.gaussian_mixture import VARIANCE_FLOOR
from convbench.spectral.stages import batch_norm_gain

_ROUNDING = 1e-12


def mixture_slope_bound(layer: MixtureNorm2d, radius: float | Tensor = math.inf, center: Tensor | None = None) -> float:
    """An upper bound of ||J(x)||_2 over the channel vectors x with |x - center| <= radius.

    The layer treats each position by itself, so that this is also the bound for whole images.

    Args:
        layer: with running statistics; in evaluation mode.
        radius: L2 radius of a ball; or a tensor `(C,)`, the half sides of a box; or infinity, for all vectors.
        center: `(C,)`; by default 0.

    Returns:
        The bound; infinity where there is none. With one component it is the slope of the batch normalization,
        whatever the radius.

    Raises:
        ValueError: the layer keeps no running statistics, or a radius is negative or NaN.
    """
    sides = torch.as_tensor(radius, dtype=torch.float64)
    if not (sides >= 0).all():
        raise ValueError(f"a radius must be at least 0, got {float(sides.min())}")
    if layer.components == 1:
        return float(batch_norm_gain(layer).abs().max()) * (1 + _ROUNDING)
    slope_kc, offset_kc, precision_kc, pull_kc = _components(layer)
    middle = torch.zeros(layer.num_features).double() if center is None else center.detach().cpu().double()
    steepest, largest = float(slope_kc.abs().max()), 0.0
    for j in range(layer.components):
        for k in range(j):
            y = _largest_norm(slope_kc[j] - slope_kc[k], offset_kc[j] - offset_kc[k], middle, sides)
            g = _largest_norm(precision_kc[k] - precision_kc[j], pull_kc[j] - pull_kc[k], middle, sides)
            largest = max(largest, 0.0 if 0.0 in (y, g) else y * g)
    return (steepest + (1 - 1 / layer.components) / 2 * largest) * (1 + _ROUNDING)


def _largest_norm(slope_c: Tensor, offset_c: Tensor, middle: Tensor, sides: Tensor) -> float:
    """max of |slope * x + offset| over x in the ball or box (from above, for the ball)."""
    at_middle = slope_c * middle + offset_c
    if not slope_c.any():
        return float(at_middle.norm())
    if sides.dim() == 0:
        return float(at_middle.norm() + slope_c.abs().max() * sides)
    grown = torch.where(slope_c == 0, 0.0, slope_c.abs() * sides)
    return float((at_middle.abs() + grown).norm())


def _components(layer: MixtureNorm2d) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A and c of y_k = A_k x + c_k; V^-1 and V^-1 m of g_k = V_k^-1 (m_k - x): `(K, C)` each, without beta."""
    buffers = (layer.running_mean, layer.running_var, layer.comp_weight, layer.comp_mean, layer.comp_var)
    if any(buffer is None for buffer in buffers):
        raise ValueError("a mixture normalization without running statistics has no slope of its own: it sees batches")
    shift_c, variance_c, weight_k, mean_kc, var_kc = (b.detach().cpu().double() for b in buffers if b is not None)
    std_c = (variance_c + layer.eps).sqrt()
    gamma_c = torch.ones_like(std_c) if layer.weight is None else layer.weight.detach().cpu().double()
    gain_k = weight_k.clamp_min(layer.min_weight).rsqrt() if layer.scale == "fisher" else torch.ones_like(weight_k)
    center_kc = shift_c + mean_kc * std_c
    slope_kc = gain_k[:, None] * (var_kc * std_c.square() + layer.eps).rsqrt() * gamma_c
    precision_kc = 1 / (var_kc.clamp_min(VARIANCE_FLOOR) * std_c.square())
    return slope_kc, -slope_kc * center_kc, precision_kc, precision_kc * center_kc
