"""The training transform of mixture normalization, with its backward pass in closed form.

With the responsibilities r_ik of a fitted mixture held constant, x_i the M = N*H*W channel vectors of the batch and
`shift` any constant per channel (the transform is exactly shift invariant; the batch mean keeps squares accurate):

    rt_ik  = r_ik + kappa / M                        smoothing: an empty component falls back to the whole batch
    mass_k = sum_i rt_ik,                            lam_k = mass_k / (M + K * kappa)
    mean_k = sum_i rt_ik (x_i - shift) / mass_k,     var_k = sum_i rt_ik (x_i - shift)^2 / mass_k - mean_k^2
    y_i    = sum_k r_ik * gain_k * (x_i - shift - mean_k) / sqrt(var_k + eps) * gamma + beta

`gain_k` is 1/sqrt(lam_k) in the Fisher vector's scaling. The gradient flows through mean_k and var_k, as it does in
batch normalization, and not through r or lam. Written as `y = xs * (P^T r) - (Q^T r)`, with K x C matrices P and Q,
nothing loops over components; only x and r are kept for the backward pass.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from convbench.norms.gaussian_mixture import Mixture, log_joint
from convbench.norms.position_layout import Layout

POSTERIOR_FLOOR = 1e-12  # smaller responsibilities become 0: denormal numbers make matrix products 3-10x slower


class BatchMoments(NamedTuple):
    """What one batch says about each component: mass `(K,)`, mean of `x - shift` and variance `(K, C)`."""

    mass_k: Tensor
    mean_kc: Tensor
    var_kc: Tensor


def posteriors(layout: Layout, xs: Tensor, square: Tensor, mixture: Mixture, std_c: Tensor) -> Tensor:
    """The E-step: p(k | x) of a mixture in units of `std`, for `xs` = x - mean and its square."""
    square_kc, linear_kc, constant_k = log_joint(mixture)
    logits = layout.project(square_kc / std_c.square(), square) + layout.project(linear_kc / std_c, xs)
    # The clamp keeps a huge outlier, infinitely unlikely under every component, from becoming NaN; NaN passes.
    logits = (logits + layout.per_component(constant_k)).clamp_min(-1e30)
    return F.threshold(logits.softmax(layout.component_axis), POSTERIOR_FLOOR, 0.0)


def batch_moments(
    layout: Layout, resp: Tensor, xs: Tensor, square: Tensor, batch_var_c: Tensor, kappa: float
) -> BatchMoments:
    """The smoothed moments per component; `xs` is x less its batch mean, so that `kappa` adds only variance."""
    mass_k = resp.sum(layout.position_axes) + kappa
    mean_kc = layout.reduce(resp, xs) / mass_k[:, None]
    square_kc = (layout.reduce(resp, square) + kappa * batch_var_c) / mass_k[:, None]
    return BatchMoments(mass_k, mean_kc, (square_kc - mean_kc.square()).clamp_min(0))


def normalize(layout: Layout, xs: Tensor, resp: Tensor, mean_kc: Tensor, scale_kc: Tensor, bias_c: Tensor) -> Tensor:
    """`sum_k r_k * scale_k * (xs - mean_k) + bias`; sum_k r_k = 1 lets the bias ride in the rank-K term."""
    offset_kc = bias_c - scale_kc * mean_kc
    if torch.is_grad_enabled() and (xs.requires_grad or scale_kc.requires_grad or bias_c.requires_grad):
        return xs * layout.expand(scale_kc, resp) + layout.expand(offset_kc, resp)
    return layout.expand_add_(layout.expand(scale_kc, resp).mul_(xs), offset_kc, resp)


class MixtureTransform(torch.autograd.Function):
    """`y` from x and fixed responsibilities; gradients for x, gamma and beta."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma_c: Tensor,
        beta_c: Tensor,
        xs: Tensor,
        resp: Tensor,
        shift_c: Tensor,
        moments: BatchMoments,
        gain_k: Tensor,
        eps: float,
        kappa: float,
        layout: Layout,
    ) -> Tensor:
        inv_std_kc = (moments.var_kc + eps).rsqrt()
        scale_kc = gain_k[:, None] * inv_std_kc * gamma_c
        y = normalize(layout, xs, resp, moments.mean_kc, scale_kc, beta_c)
        ctx.save_for_backward(x, resp, shift_c, moments.mass_k, moments.mean_kc, inv_std_kc, gain_k, gamma_c)
        ctx.kappa, ctx.layout = kappa, layout
        return layout.restore(y, x).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  the decorator hides the parameter names
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, resp, shift_c, mass_k, mean_kc, inv_std_kc, gain_k, gamma_c = ctx.saved_tensors
        layout: Layout = ctx.layout
        with torch.autocast(x.device.type, enabled=False):
            grad = layout.view(grad_outputs[0]).to(resp.dtype)
            xs = layout.view(x) - layout.per_channel(shift_c)
            grad_k_c = layout.reduce(resp, grad)  # sum_i r_ik g_i
            grad_xs_kc = layout.reduce(resp, grad * xs) - mean_kc * grad_k_c  # sum_i r_ik g_i (xs_i - mean_k)
            scale_kc = gain_k[:, None] * inv_std_kc
            grad_gamma_c = (scale_kc * grad_xs_kc).sum(0)
            grad_beta_c = grad_k_c.sum(0)
            grad_x = None
            if ctx.needs_input_grad[0]:
                scale_kc = scale_kc * gamma_c
                grad_var_kc = -0.5 * inv_std_kc.square() * scale_kc * grad_xs_kc
                grad_mean_kc = -scale_kc * grad_k_c
                slope_kc = 2 * grad_var_kc / mass_k[:, None]
                level_kc = grad_mean_kc / mass_k[:, None] - slope_kc * mean_kc
                # rt = r + kappa/M: its second part is a constant per channel, and sum_k r_k = 1 carries it.
                smoothing = ctx.kappa * resp.shape[layout.component_axis] / resp.numel()  # kappa / M
                slope_kc = slope_kc + smoothing * slope_kc.sum(0)
                level_kc = level_kc + smoothing * level_kc.sum(0)
                direct = layout.expand(scale_kc, resp).mul_(grad)
                direct.addcmul_(layout.expand(slope_kc, resp), xs)
                grad_x = layout.restore(layout.expand_add_(direct, level_kc, resp), x).to(x.dtype)
        return grad_x, grad_gamma_c, grad_beta_c, *(None,) * 8
