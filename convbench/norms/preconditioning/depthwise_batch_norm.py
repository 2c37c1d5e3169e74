"""A depthwise convolution followed by batch normalization, which keep one activation for the backward pass.

    z = r * y + b,    out = gamma (z - mean z) / sqrt(var z + eps) + beta

As two modules they keep y and z. The convolution costs a fiftieth of a ConvNorm layer, so that z is computed again in
the backward pass. In evaluation the normalization goes into the kernel, and z is never made.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pair = tuple[int, int]


class DepthwiseBatchNorm(torch.autograd.Function):
    """`DepthwiseBatchNorm.apply(y, r, b, gamma, beta, running mean, running variance, momentum, eps, padding)`.

    In training mode: normalizes by the batch's statistics and updates the running ones. Returns the output, then the
    mean and the inverse deviation that were used. Differentiable any number of times.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        y: Tensor,
        r: Tensor,
        b: Tensor,
        gamma: Tensor,
        beta: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
        padding: Pair,
    ) -> tuple[Tensor, Tensor, Tensor]:
        z = _convolve(y, r, b, padding)
        return torch.native_batch_norm(z, gamma, beta, running_mean, running_var, True, momentum, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        y, r, b, gamma, *_, ctx.eps, ctx.padding = inputs
        _, mean, inverse_deviation = output
        ctx.mark_non_differentiable(mean, inverse_deviation)
        ctx.save_for_backward(y, r, b, gamma, mean, inverse_deviation)
        ctx.save_for_forward(y, r, b, gamma, mean, inverse_deviation)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        y, r, b, gamma, mean, inverse_deviation = ctx.saved_tensors
        with torch.autocast(y.device.type, enabled=False):
            z = _convolve(y, r, b, ctx.padding)
            grad, grad_gamma, grad_beta = torch.ops.aten.native_batch_norm_backward(
                grad_outputs[0], z, gamma, None, None, mean, inverse_deviation, True, ctx.eps, [True, True, True]
            )
            needed = list(ctx.needs_input_grad[:3])
            grads = torch.ops.aten.convolution_backward(
                grad, y, r.to(y.dtype), [len(b)], [1, 1], list(ctx.padding), [1, 1], False, [0, 0], len(b), needed
            )
        return *grads, grad_gamma, grad_beta, *[None] * 5

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, None, None]:
        y, r, b, gamma, mean, inverse_deviation = ctx.saved_tensors
        y_t, r_t, b_t, gamma_t, beta_t = (
            torch.zeros_like(of) if tangent is None else tangent
            for tangent, of in zip(tangents, (y, r, b, gamma, gamma), strict=False)
        )
        mean, scale, gamma, gamma_t, beta_t = (
            value[:, None, None] for value in (mean, inverse_deviation, gamma, gamma_t, beta_t)
        )
        unit = (_convolve(y, r, b, ctx.padding) - mean) * scale
        change = _convolve(y_t, r, b_t, ctx.padding) + _convolve(y, r_t, torch.zeros_like(b), ctx.padding)
        axes = (0, 2, 3)
        centred = change - change.mean(axes, keepdim=True) - unit * (unit * change).mean(axes, keepdim=True)
        return gamma * scale * centred + gamma_t * unit + beta_t, None, None


def depthwise(channels: int, kernel_size: Pair, init: str, factory: dict[str, Any]) -> nn.Conv2d:
    """r: by torch's default initialization ("kaiming"), or as the identity ("delta")."""
    r = nn.Conv2d(channels, channels, kernel_size, groups=channels, **factory)
    if init == "delta":
        for parameter in r.parameters():
            nn.init.zeros_(parameter)
        with torch.no_grad():
            r.weight[:, :, (kernel_size[0] - 1) // 2, (kernel_size[1] - 1) // 2] = 1
    return r


def smooth(y: Tensor, r: nn.Conv2d, bn: nn.Module | None, *, circular: bool) -> Tensor:
    """`bn(r(y))` at the size of y, which is padded by zeros or by itself."""
    rows, cols = (((k - 1) // 2, k // 2) for k in r.kernel_size)
    padding = (rows[0], cols[0])
    if circular or rows[0] != rows[1] or cols[0] != cols[1]:
        y, padding = F.pad(y, (*cols, *rows), mode="circular" if circular else "constant"), (0, 0)
    if bn is None:
        return F.conv2d(y, r.weight, r.bias, 1, padding, 1, y.shape[1])
    return depthwise_batch_norm(y, r, bn, padding)


def depthwise_batch_norm(y: Tensor, r: nn.Conv2d, bn: nn.Module, padding: Pair) -> Tensor:
    """`bn(r(y))`, y padded by `padding` zeros; falls back on the two modules where they are not the plain ones.

    Args:
        y: shape `(N, C, H, W)`.
        r: depthwise, its own padding is not read.
        bn: a `BatchNorm2d`, or what took its place.
    """
    if not isinstance(bn, nn.BatchNorm2d) or type(bn) is not nn.BatchNorm2d or not bn.affine or _has_hooks(bn):
        return bn(_convolve(y, r.weight, r.bias, padding))
    if bn.running_mean is None or bn.momentum is None or r.bias is None or torch.compiler.is_compiling():
        return bn(_convolve(y, r.weight, r.bias, padding))
    mean, variance, steps = bn.running_mean, bn.running_var, bn.num_batches_tracked
    if not bn.training and variance is not None:
        # Wide, because a small running variance makes a large scale of few digits.
        scale = (variance.to(torch.promote_types(variance.dtype, torch.float32)) + bn.eps).rsqrt() * bn.weight
        return _convolve(y, r.weight * scale[:, None, None, None], (r.bias - mean) * scale + bn.bias, padding)
    if steps is None or not torch.is_grad_enabled() or y[:, 0].numel() <= 1:  # the module refuses one value
        return bn(_convolve(y, r.weight, r.bias, padding))
    steps.add_(1)
    parameters = (r.weight, r.bias, bn.weight, bn.bias, mean, variance)
    return DepthwiseBatchNorm.apply(y, *parameters, bn.momentum, bn.eps, padding)[0]


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def _convolve(y: Tensor, r: Tensor, b: Tensor | None, padding: Pair) -> Tensor:
    b = None if b is None else b.to(y.dtype)
    return F.conv2d(y, r.to(y.dtype), b, 1, padding, 1, y.shape[1])
