"""The kinds of metric: of predictions (once per condition), of the network (once per checkpoint), over conditions.

Every entry states its direction: `higher_is_better` is True, False, or None where neither end is better.
This package imports torch inside its functions only: `compare` reads the directions on a machine without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from convbench.registry import Registry

if TYPE_CHECKING:
    import torch

# (logits (N, K), labels (N,)) -> float, NaN where undefined
PREDICTION_METRICS: Registry[Callable[[torch.Tensor, torch.Tensor], float]] = Registry("metric", "convbench.metrics")


class PartialValues(dict[str, float]):
    """{layer: value} of a network metric that not every layer has; `note` says which are missing, and why."""

    note: str = ""


# (model in eval mode, images (N, C, H, W) float32 in [0, 1], *, options) -> {layer: value}; "" is the whole network.
# Raises MetricNotDefinedError with the reason where the number does not exist; returns `PartialValues` where it exists
# for some layers only, NaN for a broken one. An option `budget` ("exact" or "fast") is filled in from the evaluation's.
# The fact `labels=True` asks for the images' labels, int64 (N,), as a third argument.
# A `group` fact names a set of metrics at once (`--network-metric layers`).
# What several metrics need is computed through `sharing.once`, which does it once for each evaluated network.
NETWORK_METRICS: Registry[Callable[..., dict[str, float]]] = Registry("network metric", "convbench.metrics")

# (accuracy {(corruption, severity): share}, conditions, *, options) -> float, over the conditions of one run.
# Raises NotComparableError where a condition is missing, MetricNotDefinedError with the reason where there is no value.
# Facts: `per_corruption` gives the terms of the mean by corruption; `images` raises where a row's images are others
# than those that the number is about.
CORRUPTION_METRICS: Registry[Callable[..., float]] = Registry("corruption metric", "convbench.metrics")
