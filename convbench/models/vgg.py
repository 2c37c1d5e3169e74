"""VGG networks for small images (Simonyan and Zisserman 2015, arXiv:1409.1556).

The convolutions of configurations A (11 layers) and D (16 layers). As usual for CIFAR, a global average and one linear
layer replace the last pooling and the three fully connected layers.
"""

from torch import nn

from convbench.errors import ConfigError
from convbench.models.contract import MODELS
from convbench.models.convolution import conv2d
from convbench.norms import Norm

_PAPER = "Simonyan & Zisserman 2015, arXiv:1409.1556"
# Widths of the convolutions in each stage; a 2x2 max-pooling stands between stages.
_WIDTHS_11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_WIDTHS_16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def _vgg(
    norm: Norm, stages: tuple[tuple[int, ...], ...], num_classes: int, in_channels: int, dropout: float
) -> nn.Module:
    if not 0 <= dropout < 1:
        raise ConfigError(f"model 'vgg': dropout must be at least 0 and below 1, got {dropout}.")
    layers: list[nn.Module] = []
    channels = in_channels
    for index, widths in enumerate(stages):
        if index > 0:
            layers.append(nn.MaxPool2d(2))
        for width in widths:
            layers += [norm(conv2d(norm, channels, width)), nn.ReLU()]
            channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if dropout > 0:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(channels, num_classes))


@MODELS.register("vgg11", reference=_PAPER)
def vgg11(norm: Norm, num_classes: int, in_channels: int = 3, *, dropout: float = 0.0) -> nn.Module:
    """Plain network of 8 convolutions, 64 to 512 channels, and one linear layer."""
    return _vgg(norm, _WIDTHS_11, num_classes, in_channels, dropout)


@MODELS.register("vgg16", reference=_PAPER)
def vgg16(norm: Norm, num_classes: int, in_channels: int = 3, *, dropout: float = 0.0) -> nn.Module:
    """Plain network of 13 convolutions, 64 to 512 channels, and one linear layer."""
    return _vgg(norm, _WIDTHS_16, num_classes, in_channels, dropout)
