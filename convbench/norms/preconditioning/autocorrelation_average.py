"""The running preconditioner of the authors' ConvNorm code, kept as numbers that do not depend on the image size.

Their code evaluates with an average of V over the past training steps, whose weight on the newest falls with the step:

    a <- (1 - t_n) a + t_n a(w_n),    t_n = max((cos(pi n / 40000) + 1) / 2, 0.01)

It averages V itself, for one image size; here it is the autocorrelation that V is made from.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from convbench.norms.preconditioning.preconditioner import autocorrelation

_PERIOD, _LEAST = 40_000, 0.01


class AutocorrelationAverage(nn.Module):
    """Buffers `value`, float64 `(Cout, lags)`, and `steps`; both are of a size that the kernel's alone determines."""

    value: Tensor
    steps: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        with torch.no_grad():
            self.register_buffer("value", torch.zeros_like(autocorrelation(weight.double())))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=weight.device))

    @torch.no_grad()
    def update(self, weight: Tensor) -> None:
        """Count a training step with this weight."""
        self.steps.add_(1)
        newest = ((torch.cos(self.steps.double() * (math.pi / _PERIOD)) + 1) / 2).clamp_min(_LEAST)
        self.value.lerp_(autocorrelation(weight.double()), newest)

    @torch.no_grad()
    def current(self, weight: Tensor) -> Tensor:
        """The average; before the first step, where the authors' code returns zeros, the value of the weight."""
        return torch.where(self.steps > 0, self.value, autocorrelation(weight.double()))

    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        # A module cast to a narrower type keeps these numbers: a gain computed from them in float32 may be far off.
        wide = self.value
        super()._apply(fn, recurse)
        self.value = wide.to(self.value.device)
        return self
