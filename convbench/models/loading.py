"""From the name of a model to a classifier with seeded weights."""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import nn

from convbench.errors import ConfigError
from convbench.models.contract import MODELS
from convbench.models.standardize import Classifier, Standardize
from convbench.models.torchvision_zoo import TORCHVISION_PREFIX, build_from_torchvision, check_torchvision
from convbench.models.user_file import build_user_model, check_user_file, is_user_file
from convbench.norms import NORMS

NATIVE = "native"


def build_model(
    name: str,
    norm: str = "bn",
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build the model `name` with the normalization `norm`, its weights drawn from `seed`.

    Args:
        name: a registered model ("resnet18:stem=imagenet"), `path/to/file.py:factory`, or `torchvision:<name>`.
        norm: a registered normalization ("mixture:components=5"), or "native" for a user's or torchvision's
            model with the normalizations that it has. A user's factory gets those of the keyword arguments
            `norm` (a `Norm`), `num_classes`, `in_channels` that its signature names.
        in_channels: channels of the images, 1 or 3; grey images are repeated for a model that takes 3.
        mean, std: where either is given, or channels must be repeated, the model becomes a `Classifier`:
            `standardize`, then `network`. One without the other takes mean 0 or std 1.

    Returns:
        A module from images in [0, 1], shape (N, C, H, W), to logits, shape (N, num_classes). PyTorch's global
        random state is as before.

    Raises:
        ConfigError: an unknown name, an option out of range, or a norm that this model cannot take.
    """
    build = _resolve(name, norm)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would also reset every GPU
        network = build(num_classes, in_channels)
    model_channels = _input_channels(network, in_channels)
    if mean is None and std is None and model_channels == in_channels:
        return network
    standardize = Standardize(mean or (0.0,), std or (1.0,), in_channels, model_channels)
    return Classifier(standardize, network)


def check_model(name: str, norm: str = "bn") -> None:
    """Raise the `ConfigError` that `build_model` would raise for these names and options.

    A user's file is imported, to see its factory and whether it takes a norm; the factory is not called.
    """
    _resolve(name, norm)
    if is_user_file(name):
        check_user_file(name, takes_norm=norm != NATIVE)
    elif not name.startswith(TORCHVISION_PREFIX):
        _try_building(name, norm)


@cache  # a grid of seeds and rates asks for the same few, and a large model takes half a second
def _try_building(name: str, norm: str) -> None:
    """Only building sees an option out of its range."""
    build_model(name, norm)


def _resolve(name: str, norm: str) -> Callable[[int, int], nn.Module]:
    """(num_classes, in_channels) -> network, once names and options are known to exist."""
    if norm != NATIVE:
        NORMS.parse(norm)
    if is_user_file(name):
        wanted = None if norm == NATIVE else NORMS.build(norm)
        return lambda classes, channels: build_user_model(name, wanted, classes, channels)
    if name.startswith(TORCHVISION_PREFIX):
        if norm != NATIVE:
            raise ConfigError(f"model {name!r} has its own normalizations; use --norm {NATIVE}.")
        check_torchvision(name)
        return lambda classes, channels: build_from_torchvision(name, classes)
    MODELS.parse(name)
    if norm == NATIVE:
        raise ConfigError(
            f"norm {NATIVE!r} is for a model of your own or of torchvision; model {name!r} is built here: "
            f"choose from: {', '.join(NORMS.names())}."
        )
    return lambda classes, channels: MODELS.build(name, NORMS.build(norm), classes, channels)


def _input_channels(network: nn.Module, in_channels: int) -> int:
    """Channels that the network takes, 1 or 3, read from its first convolution; else `in_channels`."""
    for module in network.modules():
        channels = getattr(module, "in_channels", None)
        if isinstance(channels, int) and hasattr(module, "kernel_size"):
            return channels if channels in (1, 3) else in_channels
    return in_channels
