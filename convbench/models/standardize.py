"""The first layer of a classifier: from images in [0, 1] to the standardized input that a network expects."""

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from convbench.errors import ConfigError


class Standardize(nn.Module):
    """y = (x - mean) / std per channel; one grey channel is repeated where the network takes three.

    Args:
        mean, std: one number, or one per channel of the images or of the network; std is positive.
        in_channels: channels of the images, 1 or 3.
        model_channels: channels that the network takes: `in_channels`, or 3 for grey images.

    Raises:
        ConfigError: lengths or values that cannot be used, or colour images for a grey network.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        in_channels: int = 3,
        model_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.model_channels = in_channels if model_channels is None else model_channels
        if in_channels not in (1, self.model_channels):
            raise ConfigError(f"the model takes {self.model_channels} channel(s), but the images have {in_channels}.")
        if not all(math.isfinite(value) for value in (*mean, *std)) or min(std, default=1.0) <= 0:
            raise ConfigError(
                f"mean and std must be finite and std positive, got mean {tuple(mean)}, std {tuple(std)}."
            )
        self.register_buffer("mean", self._per_channel("mean", mean))
        self.register_buffer("std", self._per_channel("std", std))

    def _per_channel(self, name: str, values: Sequence[float]) -> torch.Tensor:
        if len(values) not in (1, self.model_channels):
            raise ConfigError(
                f"{name} has {len(values)} value(s), but the model takes {self.model_channels} channel(s)."
            )
        column = torch.tensor(tuple(values), dtype=torch.float32).reshape(-1, 1, 1)
        return column.expand(self.model_channels, 1, 1).clone()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.model_channels != self.in_channels:
            images = images.expand(-1, self.model_channels, -1, -1)
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        return f"in_channels={self.in_channels}, model_channels={self.model_channels}"


class Classifier(nn.Sequential):
    """`standardize`, then `network`: images in [0, 1], shape (N, C, H, W), to logits (N, num_classes)."""

    def __init__(self, standardize: Standardize, network: nn.Module) -> None:
        super().__init__(OrderedDict(standardize=standardize, network=network))
