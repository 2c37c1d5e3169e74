"""Densely connected networks (Huang et al. 2017, arXiv:1608.06993), the plain form for CIFAR.

Depth 40, growth 12: three dense blocks of 12 layers, each layer norm - relu - 3x3 convolution (pre-activation);
between blocks norm - relu - 1x1 convolution - 2x2 average pooling without compression. The normalization of the
output and that of the convolution are in different places here, so they are applied separately.
"""

import torch
from torch import nn

from convbench.errors import ConfigError
from convbench.models.contract import MODELS
from convbench.models.convolution import conv2d
from convbench.norms import Norm


class PreActivation(nn.Sequential):
    """norm - relu - convolution."""

    def __init__(self, norm: Norm, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.add_module("norm", norm.on_output(in_channels))
        self.add_module("relu", nn.ReLU())
        self.add_module("conv", norm.on_conv(conv2d(norm, in_channels, out_channels, kernel_size)))


class DenseLayer(nn.Module):
    """Its input, and `growth` new channels computed from it."""

    def __init__(self, norm: Norm, in_channels: int, growth: int) -> None:
        super().__init__()
        self.branch = PreActivation(norm, in_channels, growth, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.branch(x)], dim=1)


@MODELS.register("densenet40", reference="Huang et al. 2017, arXiv:1608.06993")
def densenet40(norm: Norm, num_classes: int, in_channels: int = 3, *, growth: int = 12) -> nn.Module:
    """Densely connected network of 40 layers, growth 12, without bottleneck and compression."""
    if growth < 1:
        raise ConfigError(f"model 'densenet40': growth must be at least 1, got {growth}.")
    channels = 16
    layers: list[nn.Module] = [norm.on_conv(conv2d(norm, in_channels, channels, 3))]
    for block in range(3):
        if block > 0:
            layers += [PreActivation(norm, channels, channels, 1), nn.AvgPool2d(2)]
        for _ in range(12):
            layers.append(DenseLayer(norm, channels, growth))
            channels += growth
    layers += [norm.on_output(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels, num_classes))
