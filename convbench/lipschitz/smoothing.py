"""ReLU networks made smooth, so that the slope of a network has a slope itself."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_RELUS = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_LEAKY = {F.leaky_relu, F.leaky_relu_}
_HARDTANH = {F.hardtanh, F.hardtanh_, F.relu6}  # ReLU6 is one of them


class SmoothedRelus(TorchFunctionMode):
    """Inside the block every ReLU, leaky ReLU, ReLU6 and hardtanh, module or function, is a sum of softplus functions.

    relu(x) becomes s/beta log(1 + exp(beta x / s)), s the mean of |x| over one image, taken as a constant: the width
    of the bend follows the scale of the layer, and no image depends on its batch. Between the limits a and b,
    hardtanh(x) is a + relu(x - a) - relu(x - b). Written as a clamp or a maximum, a ReLU keeps its kink.

    Args:
        beta: the larger, the nearer to the kink.
    """

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _RELUS | _LEAKY | _HARDTANH:
            return func(*args, **kwargs)
        given = dict(zip(("input", "first", "second"), args, strict=False)) | kwargs
        x = given["input"]
        if func in _RELUS:
            return self._relu(x)
        if func in _LEAKY:
            slope = kwargs.get("negative_slope", given.get("first", 0.01))
            return slope * x + (1 - slope) * self._relu(x)
        low, high = kwargs.get("min_val", given.get("first", -1.0)), kwargs.get("max_val", given.get("second", 1.0))
        low, high = (0.0, 6.0) if func is F.relu6 else (low, high)
        return low + self._relu(x - low) - self._relu(x - high)

    def _relu(self, x: Tensor) -> Tensor:
        if x.dim() < 2:
            return F.softplus(x, beta=self.beta)
        scale = x.detach().abs().mean(tuple(range(1, x.dim())), keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
        return scale * F.softplus(x / scale, beta=self.beta)
