"""What a data set is: uint8 images and class indices in memory, with the facts a model needs."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from convbench.registry import Registry

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Arrays:
    """One split of a data set.

    Args:
        images: uint8, shape (N, H, W, C), C in {1, 3}.
        labels: int64 class indices, shape (N,), in [0, len(classes)).
        classes: class names, in the order of the indices.
        mean, std: per-channel standardization in [0, 1] pixel units; it becomes the model's first layer.
        flip: whether a horizontal flip keeps the label (False for digits).
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: np.ndarray) -> "Arrays":
        """The images at `index` (int64 positions), in that order."""
        return replace(self, images=self.images[index], labels=self.labels[index])


# (root, split) -> Arrays. `root` is the folder of the official files, or None for the download cache.
DATASETS: Registry[Callable[..., Arrays]] = Registry("data set", "convbench.datasets")
