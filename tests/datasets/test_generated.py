"""The two data sets that need no files: digits and synthetic."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convbench.datasets import load_dataset
from convbench.datasets.digits import _read, _read_through_sklearn, enlarge
from convbench.errors import DataError


def test_digits_sizes_and_mean() -> None:
    splits = [load_dataset("digits", split) for split in ("train", "validation", "test")]
    assert [len(arrays) for arrays in splits] == [1257, 180, 360]
    assert splits[0].images.mean() / 255 == pytest.approx(splits[0].mean[0], abs=1e-4)
    assert splits[0].images.std() / 255 == pytest.approx(splits[0].std[0], abs=1e-4)


def test_digits_read_directly_are_those_of_scikit_learn() -> None:
    images, labels = _read()
    table = _read_through_sklearn()
    np.testing.assert_array_equal(labels, table[:, 64])
    np.testing.assert_allclose(images.reshape(-1, 64), table[:, :64] * (255 / 16), atol=0.5)


def test_enlargement_is_bilinear() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    tensor = torch.from_numpy(images)[:, None].double()
    expected = nn.functional.interpolate(tensor, scale_factor=4, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(enlarge(images), expected[:, 0].numpy(), atol=0.5 + 1e-9)
    pillow = np.asarray(Image.fromarray(images[0]).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(enlarge(images)[0].astype(int) - pillow).max() <= 1


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_a_data_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leave out --data-dir"):
        load_dataset(name, "train", data_dir=tmp_path)


def test_synthetic_pixels_are_the_same_on_every_machine() -> None:
    images = load_dataset("synthetic", "test").images
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    assert digest == "9d079fa21fc45dc94e4e492639cecba957ee08cc858eb198cf295b82b1c7debc"


def test_synthetic_is_learned_in_one_epoch() -> None:
    train, test = load_dataset("synthetic", "train"), load_dataset("synthetic", "test")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    images = torch.from_numpy(train.images).permute(0, 3, 1, 2).float().div(255)
    for batch, labels in zip(images.split(50), torch.from_numpy(train.labels).split(50), strict=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch), labels).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(test.images).permute(0, 3, 1, 2).float().div(255))
    assert (logits.argmax(1).numpy() == test.labels).mean() > 0.9
