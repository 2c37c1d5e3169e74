"""Facts of the residual networks that their paper states."""

import pytest
import torch
from torch import nn

from convbench.errors import ConfigError
from convbench.models import build_model, check_model
from convbench.models.resnet import padding_shortcut


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_parameters_of_the_cifar_form_are_the_published_ones(depth: int, millions: float) -> None:
    network = build_model(f"resnet{depth}")
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    weighted = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == depth


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_imagenet_form_has_torchvisions_weights(depth: int) -> None:
    from torchvision.models import get_model

    ours = build_model(f"resnet{depth}:stem=imagenet", num_classes=1000)
    theirs = get_model(f"resnet{depth}", weights=None)
    shapes = [sorted(tuple(p.shape) for p in network.parameters()) for network in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_stems() -> None:
    images = torch.rand(1, 3, 64, 64)
    sizes = {}
    for stem in ("cifar", "imagenet"):
        network = build_model(f"resnet18:stem={stem}").eval()
        sizes[stem] = network.get_submodule("stem")(images).shape[-1]
    assert sizes == {"cifar": 64, "imagenet": 16}
    with pytest.raises(ConfigError, match="unknown stem 'tiny'; choose from: cifar, imagenet"):
        check_model("resnet18:stem=tiny")


@pytest.mark.parametrize("size", [7, 8])
def test_shortcut_of_the_cifar_form_takes_every_second_pixel_and_pads_channels(size: int) -> None:
    images = torch.rand(2, 3, size, size)
    output = padding_shortcut(3, 5, 2)(images)
    torch.testing.assert_close(output[:, :3], images[:, :, ::2, ::2])
    assert (output[:, 3:] == 0).all()


@pytest.mark.parametrize("option", ["vgg11:dropout=1", "simple_cnn:width=0", "densenet40:growth=0"])
def test_options_out_of_range(option: str) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        check_model(option)
