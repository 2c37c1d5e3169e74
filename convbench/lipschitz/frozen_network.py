"""A network as a fixed, differentiable function of each image by itself: what every estimate from below works on.

The network that was given is never touched. One copy is for speed (its own precision, batch normalizations folded into
the convolutions before them, the memory format that convolutions like), one for the numbers that are reported
(float64, nothing folded).
"""

import copy
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from convbench.errors import MetricNotDefinedError
from convbench.spectral.determinism import check_deterministic
from convbench.spectral.operator import check_finite

_SAME = 1e-9  # relative, in float64: sums in another order, with a wide margin


@dataclass(frozen=True)
class FrozenNetwork:
    """Two copies of a network in evaluation mode, their parameters without gradients.

    Args:
        fast: in the network's own precision, folded; it takes what `prepare` gives.
        exact: in float64 on the CPU, from images in [0, 1] to logits `(N, classes)`.
        classes: K.
        memory_format: of the images that `fast` takes.
        like: a tensor with the precision and the device of `fast`.
    """

    fast: nn.Module
    exact: nn.Module
    classes: int
    memory_format: torch.memory_format
    like: Tensor

    def prepare(self, images: Tensor) -> Tensor:
        """`images` (N, C, H, W) as `fast` takes them."""
        images = images.detach().to(device=self.like.device, dtype=self.like.dtype)
        return images.contiguous(memory_format=self.memory_format)


def in_float64(images: Tensor) -> Tensor:
    """`images` (N, C, H, W) as the exact copy takes them."""
    return images.detach().to(device="cpu", dtype=torch.float64).contiguous()


def freeze(model: nn.Module, images: Tensor, *, differentiable: bool = True, least_classes: int = 1) -> FrozenNetwork:
    """Copies of `model` that are checked to be a function of one image; it isn't changed itself.

    Args:
        model: from images in [0, 1] to logits `(N, K)`.
        images: float, shape `(N, C, H, W)`, N at least 1; the first two are tried.
        differentiable: whether that is needed.
        least_classes: fewer logits are refused.

    Raises:
        MetricNotDefinedError: a weight or a logit is NaN or infinite, the network doesn't return logits, can't be
            copied or applied in float64, isn't deterministic in evaluation mode, isn't differentiable, or its logits
            of an image depend on the other images of the batch.
        ValueError: there are no images.
    """
    if len(images) == 0:
        raise ValueError("a Lipschitz estimate over images needs at least one image")
    try:
        check_finite(model)
    except ValueError as error:
        raise MetricNotDefinedError(str(error)) from error
    exact = _copy(model).to(device="cpu", dtype=torch.float64).to(memory_format=torch.contiguous_format)
    tried = in_float64(images[:2])
    try:
        classes = _check_function(exact, tried, differentiable)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise MetricNotDefinedError(f"the network can't be applied to float64 images: {reason}") from error
    if classes < least_classes:
        raise MetricNotDefinedError(f"the network has {classes} logit(s); this needs {least_classes}")
    fast = _copy(model)
    like = next((t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()), images).detach()[:0]
    _fold_batch_norms(fast)
    frozen = FrozenNetwork(fast.to(memory_format=torch.channels_last), exact, classes, torch.channels_last, like)
    try:
        with torch.enable_grad():  # a `view` may fit the layout of the values, and not that of the gradients
            x = frozen.prepare(images[:2]).requires_grad_()
            torch.autograd.grad(fast(x).sum(), x, allow_unused=True)
    except RuntimeError:
        fast = fast.to(memory_format=torch.contiguous_format)
        frozen = FrozenNetwork(fast, exact, classes, torch.contiguous_format, like)
    return frozen


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model).eval().requires_grad_(False)
    except (RuntimeError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise MetricNotDefinedError(f"the network can't be copied: {reason}") from error


def _check_function(exact: nn.Module, images: Tensor, differentiable: bool) -> int:
    """The number of logits of what is found to be a function of single images."""
    first = images[:1]
    with torch.no_grad():
        logits = exact(images)
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(images) or logits.shape[1] == 0:
            raise MetricNotDefinedError("the network doesn't return logits of shape (N, K)")
        if not torch.isfinite(logits).all():
            raise MetricNotDefinedError("the logits are NaN or infinite")
        check_deterministic(exact, images)
        alone, elsewhere = exact(first), exact(1 - first)
    if (alone - logits[:1]).abs().max() > _SAME * (1e-300 + logits.abs().max()):
        raise MetricNotDefinedError("the logits of an image depend on the other images of its batch")
    if not differentiable:
        return logits.shape[1]
    with torch.enable_grad():
        x = first.clone().requires_grad_()
        logits = exact(x)
        reached = logits.requires_grad and torch.autograd.grad(logits.sum(), x, allow_unused=True)[0] is not None
    if not reached and not torch.equal(alone, elsewhere):
        raise MetricNotDefinedError("the network isn't differentiable: no gradient of the logits reaches the image")
    return logits.shape[1]


def _fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch normalization that directly follows a convolution in a sequence into that convolution.

    Equal to rounding. Elsewhere the order of calls isn't known from the modules, and nothing is changed.
    """
    names = [id(module) for _, module in network.named_modules(remove_duplicate=False)]
    for sequence in list(network.modules()):
        if not isinstance(sequence, nn.Sequential) or type(sequence).forward is not nn.Sequential.forward:
            continue
        parts = list(sequence.named_children())
        for (name, conv), (follower, norm) in pairwise(parts):
            if type(conv) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d or norm.running_var is None:
                continue
            own = names.count(id(conv)) == 1 == names.count(id(norm))
            if own and not any(_has_hooks(module) for module in (sequence, conv, norm)):
                setattr(sequence, name, fuse_conv_bn_eval(conv, norm))
                setattr(sequence, follower, nn.Identity())


def _has_hooks(module: nn.Module) -> bool:
    """Whether someone reads or changes what the module takes or gives (parametrizations change its class)."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
