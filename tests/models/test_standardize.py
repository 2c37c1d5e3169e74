import pytest
import torch

from convbench.errors import ConfigError
from convbench.models import Standardize


def test_formula_per_channel() -> None:
    images = torch.rand(2, 3, 4, 4)
    output = Standardize((0.1, 0.2, 0.3), (0.5, 0.25, 2.0))(images)
    torch.testing.assert_close(output[:, 1], (images[:, 1] - 0.2) / 0.25)
    torch.testing.assert_close(output[:, 2], (images[:, 2] - 0.3) / 2.0)


@pytest.mark.parametrize("mean", [(0.5,), (0.5, 0.5, 0.5)])
def test_grey_images_for_a_colour_network(mean: tuple[float, ...]) -> None:
    images = torch.rand(2, 1, 4, 4)
    output = Standardize(mean, (0.5,), in_channels=1, model_channels=3)(images)
    torch.testing.assert_close(output, ((images - 0.5) / 0.5).repeat(1, 3, 1, 1))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (((0.5, 0.5), (1.0,)), r"mean has 2 value\(s\), but the model takes 3"),
        (((0.5,), (0.0,)), "std positive"),
        (((float("nan"),), (1.0,)), "finite"),
        (((0.5,), (1.0,), 3, 1), r"takes 1 channel\(s\), but the images have 3"),
        (((), (1.0,)), r"mean has 0 value\(s\)"),
    ],
)
def test_what_cannot_be_used(arguments: tuple, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Standardize(*arguments)
