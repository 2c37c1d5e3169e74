"""From the name of a model to a classifier with seeded weights."""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import nn

from convbench.errors import ConfigError
from convbench.models.contract import MODELS
from convbench.models.standardize import Classifier, Standardize
from convbench.models.timm_zoo import TIMM_PREFIX, build_from_timm, check_timm
from convbench.models.torchvision_zoo import TORCHVISION_PREFIX, build_from_torchvision, check_torchvision
from convbench.models.user_file import build_user_model, check_user_file, is_user_file
from convbench.norms import NORMS
from convbench.norms.placement import ALL, split_where
from convbench.norms.surgery.conversion import convert
from convbench.norms.surgery.conversion_report import ConversionReport

NATIVE = "native"
# A model with a norm in some places has this one in the others, as the networks of the papers do.
ELSEWHERE = "bn"


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
        name: a registered model ("resnet18:stem=imagenet"), `path/to/file.py:factory`, `torchvision:<name>` or
            `timm:<name>`.
        norm: a registered normalization ("mixture:components=5"), or "native" for a user's, torchvision's or timm's
            model with the normalizations that it has. A user's factory gets those of the keyword arguments
            `norm` (a `Norm`), `num_classes`, `in_channels` that its signature names. A model of torchvision or timm
            is built as it is and converted (`convbench.norms.surgery`), and so is, from batch normalization, any
            model whose norm goes to some places only ("mixture:where=last:2").
        in_channels: channels of the images, 1 or 3; grey images are repeated for a model that takes 3.
        mean, std: where either is given, or channels must be repeated, the model becomes a `Classifier`:
            `standardize`, then `network`. One without the other takes mean 0 or std 1.

    Returns:
        A module from images in [0, 1], shape (N, C, H, W), to logits, shape (N, num_classes). PyTorch's global
        random state is as before.

    Raises:
        ConfigError: an unknown name, an option out of range, or a norm that this model cannot take.
    """
    network, _ = _network(name, norm, num_classes, in_channels, seed)
    model_channels = _input_channels(network, in_channels)
    if mean is None and std is None and model_channels == in_channels:
        return network
    standardize = Standardize(mean or (0.0,), std or (1.0,), in_channels, model_channels)
    return Classifier(standardize, network)


def _network(
    name: str, norm: str, num_classes: int = 10, in_channels: int = 3, seed: int = 0
) -> tuple[nn.Module, ConversionReport | None]:
    build, is_converted = _resolve(name, norm)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would also reset every GPU
        network = build(num_classes, in_channels)
    if not is_converted:
        return network, None
    # Of a size that every model takes; used only where the model cannot be traced without an image.
    example = torch.zeros(1, _input_channels(network, in_channels), 224, 224)
    conversion = convert(network, norm, example=example, seed=seed)
    return conversion.model, conversion.report


def conversion_report(name: str, norm: str) -> ConversionReport | None:
    """What became of each convolution, where `build_model` converts the model `name`; None where it does not.

    Raises:
        ConfigError: as `build_model`.
    """
    _, is_converted = _resolve(name, norm)
    return _try_building(name, norm) if is_converted else None


def check_model(name: str, norm: str = "bn") -> None:
    """Raise the `ConfigError` that `build_model` would raise for these names and options.

    A user's file is imported, to see its factory and whether it takes a norm; the factory is not called.
    """
    _, is_converted = _resolve(name, norm)
    if is_user_file(name):
        check_user_file(name, takes_norm=norm != NATIVE)
    elif is_converted or not name.startswith((TORCHVISION_PREFIX, TIMM_PREFIX)):
        _try_building(name, norm)


@cache  # a grid of seeds and rates asks for the same few, and a large model takes half a second
def _try_building(name: str, norm: str) -> ConversionReport | None:
    """Only building sees an option out of its range, or a model that cannot be converted."""
    return _network(name, norm)[1]


def _resolve(name: str, norm: str) -> tuple[Callable[[int, int], nn.Module], bool]:
    """(num_classes, in_channels) -> network, and whether it is to be converted; names and options exist."""
    partial = False
    if norm != NATIVE:
        plain, where = split_where(norm)
        NORMS.parse(plain)
        partial = where != ALL
        built = NORMS.build(ELSEWHERE if partial else plain)
    else:
        built = None
    if is_user_file(name):
        return lambda classes, channels: build_user_model(name, built, classes, channels), partial
    if name.startswith(TORCHVISION_PREFIX):
        check_torchvision(name)
        return lambda classes, channels: build_from_torchvision(name, classes), built is not None
    if name.startswith(TIMM_PREFIX):
        check_timm(name)
        return lambda classes, channels: build_from_timm(name, classes), built is not None
    MODELS.parse(name)
    if built is None:
        raise ConfigError(
            f"norm {NATIVE!r} is for a model of your own, of torchvision or timm; model {name!r} is built here: "
            f"choose from: {', '.join(NORMS.names())}."
        )
    return lambda classes, channels: MODELS.build(name, built, classes, channels), partial


def _input_channels(network: nn.Module, in_channels: int) -> int:
    """Channels that the network takes, 1 or 3, read from its first convolution; else `in_channels`."""
    for module in network.modules():
        channels = getattr(module, "in_channels", None)
        if isinstance(channels, int) and hasattr(module, "kernel_size"):
            return channels if channels in (1, 3) else in_channels
    return in_channels
