"""Group, layer and instance normalization: each image by itself, over groups of channels and all positions.

    y = gamma * (x - mean_g) / sqrt(var_g + eps) + beta

with mean_g and var_g (biased) over the channels of a group and H x W, gamma and beta per channel. Nothing is kept
between batches, and training and evaluation are the same function. These are torch's own layers.

- group: Wu & He, "Group Normalization", ECCV 2018, https://arxiv.org/abs/1803.08494.
- layer: Ba, Kiros & Hinton, "Layer Normalization", https://arxiv.org/abs/1607.06450, as ConvNets use it: one group of
  all channels (`nn.GroupNorm(1, C)`), gamma and beta per channel. It is neither `nn.LayerNorm((C, H, W))`, which has a
  gamma per pixel and fits one image size only, nor ConvNeXt's normalization of each position over its channels.
- instance: Ulyanov, Vedaldi & Lempitsky, "Instance Normalization: The Missing Ingredient for Fast Stylization",
  https://arxiv.org/abs/1607.08022: one group per channel, without running statistics.
"""

import math
from functools import partial

from torch import Tensor, nn

from convbench.errors import ConfigError
from convbench.norms.contract import NORMS, Norm


class SinglePixelError(ConfigError, ValueError):
    """Feature maps of one pixel: a `ValueError` as torch's, and one line and exit code 2 in the command line."""


class InstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` with gamma and beta, which says what is wrong with a feature map of one pixel.

    There the mean is the pixel itself: the output would be beta for every image. Torch refuses it as well, also at
    evaluation.

    Raises:
        SinglePixelError: H = W = 1.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__(num_features, eps=eps, affine=True)

    def forward(self, input: Tensor) -> Tensor:
        if tuple(input.shape[-2:]) == (1, 1):
            raise SinglePixelError(
                "norm 'instance': a feature map of 1x1 pixels has no variance, so that instance normalization would "
                "erase it; use larger images, a model that pools less, norm 'group' or 'layer', or `where` to have "
                "it in earlier layers only (instance:where=layer1*)."
            )
        return super().forward(input)


def number_of_groups(channels: int, groups: int) -> int:
    """The largest divisor of `channels` that divides `groups` too and leaves two channels or more in a group.

    32 groups, the paper's default, make 32 of 64 channels, 16 of 32 and of 48, 8 of 16, and 4 of 28. One channel per
    group would be instance normalization.
    """
    fitting = [d for d in range(1, channels // 2 + 1) if channels % d == 0 and groups % d == 0]
    return max(fitting, default=1)


@NORMS.register("group", aliases=("gn",), reference="Wu & He 2018, arXiv 1803.08494")
def group(*, groups: int = 32, eps: float = 1e-5) -> Norm:
    """Group normalization; fewer groups where `groups` does not divide the channels, at least two channels in each."""
    if groups < 1:
        raise ConfigError(f"norm 'group': groups must be at least 1, got {groups}.")
    _check_eps("group", eps)
    return Norm(on_output=lambda channels: nn.GroupNorm(number_of_groups(channels, groups), channels, eps=eps))


@NORMS.register("layer", aliases=("ln",), reference="Ba et al. 2016, arXiv 1607.06450")
def layer(*, eps: float = 1e-5) -> Norm:
    """Layer normalization of ConvNets: one mean and variance per image, over all channels and positions."""
    _check_eps("layer", eps)
    return Norm(on_output=partial(nn.GroupNorm, 1, eps=eps))


@NORMS.register("instance", aliases=("in",), reference="Ulyanov et al. 2016, arXiv 1607.08022")
def instance(*, eps: float = 1e-5) -> Norm:
    """Instance normalization: each channel of each image by its own mean and variance."""
    _check_eps("instance", eps)
    return Norm(on_output=partial(InstanceNorm2d, eps=eps))


def _check_eps(name: str, eps: float) -> None:
    if not 0 < eps < math.inf:
        raise ConfigError(f"norm {name!r}: eps must be positive and finite, got {eps}.")
