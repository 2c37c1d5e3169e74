"""How SGD walks: the learning rate as a pure function of the epoch, and which weights decay."""

import math
from typing import Any

from torch import nn

from convbench.config import TrainConfig
from convbench.norms import NormalizedConv2d


def learning_rate(epoch: float, config: TrainConfig) -> float:
    """The learning rate after `epoch` epochs (a fraction counts steps): a linear warm-up, then the schedule.

    cosine: lr · ½(1 + cos(π t)), t the share of the epochs after warm-up; multistep: lr · lr_decay^(milestones passed).
    """
    warmup = min(config.warmup_epochs, config.epochs / 2)
    if epoch < warmup:
        # The first step must move: half a step of warm-up is counted as passed at the start.
        return config.lr * max(epoch / warmup, 0.02)
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (config.epochs - warmup)))
    milestones = config.milestones or (config.epochs // 2, config.epochs * 3 // 4)
    return config.lr * config.lr_decay ** sum(epoch >= milestone for milestone in milestones)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: weights of convolutions and linear layers, which decay; norm parameters and biases, which do not.

    A norm parameter is any vector, and whatever a normalization keeps beside the convolution's own `weight`
    (ConvNorm's depthwise r is four-dimensional, and still belongs to the normalization).
    """
    of_norms: set[int] = set()
    for unit in model.modules():
        if isinstance(unit, NormalizedConv2d):
            own = {id(p) for name, p in unit.get_submodule("conv").named_parameters() if name == "weight"}
            of_norms |= {id(p) for p in unit.parameters()} - own
    decayed, free = [], []
    for parameter in model.parameters():
        (free if parameter.ndim <= 1 or id(parameter) in of_norms else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
