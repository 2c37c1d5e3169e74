"""The 5-layer network of the mixture-normalization paper (Kalayeh and Shah 2019, arXiv:1806.02892).

Layer sizes are those that public re-implementations give for "the architecture of the MN paper": four convolutions
and one linear layer, poolings padded (32 -> 16 -> 8 -> 4 pixels). The final average covers the whole feature map, so
that other image sizes fit.
"""

from torch import nn

from convbench.models.contract import MODELS
from convbench.models.convolution import conv2d
from convbench.norms import Norm


@MODELS.register("mn_cnn5", reference="Kalayeh & Shah 2019, arXiv:1806.02892")
def mn_cnn5(norm: Norm, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Four 5x5 convolutions (64, 128, 128, 256 channels), three 3x3 max-poolings of stride 2, one linear layer."""
    layers: list[nn.Module] = []
    channels = in_channels
    for width in (64, 128, 128):
        layers += [norm(conv2d(norm, channels, width, 5)), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
        channels = width
    layers += [norm(conv2d(norm, channels, 256, 5)), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, num_classes))
