"""What a normalization is: something done to the convolution, to its output, or to both.

A channel-count factory (`norm_layer(64)`) cannot express ConvNorm or spectral normalization, which act on the
convolution itself. A `Norm` says both, and models know one axis only: they write `norm(nn.Conv2d(...))`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from convbench.registry import Registry


def _same(conv: nn.Conv2d) -> nn.Module:
    return conv


def _identity(num_features: int) -> nn.Module:
    return nn.Identity()


class NormalizedConv2d(nn.Sequential):
    """A convolution (or what replaces it) followed by its normalization: children `conv` and `norm`."""

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.add_module("conv", conv)
        self.add_module("norm", norm)


@dataclass(frozen=True)
class Norm:
    """A normalization, as models use it.

    Args:
        on_conv: an `nn.Conv2d` -> the module that takes its place, with its weights (ConvNorm, weight normalization).
        on_output: number of channels -> the module after the convolution (batch, mixture, group normalization).
        has_shift: whether the normalization adds a per-channel constant, so that a bias of the convolution is
            redundant. Models write `bias=not norm.has_shift`, so that `none` is not crippled.
    """

    on_conv: Callable[[nn.Conv2d], nn.Module] = _same
    on_output: Callable[[int], nn.Module] = _identity
    has_shift: bool = True

    def __call__(self, conv: nn.Conv2d) -> NormalizedConv2d:
        """The convolution, then its normalization."""
        return NormalizedConv2d(self.on_conv(conv), self.on_output(conv.out_channels))


NORMS: Registry[Callable[..., Norm]] = Registry("norm", "convbench.norms")
