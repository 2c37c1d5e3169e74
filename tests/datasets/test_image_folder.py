"""Folders of images: layouts, resizing, and what is said when something is missing or broken."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from convbench.datasets import SPLITS, load_dataset
from convbench.datasets import image_folder as module
from convbench.datasets.image_folder import read_image
from convbench.errors import ConfigError, DataError

Write = Callable[..., None]


def load(folder: Path, split: str, image_size: int = 16):
    return load_dataset(f"folder:{folder}", split, image_size=image_size)


def test_split_folders_are_taken_as_named(tmp_path: Path, write_images: Write) -> None:
    for seed, (split, count) in enumerate({"train": 20, "val": 4, "test": 6}.items()):
        write_images(tmp_path / split, {"b": count, "a": count}, seed=seed)
    sizes = {split: len(load(tmp_path, split)) for split in SPLITS}
    assert sizes == {"train": 40, "validation": 8, "test": 12}
    assert load(tmp_path, "train").classes == ("a", "b")


@pytest.mark.parametrize("held", ["val", "test"])
def test_one_held_out_folder_is_the_test_split(tmp_path: Path, write_images: Write, held: str) -> None:
    write_images(tmp_path / "train", {"a": 20, "b": 20}, seed=1)
    write_images(tmp_path / held, {"a": 3, "b": 3}, seed=2)
    splits = {split: load(tmp_path, split) for split in SPLITS}
    assert {name: len(arrays) for name, arrays in splits.items()} == {"train": 36, "validation": 4, "test": 6}
    train = {image.tobytes() for image in splits["train"].images}
    assert not train & {image.tobytes() for image in splits["validation"].images}


def test_without_split_folders_each_class_is_split(tmp_path: Path, write_images: Write) -> None:
    folder = tmp_path / "photos: mine"  # a colon in the path
    write_images(folder, {"10": 30, "9": 20, "train": 10})  # "train" without folders is a class
    splits = {split: load(folder, split) for split in SPLITS}
    assert {name: len(arrays) for name, arrays in splits.items()} == {"train": 48, "validation": 6, "test": 6}
    assert splits["test"].classes == ("10", "9", "train")  # sorted as strings
    pictures = [image.tobytes() for arrays in splits.values() for image in arrays.images]
    assert len(set(pictures)) == 60
    assert np.bincount(splits["test"].labels).tolist() == [3, 2, 1]
    assert load(folder, "test").labels.tolist() == splits["test"].labels.tolist()
    assert splits["test"].labels.tolist() != sorted(splits["test"].labels)


def test_test_folder_alone_can_be_evaluated_but_not_trained(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path / "test", {"a": 3, "b": 2})
    assert len(load(tmp_path, "test")) == 5
    with pytest.raises(DataError, match="no folder train"):
        load(tmp_path, "train")


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (9, 50), (32, 32)])
def test_resize_and_crop_are_those_of_torchvision(tmp_path: Path, write_images: Write, size: tuple[int, int]) -> None:
    write_images(tmp_path, {"a": 1}, size=size)
    path = tmp_path / "a" / "000.png"
    transform = v2.Compose([v2.Resize(round(28 * 256 / 224), antialias=True), v2.CenterCrop(28)])
    with Image.open(path) as image:
        expected = np.asarray(transform(image.convert("RGB")))
    np.testing.assert_array_equal(read_image(path, 28), expected)


def test_default_size_and_facts(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path / "train", {"a": 1, "b": 1})
    write_images(tmp_path / "test", {"a": 1, "b": 1})
    arrays = load(tmp_path, "test", image_size=0)
    assert arrays.images.shape == (2, 224, 224, 3)
    assert arrays.mean == (0.485, 0.456, 0.406)
    assert arrays.flip


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_pixel_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new(mode, (20, 20)).save(path)
    assert read_image(path, 16).shape == (16, 16, 3)


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png has pixels of more than 8 bits"):
        read_image(tmp_path / "deep.png", 16)


@pytest.mark.parametrize("damage", ["truncate", "empty", "text"])
def test_broken_image_is_named(tmp_path: Path, write_images: Write, damage: str) -> None:
    write_images(tmp_path / "train", {"a": 5, "b": 5}, size=(60, 60))
    path = tmp_path / "train" / "b" / "002.png"
    content = path.read_bytes()
    path.write_bytes({"truncate": content[: len(content) // 2], "empty": b"", "text": b"<html>404</html>"}[damage])
    with pytest.raises(DataError, match=r"002\.png cannot be read") as caught:
        load(tmp_path, "train")
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_said(tmp_path: Path, write_images: Write) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match="needs a folder per class"):
        load(tmp_path, "train")
    with pytest.raises(ConfigError, match="needs a path"):
        load_dataset("folder:", "train")
    with pytest.raises(ConfigError, match="leave out --data-dir"):
        load_dataset(f"folder:{tmp_path}", "train", data_dir=tmp_path)
    with pytest.raises(ConfigError, match="image size"):
        load(tmp_path, "train", image_size=-1)
    write_images(tmp_path / "train", {"a": 2, "b": 2})
    with pytest.raises(DataError, match="no folder test or val"):
        load(tmp_path, "test")
    (tmp_path / "train" / "c").mkdir()
    with pytest.raises(DataError, match=r"class folder .*c has no image"):
        load(tmp_path, "train")


def test_class_that_the_training_images_lack(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path / "train", {"a": 2, "b": 2})
    write_images(tmp_path / "val", {"a": 2, "z": 2})
    with pytest.raises(DataError, match="lack: z"):
        load(tmp_path, "test")


def test_memory_is_checked_before_reading(tmp_path: Path, write_images: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "train", {"a": 3, "b": 3})
    (tmp_path / "train" / "a" / "000.png").write_bytes(b"not read")
    monkeypatch.setattr(module, "MEMORY_LIMIT", 5 * 16 * 16 * 3)
    write_images(tmp_path / "val", {"a": 3, "b": 3})
    with pytest.raises(DataError, match="use a smaller --image-size"):
        load(tmp_path, "test")


def test_hidden_and_other_files_are_left_out(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path / "test", {"a": 2, "b": 2})
    (tmp_path / "test" / "a" / "notes.txt").write_text("x")
    (tmp_path / "test" / "a" / "._000.png").write_text("x")
    (tmp_path / "test" / ".cache").mkdir()
    assert len(load(tmp_path, "test")) == 4
