"""With the same draws, every kernel gives what the public generators give: at most one grey level apart.

The references are `generators` (each generator, written out literally) and the package imagecorruptions itself, which
is handed the draws in place of its random numbers.
"""

import os

import numpy as np
import pytest
import torch

from corruptions import names
from corruptions.constants import PROFILES
from corruptions.draws import Streams, stream_keys
from corruptions.kernels import KERNELS
from tests.corruptions.generators import PACKAGE, reference

COMPARED = [name for name in names() if name in KERNELS]
EXACT = {"impulse_noise", "contrast", "pixelate", "jpeg_compression"}
# Share of equal pixels at each severity. Where a value lands on a whole number before it is truncated, 64 bits and 32,
# or two orders of summation, fall on either side.
FLOORS = {"saturate": 0.80, "brightness": 0.97, "frost": 0.96} | dict.fromkeys(EXACT, 1.0)
SIZES = [
    ("cifar-c", 32, 32),
    ("tiny-imagenet-c", 64, 64),
    ("imagenet-c", 96, 96),
    (PACKAGE, 32, 32),
    (PACKAGE, 96, 96),
    (PACKAGE, 40, 56),
]
LARGE = [("imagenet-c", 224, 224), (PACKAGE, 224, 224), ("cifar-c", 40, 56), ("tiny-imagenet-c", 56, 40)]


def drawn(name: str, severity: int, count: int, size: tuple[int, int], profile: str) -> dict[str, torch.Tensor]:
    facts = PROFILES[profile]
    keys = stream_keys(12, name, severity, range(count))
    return KERNELS[name].draw(Streams(keys), size, facts.constants[name][severity - 1], facts)


def applied(name: str, severity: int, images: torch.Tensor, draws: dict[str, torch.Tensor], profile: str) -> np.ndarray:
    """NHWC bytes."""
    facts = PROFILES[profile]
    return nhwc(KERNELS[name].apply(images, draws, facts.constants[name][severity - 1], facts))


def nhwc(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def of_image(draws: dict[str, torch.Tensor], i: int) -> dict[str, np.ndarray]:
    return {key: draw[i].numpy() for key, draw in draws.items()}


def assert_faithful(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    equal = float((difference == 0).mean())
    found = f"max {difference.max()}, equal {equal:.4f}, off by 2 or more {(difference > 1).sum()} of {difference.size}"
    assert difference.max() <= (0 if name in EXACT else 1), found
    assert equal >= FLOORS.get(name, 0.99), found


def check(name: str, severity: int, images: torch.Tensor, profile: str, published_on_draws=None) -> None:
    draws = drawn(name, severity, len(images), (images.shape[2], images.shape[3]), profile)
    ours = applied(name, severity, images, draws, profile)
    constants = PROFILES[profile].constants[name][severity - 1]
    pixels = nhwc(images)
    theirs = [reference(name, image, of_image(draws, i), constants, profile) for i, image in enumerate(pixels)]
    assert_faithful(name, ours, np.stack(theirs))
    if profile != PACKAGE or published_on_draws is None:
        return
    package = np.stack(
        [published_on_draws(image, name, severity, of_image(draws, i)) for i, image in enumerate(pixels)]
    )
    # An empty layer of spatter makes the package divide 0 by 0 and return black; the kernel returns the image.
    black = ~package.any(axis=(1, 2, 3))
    assert name == "spatter" or not black.any()
    np.testing.assert_array_equal(ours[black], pixels[black])
    assert_faithful(name, ours[~black], package[~black])


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize(("profile", "height", "width"), SIZES)
@pytest.mark.parametrize("name", COMPARED)
def test_equals_the_generator_on_its_draws(name, profile, height, width, severity, colour_images, published_on_draws):
    check(name, severity, colour_images(2, height, width), profile, published_on_draws)


@pytest.mark.parametrize("severity", [1, 5])
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", COMPARED)
def test_small_images(name, profile, severity, colour_images):
    """Smaller than the generators' own, where kernels are wider than the image; the package refuses them."""
    check(name, severity, colour_images(4, 9, 13), profile)


@pytest.mark.slow
@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize(("profile", "height", "width"), LARGE)
@pytest.mark.parametrize("name", COMPARED)
def test_large_and_long_images(name, profile, height, width, severity, colour_images, published_on_draws):
    check(name, severity, colour_images(1, height, width), profile, published_on_draws)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("CONVBENCH_TEST_DATA"), reason="needs CONVBENCH_TEST_DATA, a data folder")
@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("profile", ["cifar-c", PACKAGE])
@pytest.mark.parametrize("name", COMPARED)
def test_photographs(name, profile, severity, published_on_draws):
    from convbench.datasets import load_dataset

    data = load_dataset("cifar10", "test", data_dir=os.environ["CONVBENCH_TEST_DATA"])
    check(
        name, severity, torch.from_numpy(data.images[:16]).permute(0, 3, 1, 2).contiguous(), profile, published_on_draws
    )


def _flat_images() -> torch.Tensor:
    """Black, white, one grey, one colour, and a gradient whose channels run against each other."""
    ramp = torch.arange(32).mul(8).to(torch.uint8)
    gradient = torch.stack([ramp.expand(32, 32), ramp.flip(0).expand(32, 32), ramp.unsqueeze(1).expand(32, 32)])
    colours = torch.tensor([[0, 0, 0], [255, 255, 255], [128, 128, 128], [200, 30, 90]], dtype=torch.uint8)
    return torch.cat([colours.view(4, 3, 1, 1).expand(4, 3, 32, 32), gradient[None]])


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("profile", ["cifar-c", PACKAGE])
@pytest.mark.parametrize("name", COMPARED)
def test_flat_images_differ_by_one_level_at_most(name, profile, severity):
    """One rounding decides for all pixels of a flat image, so that no share of equal pixels can be asked."""
    images = _flat_images()
    draws = drawn(name, severity, len(images), (32, 32), profile)
    ours = applied(name, severity, images, draws, profile).astype(int)
    constants = PROFILES[profile].constants[name][severity - 1]
    for i, image in enumerate(nhwc(images)):
        theirs = reference(name, image, of_image(draws, i), constants, profile)
        # The generator's mean of a flat image may lie a last bit below it, so that its contrast is one level lower.
        assert np.abs(ours[i] - theirs).max() <= (0 if name in EXACT - {"contrast"} else 1), f"image {i}"


@pytest.mark.parametrize(("reach", "iterations"), [(1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (4, 2)])
@pytest.mark.parametrize("size", [(12, 15), (17, 23), (32, 32)])
def test_the_shuffle_of_glass_blur_equals_the_pixel_loop(size, reach, iterations):
    """Without its blurs, which σ = 0.05 turns off in both."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (4, 3, *size), generator=generator, dtype=torch.uint8)
    kernel, facts, constants = KERNELS["glass_blur"], PROFILES["cifar-c"], (0.05, reach, iterations)
    draws = kernel.draw(Streams(stream_keys(0, "glass_blur", 1, range(4))), size, constants, facts)
    ours = nhwc(kernel.apply(images, draws, constants, facts))
    for i, image in enumerate(nhwc(images)):
        np.testing.assert_array_equal(ours[i], reference("glass_blur", image, of_image(draws, i), constants, "cifar-c"))


def test_all_19_corruptions_have_a_kernel():
    assert len(names()) == 19
    assert set(names()) <= set(KERNELS)
