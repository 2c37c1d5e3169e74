"""The two kinds of metric: of predictions (once per condition) and of the network (once per checkpoint).

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

# (model in eval mode, images (N, C, H, W) float32 in [0, 1], *, options) -> {layer: value}; "" is the whole network.
# Raises MetricNotDefinedError with the reason where the number does not exist.
NETWORK_METRICS: Registry[Callable[..., dict[str, float]]] = Registry("network metric", "convbench.metrics")
