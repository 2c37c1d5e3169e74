"""A small plain network for first steps and tests."""

from torch import nn

from convbench.errors import ConfigError
from convbench.models.contract import MODELS
from convbench.models.convolution import conv2d
from convbench.norms import Norm


@MODELS.register("simple_cnn", reference="three convolutions, see convbench/models/simple_cnn.py")
def simple_cnn(norm: Norm, num_classes: int, in_channels: int = 3, *, width: int = 32) -> nn.Module:
    """Three 3x3 convolutions (`width`, twice, four times), two max-poolings, global average, one linear layer."""
    if width < 1:
        raise ConfigError(f"model 'simple_cnn': width must be at least 1, got {width}.")
    return nn.Sequential(
        norm(conv2d(norm, in_channels, width)),
        nn.ReLU(),
        nn.MaxPool2d(2),
        norm(conv2d(norm, width, 2 * width)),
        nn.ReLU(),
        nn.MaxPool2d(2),
        norm(conv2d(norm, 2 * width, 4 * width)),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, num_classes),
    )
