"""The training transform of mixture normalization, with its backward pass in closed form.

With the responsibilities r_ik of a fitted mixture held constant, x_i the M = N*H*W channel vectors of the batch and
`shift` any constant per channel (the transform is exactly shift invariant; the batch mean keeps squares accurate):

    rt_ik  = r_ik + kappa / M                        smoothing: an empty component falls back to the whole batch
    mass_k = sum_i rt_ik,                            lam_k = mass_k / (M + K * kappa)
    mean_k = sum_i rt_ik (x_i - shift) / mass_k,     var_k = sum_i rt_ik (x_i - shift)^2 / mass_k - mean_k^2
    y_i    = sum_k r_ik * gain_k * (x_i - shift - mean_k) / sqrt(var_k + eps) * gamma + beta

`gain_k` is 1/sqrt(lam_k) in the Fisher vector's scaling. The gradient flows through mean_k and var_k, as it does in
batch normalization, and not through r or lam. Only x and r are kept for the backward pass. All sums over i are `total`
sums: over the batches of all processes where the layer is synchronized.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from convbench.norms.channel_moments import ChannelMoments
from convbench.norms.mixtures.batch_passes import Passes
from convbench.norms.mixtures.gaussian_mixture import LogJoint, Mixture, log_joint
from convbench.norms.process_sums import Total


class Assignment(NamedTuple):
    """A batch and its modes: responsibilities, as the passes keep them, and the smoothed moments of `x - shift`.

    `positions` M is a 0-d tensor, `shift_c` `(C,)`, `mass_k` `(K,)`, `mean_kc` and `var_kc` `(K, C)`.
    """

    resp: list[Tensor]
    positions: Tensor
    shift_c: Tensor
    mass_k: Tensor
    mean_kc: Tensor
    var_kc: Tensor

    @property
    def share_k(self) -> Tensor:
        """lam_k."""
        return self.mass_k / self.mass_k.sum()

    def mixture(self, std_c: Tensor) -> Mixture:
        """The mixture that these moments are of, in units of `std_c`."""
        return Mixture(self.share_k, self.mean_kc / std_c, self.var_kc / std_c.square())


def assign(
    x: Tensor, passes: Passes, mixture: Mixture, moments: ChannelMoments, std_c: Tensor, kappa: float, total: Total
) -> Assignment:
    """The E-step of a mixture in units of `std_c` around the mean of `moments`, and the moments that it gives."""
    positions, mean_c, var_c = moments
    square_kc, linear_kc, constant_k = log_joint(mixture)
    joint = LogJoint(square_kc / std_c.square(), linear_kc / std_c, constant_k)
    resp, *sums = passes.assign(x, mean_c, joint)
    mass_k, sum_kc, square_kc = total(*sums)
    # The mean of x - shift is 0, so that the smoothing adds mass and variance only.
    mass_k = mass_k + kappa
    mean_kc = sum_kc / mass_k[:, None]
    var_kc = (square_kc + kappa * var_c) / mass_k[:, None] - mean_kc.square()
    return Assignment(resp, positions, mean_c, mass_k, mean_kc, var_kc.clamp_min(0))


class MixtureTransform(torch.autograd.Function):
    """`y` from x and fixed responsibilities; gradients for x, gamma and beta."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma_c: Tensor,
        beta_c: Tensor,
        batch: Assignment,
        gain_k: Tensor,
        eps: float,
        kappa: float,
        passes: Passes,
        total: Total,
    ) -> Tensor:
        inv_std_kc = (batch.var_kc + eps).rsqrt()
        scale_kc = gain_k[:, None] * inv_std_kc * gamma_c
        offset_kc = beta_c - scale_kc * batch.mean_kc  # sum_k r_k = 1: it carries beta
        y = passes.transform(x, batch.resp, batch.shift_c, scale_kc, offset_kc)
        ctx.save_for_backward(
            x, batch.positions, batch.shift_c, batch.mass_k, batch.mean_kc, inv_std_kc, gain_k, gamma_c, *batch.resp
        )
        ctx.kappa, ctx.passes, ctx.total = kappa, passes, total
        return y

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  the decorator hides the parameter names
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, positions, shift_c, mass_k, mean_kc, inv_std_kc, gain_k, gamma_c, *resp = ctx.saved_tensors
        passes: Passes = ctx.passes
        with torch.autocast(x.device.type, enabled=False):
            grad = grad_outputs[0].contiguous(memory_format=passes.layout.memory_format)
            grad_kc, grad_xs_kc = passes.reduce(x, grad, resp, shift_c)
            grad_xs_kc = grad_xs_kc - mean_kc * grad_kc  # sum_i r_ik g_i (xs_i - mean_k)
            scale_kc = gain_k[:, None] * inv_std_kc
            grad_gamma_c, grad_beta_c = (scale_kc * grad_xs_kc).sum(0), grad_kc.sum(0)
            grad_x = None
            if ctx.needs_input_grad[0]:
                grad_kc, grad_xs_kc = ctx.total(grad_kc, grad_xs_kc)
                scale_kc = scale_kc * gamma_c
                grad_var_kc = -0.5 * inv_std_kc.square() * scale_kc * grad_xs_kc
                slope_kc = 2 * grad_var_kc / mass_k[:, None]
                level_kc = -scale_kc * grad_kc / mass_k[:, None] - slope_kc * mean_kc
                # rt = r + kappa/M: its second part is a constant per channel, and sum_k r_k = 1 carries it.
                smoothing = ctx.kappa / positions
                slope_kc = slope_kc + smoothing * slope_kc.sum(0)
                level_kc = level_kc + smoothing * level_kc.sum(0)
                level_kc = level_kc - slope_kc * shift_c
                coefficients = (part.to(inv_std_kc.dtype) for part in (scale_kc, slope_kc, level_kc))
                grad_x = passes.gradient(x, grad, resp, *coefficients)
        return grad_x, grad_gamma_c, grad_beta_c, *(None,) * 6
