"""Residual networks (He et al. 2016, arXiv:1512.03385), post-activation.

CIFAR form (`resnet8/20/32/44/56`, section 4.2): 3x3 stem, three stages of 16, 32, 64 channels with (depth - 2) / 6
basic blocks each, and the parameter-free shortcut (option A): every second pixel, new channels are zero. It is made
of an average pooling with a 1x1 window and a zero padding of channels, both of operator norm at most 1.

ImageNet form (`resnet18/34/50`, section 4.1): four stages of 64 to 512 channels and 1x1 projection shortcuts (option
B); the stride of a bottleneck is in its 3x3 convolution, as in torchvision. Stem: `cifar` (3x3, for images of about
32 pixels) or `imagenet` (7x7 with stride 2, then 3x3 max-pooling with stride 2).

Without a normalization of the output (`norm.has_shift` is false, as for `none`) each block would double the variance
of the signal. There the last convolution of each of the L residual branches starts scaled by L^(-1/2), which bounds
the growth through the whole network by (1 + 1/L)^L < e: the simplest part of Fixup (Zhang et al. 2019,
arXiv:1901.09321).
"""

import torch
from torch import nn

from convbench.errors import ConfigError
from convbench.models.contract import MODELS
from convbench.models.convolution import conv2d
from convbench.norms import Norm

_PAPER = "He et al. 2016, arXiv:1512.03385"


class BasicBlock(nn.Module):
    """relu(shortcut(x) + branch(x)) with two 3x3 convolutions in the branch."""

    expansion = 1

    def __init__(
        self, norm: Norm, in_channels: int, width: int, stride: int, shortcut: nn.Module, scale: float
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            norm(conv2d(norm, in_channels, width, 3, stride)),
            nn.ReLU(),
            norm(conv2d(norm, width, width, 3, scale=scale)),
        )
        self.shortcut = shortcut
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.shortcut(x) + self.branch(x))


class Bottleneck(nn.Module):
    """relu(shortcut(x) + branch(x)) with 1x1, 3x3, 1x1 convolutions in the branch, four times wider outside."""

    expansion = 4

    def __init__(
        self, norm: Norm, in_channels: int, width: int, stride: int, shortcut: nn.Module, scale: float
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            norm(conv2d(norm, in_channels, width, 1)),
            nn.ReLU(),
            norm(conv2d(norm, width, width, 3, stride)),
            nn.ReLU(),
            norm(conv2d(norm, width, self.expansion * width, 1, scale=scale)),
        )
        self.shortcut = shortcut
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.shortcut(x) + self.branch(x))


def padding_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Option A: every `stride`-th pixel, then zeros for the new channels; no parameters."""
    # Torch's 3d padding counts from the last axis, so on an (N, C, H, W) batch its third pair pads C.
    return nn.Sequential(nn.AvgPool2d(1, stride), nn.ConstantPad3d((0, 0, 0, 0, 0, out_channels - in_channels), 0.0))


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average, linear layer.

    Args:
        stem: the layers before the first stage; its output has `channels` channels.
        widths, depths: width and number of blocks of each stage; each stage after the first halves H and W.
        projection: shortcuts where the shape changes: 1x1 convolution (option B), else zero padding (option A).
    """

    def __init__(
        self,
        norm: Norm,
        stem: nn.Module,
        channels: int,
        block: type[BasicBlock] | type[Bottleneck],
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        num_classes: int,
        *,
        projection: bool,
    ) -> None:
        super().__init__()
        scale = 1.0 if norm.has_shift else sum(depths) ** -0.5
        stages: list[nn.Module] = []
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks: list[nn.Module] = []
            for position in range(depth):
                stride = 2 if index > 0 and position == 0 else 1
                out_channels = block.expansion * width
                if stride == 1 and channels == out_channels:
                    shortcut = nn.Identity()
                elif projection:
                    shortcut = norm(conv2d(norm, channels, out_channels, 1, stride))
                else:
                    shortcut = padding_shortcut(channels, out_channels, stride)
                blocks.append(block(norm, channels, width, stride, shortcut, scale))
                channels = out_channels
            stages.append(nn.Sequential(*blocks))
        self.stem = stem
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.flatten(self.pool(self.stages(self.stem(images)))))


def _cifar_stem(norm: Norm, in_channels: int, width: int) -> nn.Module:
    return nn.Sequential(norm(conv2d(norm, in_channels, width)), nn.ReLU())


def _imagenet_stem(norm: Norm, in_channels: int, width: int) -> nn.Module:
    return nn.Sequential(norm(conv2d(norm, in_channels, width, 7, 2)), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))


def _cifar_resnet(norm: Norm, depth: int, num_classes: int, in_channels: int) -> nn.Module:
    blocks = (depth - 2) // 6
    stem = _cifar_stem(norm, in_channels, 16)
    return ResNet(norm, stem, 16, BasicBlock, (16, 32, 64), (blocks,) * 3, num_classes, projection=False)


def _imagenet_resnet(
    norm: Norm,
    block: type[BasicBlock] | type[Bottleneck],
    depths: tuple[int, ...],
    num_classes: int,
    in_channels: int,
    stem: str,
) -> nn.Module:
    stems = {"cifar": _cifar_stem, "imagenet": _imagenet_stem}
    if stem not in stems:
        raise ConfigError(f"unknown stem {stem!r}; choose from: {', '.join(stems)}.")
    first = stems[stem](norm, in_channels, 64)
    return ResNet(norm, first, 64, block, (64, 128, 256, 512), depths, num_classes, projection=True)


@MODELS.register("resnet8", reference=_PAPER)
def resnet8(norm: Norm, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Residual network of 8 layers in the CIFAR form: one block per stage, 16 to 64 channels."""
    return _cifar_resnet(norm, 8, num_classes, in_channels)


@MODELS.register("resnet20", reference=_PAPER)
def resnet20(norm: Norm, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Residual network of 20 layers in the CIFAR form: 3 blocks per stage, 16 to 64 channels."""
    return _cifar_resnet(norm, 20, num_classes, in_channels)


@MODELS.register("resnet32", reference=_PAPER)
def resnet32(norm: Norm, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Residual network of 32 layers in the CIFAR form: 5 blocks per stage, 16 to 64 channels."""
    return _cifar_resnet(norm, 32, num_classes, in_channels)


@MODELS.register("resnet44", reference=_PAPER)
def resnet44(norm: Norm, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Residual network of 44 layers in the CIFAR form: 7 blocks per stage, 16 to 64 channels."""
    return _cifar_resnet(norm, 44, num_classes, in_channels)


@MODELS.register("resnet56", reference=_PAPER)
def resnet56(norm: Norm, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Residual network of 56 layers in the CIFAR form: 9 blocks per stage, 16 to 64 channels."""
    return _cifar_resnet(norm, 56, num_classes, in_channels)


@MODELS.register("resnet18", reference=_PAPER)
def resnet18(norm: Norm, num_classes: int, in_channels: int = 3, *, stem: str = "cifar") -> nn.Module:
    """Residual network of 18 layers, 64 to 512 channels; stem=cifar (3x3) or stem=imagenet (7x7, pooling)."""
    return _imagenet_resnet(norm, BasicBlock, (2, 2, 2, 2), num_classes, in_channels, stem)


@MODELS.register("resnet34", reference=_PAPER)
def resnet34(norm: Norm, num_classes: int, in_channels: int = 3, *, stem: str = "cifar") -> nn.Module:
    """Residual network of 34 layers, 64 to 512 channels; stem=cifar (3x3) or stem=imagenet (7x7, pooling)."""
    return _imagenet_resnet(norm, BasicBlock, (3, 4, 6, 3), num_classes, in_channels, stem)


@MODELS.register("resnet50", reference=_PAPER)
def resnet50(norm: Norm, num_classes: int, in_channels: int = 3, *, stem: str = "cifar") -> nn.Module:
    """Bottleneck residual network of 50 layers, 256 to 2048 channels; stem=cifar or stem=imagenet."""
    return _imagenet_resnet(norm, Bottleneck, (3, 4, 6, 3), num_classes, in_channels, stem)
