"""The two kinds of metric: of predictions (once per condition) and of the network (once per checkpoint).

Every entry states its direction: `higher_is_better` is True, False, or None where neither end is better.
"""

from collections.abc import Callable

import torch

from convbench.registry import Registry

# (logits (N, K), labels (N,)) -> float, NaN where undefined
PREDICTION_METRICS: Registry[Callable[[torch.Tensor, torch.Tensor], float]] = Registry(
    "metric", "convbench.metrics"
)

# (model in eval mode, images (N, C, H, W) float32 in [0, 1], *, options) -> {layer: value}; "" is the whole network.
# Raises MetricNotDefinedError with the reason where the number does not exist.
NETWORK_METRICS: Registry[Callable[..., dict[str, float]]] = Registry(
    "network metric", "convbench.spectral", "convbench.lipschitz"
)
