"""Images in one folder per class, as torchvision's `ImageFolder` and ImageNet have them.

With split folders (`<path>/train/<class>/*` and `test`, or `val`): if there is both `val` and `test`, each is taken as
named; if there is one of them it is the test split, and validation is 10 % of `train`. Without split folders
(`<path>/<class>/*`): a fixed 80/10/10 split of each class. Classes are sorted as strings. The shorter side is resized
to `round(image_size * 256 / 224)` (bilinear, antialiased), then the centre is cropped; images are RGB.
"""

import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from convbench.datasets.contract import Arrays
from convbench.datasets.splits import hold_out, shuffled, validation_split
from convbench.errors import ConfigError, DataError
from convbench.processors import available_cpus

IMAGE_SIZE = 224
RESIZE_RATIO = 256 / 224
MEMORY_LIMIT = 8 * 1024**3  # bytes; all images of a split are held in memory
_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_VALIDATION_NAMES = ("val", "valid", "validation")


def read_folder(path: Path, split: str, *, image_size: int = 0) -> Arrays:
    """Read one split of a folder of images into memory.

    Args:
        path: the folder; see the module for its layouts.
        split: "train", "validation" or "test".
        image_size: height and width of the images; 0 takes 224.

    Returns:
        RGB images with ImageNet's mean and standard deviation. The test images are in a fixed shuffled order, so
        that the first few are of many classes; the others are sorted by class and file name.

    Raises:
        DataError: a missing folder, a class without images, an image that cannot be read, too little memory.
    """
    if image_size < 0:
        raise ConfigError(f"image size must be at least 1 (0 takes {IMAGE_SIZE}), got {image_size}.")
    size = image_size or IMAGE_SIZE
    if not path.is_dir():
        raise DataError(f"image folder {path} does not exist.")
    files, labels, classes, positions = _chosen(path, split)
    needed = len(files) * size * size * 3
    if needed > MEMORY_LIMIT:
        raise DataError(
            f"image folder {path}: {len(files)} {split} images of {size}x{size} need {needed / 1024**3:.1f} GiB of "
            f"memory, more than the limit of {MEMORY_LIMIT / 1024**3:.0f} GiB; use a smaller --image-size."
        )
    return Arrays(
        images=read_images(files, size),
        labels=labels,
        classes=classes,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        flip=True,
        positions=positions,
    )


def _chosen(path: Path, split: str) -> tuple[list[Path], np.ndarray, tuple[str, ...], np.ndarray | None]:
    """Files, labels int64 (N,), class names and positions (see `Arrays`) of one split."""
    parts = {name: path / name for name in ("train", "test", *_VALIDATION_NAMES) if _subfolders(path / name)}
    if not parts:
        files, labels, classes = _listed(path)
        rest, test = hold_out(labels, round(0.1 * len(labels)))
        train, validation = hold_out(labels[rest], round(0.1 * len(labels)))
        index = {"train": rest[train], "validation": rest[validation], "test": test}[split]
        positions = {"train": train, "validation": validation}.get(split)
    else:
        held = [parts[name] for name in ("test", *_VALIDATION_NAMES) if name in parts]
        folder = {"test": held[:1], "validation": held[1:2] or [path / "train"], "train": [path / "train"]}[split]
        if not folder or not _subfolders(folder[0]):
            wanted = "test or val" if split == "test" else "train"
            raise DataError(f"image folder {path} has {', '.join(parts)}, but no folder {wanted} with class folders.")
        # The classes are those of the training set, so that indices agree between splits.
        files, labels, classes = _listed(folder[0], _subfolders(path / "train"))
        from_training = folder[0].name == "train" and len(held) < 2
        index = validation_split(labels, split) if from_training else np.arange(len(labels))
        positions = index if from_training else None
    if split == "test":
        index = index[shuffled(len(index))]
    if len(index) == 0:
        raise DataError(f"image folder {path} has too few images ({len(files)}) for a {split} split.")
    return [files[i] for i in index], labels[index], classes, positions


def _listed(folder: Path, class_names: list[str] | None = None) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """Every image below the class folders of `folder`, sorted by class and path."""
    found = _subfolders(folder)
    classes = class_names or found
    if len(classes) < 2:
        raise DataError(f"image folder {folder} needs a folder per class, at least two; found: {found or 'none'}.")
    if unknown := [name for name in found if name not in classes]:
        raise DataError(f"image folder {folder} has classes that the training images lack: {', '.join(unknown[:5])}.")
    files: list[Path] = []
    labels: list[int] = []
    for name in found:
        images = sorted(
            file
            for file in (folder / name).rglob("*")
            if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".") and file.is_file()
        )
        if not images:
            raise DataError(f"class folder {folder / name} has no image ({' '.join(sorted(_SUFFIXES))}).")
        files += images
        labels += [classes.index(name)] * len(images)
    return files, np.array(labels, dtype=np.int64), tuple(classes)


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def read_images(files: Iterable[Path], size: int) -> np.ndarray:
    """Each as `read_image` gives it, uint8, shape (N, size, size, 3), in the order of `files`; decoded in threads."""
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, available_cpus())) as pool:
        warnings.simplefilter("ignore")  # Pillow on unusual palettes and metadata; what it cannot read, it raises
        return np.stack(list(pool.map(partial(read_image, size=size), files)))


def read_image(path: Path, size: int) -> np.ndarray:
    """One image: shorter side resized to `round(size * 256 / 224)`, centre cropped; uint8, shape (size, size, 3).

    Raises:
        DataError: it cannot be read, or has more than 8 bits per channel.
    """
    return centre_crop(open_image(path), size)


def open_image(path: Path) -> Image.Image:
    """One image at its own size, as RGB.

    Raises:
        DataError: it cannot be read, or has more than 8 bits per channel.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise DataError(f"image {path} has pixels of more than 8 bits; convert it to 8 bits per channel.")
            return image.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"image {path} does not exist.") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"image {path} cannot be read ({type(error).__name__}: {reason}).") from error


def centre_crop(pixels: Image.Image, size: int) -> np.ndarray:
    """Resize the shorter side to `round(size * 256 / 224)` and cut out the centre: uint8, shape (size, size, 3)."""
    short = max(size, round(size * RESIZE_RATIO))
    width, height = pixels.size
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(pixels.crop((left, top, left + size, top + size)))
