"""What a model is: (norm, num_classes, in_channels) -> a module from images in [0, 1] to logits."""

from collections.abc import Callable

from torch import nn

from convbench.registry import Registry

# (norm: Norm, num_classes: int, in_channels: int = 3, *, options) -> nn.Module
MODELS: Registry[Callable[..., nn.Module]] = Registry("model", "convbench.models")
