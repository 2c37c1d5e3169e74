"""The two data sets that need no files: digits and synthetic."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convbench.datasets import Arrays, load_dataset
from convbench.datasets.digits import _read, _read_through_sklearn, enlarge
from convbench.errors import DataError
from convbench.models import build_model


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


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On a busy machine, threads that wait for one another cost ten times the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_synthetic_is_learned_in_one_epoch() -> None:
    train, test = load_dataset("synthetic", "train"), load_dataset("synthetic", "test")
    model = build_model("simple_cnn:width=16", mean=train.mean, std=train.std)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    images, labels = to_tensors(train)
    for batch, targets in zip(images.split(50), labels.split(50), strict=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch), targets).backward()
        optimizer.step()
    model.eval()
    images, labels = to_tensors(test)
    with torch.no_grad():
        assert (model(images).argmax(1) == labels).float().mean() > 0.9


def to_tensors(arrays: Arrays) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(arrays.images).permute(0, 3, 1, 2).contiguous().float() / 255
    return images, torch.from_numpy(arrays.labels)
