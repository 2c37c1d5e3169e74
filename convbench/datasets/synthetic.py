"""Procedural colour images for tests and first steps: nothing to read, learnable in one epoch.

The class is a colour (5) times the direction of stripes (2). Stripe width, phase, contrast, brightness, a disc
of clutter and pixel noise are random. Only additions, products and comparisons make the pixels (no sine), so
that they are equal on every machine.
"""

from pathlib import Path

import numpy as np

from convbench.datasets.contract import DATASETS, Arrays
from convbench.datasets.splits import shuffled
from convbench.errors import DataError

SIZES = {"train": 2000, "validation": 400, "test": 400}
SIDE = 32
COLOURS = {
    "red": (0.85, 0.25, 0.25),
    "green": (0.25, 0.75, 0.30),
    "blue": (0.25, 0.35, 0.90),
    "yellow": (0.80, 0.75, 0.20),
    "grey": (0.55, 0.55, 0.55),
}
DIRECTIONS = ("horizontal", "vertical")


@DATASETS.register("synthetic", reference="procedural, see convbench/datasets/synthetic.py")
def synthetic(root: Path | None, split: str) -> Arrays:
    """Coloured stripes, 10 classes, 32x32, made on the spot; a small network learns them in one epoch.

    Splits: 2,000 train, 400 validation, 400 test, balanced, each from its own stream.
    """
    if root is not None:
        raise DataError("data set 'synthetic' is procedural and reads no folder; leave out --data-dir.")
    n = SIZES[split]
    stream = 1 + list(SIZES).index(split)
    classes = tuple(f"{colour} {direction}" for colour in COLOURS for direction in DIRECTIONS)
    labels = (shuffled(n, seed=stream) % len(classes)).astype(np.int64)
    return Arrays(
        images=_draw(labels, seed=100 + stream),
        labels=labels,
        classes=classes,
        mean=(0.5652, 0.5621, 0.5061),
        std=(0.2413, 0.2254, 0.2284),
        flip=True,  # stripes keep their direction in a mirror
    )


def _draw(labels: np.ndarray, seed: int) -> np.ndarray:
    """Images uint8 (N, 32, 32, 3) of the classes `labels`."""
    n = len(labels)
    words = np.random.PCG64(seed)

    def uniform(low: float, high: float, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        unit = (words.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return (low + (high - low) * unit).reshape(shape)

    y, x = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    vertical = (labels % len(DIRECTIONS) == 1)[:, None, None]
    along = np.where(vertical, x, y)

    period, phase = uniform(5, 11, n, 1, 1), uniform(0, 1, n, 1, 1)
    turns = along / period + phase
    wave = np.abs(2 * (turns - np.floor(turns)) - 1)  # triangle wave in [0, 1]
    light = uniform(0.5, 0.8, n, 1, 1) + uniform(0.4, 0.8, n, 1, 1) * (wave - 0.5)

    colour = np.array(list(COLOURS.values()))[labels // len(DIRECTIONS)][:, None, None, :]
    images = light[..., None] * (0.35 + colour)

    centre_y, centre_x = uniform(4, 28, n, 1, 1), uniform(4, 28, n, 1, 1)
    disc = (y - centre_y) ** 2 + (x - centre_x) ** 2 < uniform(3, 7, n, 1, 1) ** 2
    images = np.where(disc[..., None], uniform(0.1, 0.9, n, 1, 1, 3), images)
    images = images + uniform(-0.12, 0.12, n, SIDE, SIDE, 3)
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
