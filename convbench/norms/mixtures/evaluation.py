"""Mixture normalization by a mixture that stays: each position by itself, differentiable through the posteriors."""

import torch
from torch import Tensor

from convbench.norms.mixtures.batch_passes import passes_of, torch_passes_of
from convbench.norms.mixtures.gaussian_mixture import LogJoint, Mixture, log_joint


def normalize_by_mixture(
    x: Tensor, mixture: Mixture, mean_c: Tensor, std_c: Tensor, scale_kc: Tensor, bias_c: Tensor
) -> Tensor:
    """`sum_k p(k | x) * scale_k * (x - mean_k) + bias`, for a mixture of (x - mean) / std."""
    square_kc, linear_kc, constant_k = log_joint(mixture)
    joint = LogJoint(square_kc / std_c.square(), linear_kc / std_c, constant_k)
    offset_kc = bias_c - scale_kc * (mixture.mean_kc * std_c)  # sum_k p(k | x) = 1: it carries the bias
    passes = torch_passes_of(x) if torch.is_grad_enabled() else passes_of(x)
    return passes.evaluate(x, mean_c, joint, scale_kc, offset_kc)
