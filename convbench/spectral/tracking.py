"""Spectral norms followed through training: a small Krylov space per layer, started from that of the epoch before.

The leading singular vectors move little from one epoch to the next, so that a few steps from the last ones keep up.
Every value is ||A x|| / ||x|| of some x: a lower bound of the norm, in the precision of training.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convbench.errors import MetricNotDefinedError
from convbench.runtime import eval_mode, stream_seed
from convbench.spectral.layers import Layer, linear_layers
from convbench.spectral.operator import LinearMap

ALONE, COMPOSED = "spectral_norm", "spectral_norm_composed"
COLUMNS = ("epoch", "metric", "layer", "value")
BLOCK = 2  # the leading singular values of a real convolution come in near pairs
FIRST_STEPS, STEPS = 16, 5
_NEW = 1e-4  # squared sine of the angle to the other directions, from which one direction is another


@dataclass(frozen=True)
class TrackedNorm:
    """One line of `spectrum_history.csv`.

    Args:
        epoch: from 0, the untrained network.
        metric: "spectral_norm" of the layer alone, or "spectral_norm_composed" with its normalization at evaluation.
        layer: its name, as in `results.csv`.
        value: from below; after a jump of the weights it may lag by an epoch.
    """

    epoch: int
    metric: str
    layer: str
    value: float


class SpectrumTracker:
    """The spectral norms of a network's layers, epoch by epoch, warm-started from the epoch before.

    Args:
        model: looked at in evaluation mode; its modes, gradients and weights stay as they are.
        image_shape: (C, H, W).
        seed: of the start vectors, which come from private generators.

    Attributes:
        rows: what was measured so far.
    """

    def __init__(self, model: nn.Module, image_shape: tuple[int, int, int], *, seed: int = 0) -> None:
        self._model, self._seed = model, seed
        self._vectors: dict[str, Tensor] = {}
        self.rows: list[TrackedNorm] = []
        layers = [layer for layer in linear_layers(model, image_shape) if not layer.problem]
        self._operators = [
            (metric, name, module, layer.input_shape)
            for layer in layers
            for metric, name, module in _operators(layer)
            if _is_affine(module, layer.input_shape)
        ]

    def measure(self, epoch: int) -> list[TrackedNorm]:
        """The norms of the weights as they are now, appended to `rows` under `epoch`."""
        found = []
        with eval_mode(self._model), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            for metric, name, module, shape in self._operators:
                found.append(TrackedNorm(epoch, metric, name, self._norm(f"{metric} {name}", module, shape)))
        self.rows += found
        return found

    def state(self) -> dict[str, Any]:
        """What a resumed training needs to go on with the same numbers."""
        return {"vectors": dict(self._vectors), "rows": [list(vars(row).values()) for row in self.rows]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._vectors = dict(state["vectors"])
        self.rows = [TrackedNorm(*row) for row in state["rows"]]

    def _norm(self, key: str, module: nn.Module, input_shape: tuple[int, ...]) -> float:
        v, steps = self._vectors.get(key), STEPS
        like = next(module.parameters())
        if v is None:
            generator = torch.Generator().manual_seed(stream_seed("track spectrum", self._seed, key))
            v, steps = torch.randn(BLOCK, *input_shape, generator=generator), FIRST_STEPS
        v, value = _krylov_norm(module, v.to(like), steps)
        self._vectors[key] = v.cpu()
        return value


def format_tracked(rows: list[TrackedNorm]) -> str:
    """`spectrum_history.csv`: one line per epoch, metric and layer."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((row.epoch, row.metric, row.layer, repr(row.value)) for row in rows)
    return text.getvalue()


def _operators(layer: Layer) -> list[tuple[str, str, nn.Module]]:
    """(metric, name in results.csv, module) of a layer alone and with its normalization."""
    composed = [] if layer.composition is None else [(COMPOSED, layer.unit, layer.composition)]
    return [(ALONE, layer.name, layer.bare), *composed]


def _is_affine(module: nn.Module, input_shape: tuple[int, ...]) -> bool:
    try:
        LinearMap(module, input_shape)
    except (MetricNotDefinedError, ValueError):
        return False
    return True


def _krylov_norm(module: nn.Module, v: Tensor, steps: int) -> tuple[Tensor, float]:
    """max ||A x||_2 over the unit x in span{V, A^T A V, ..., (A^T A)^(steps-1) V}, A x = module(x) - module(0).

    Returns:
        The two best directions, to start from the next time, and the maximum.
    """
    shape, basis, images = v.shape[1:], v.new_empty(0, v[0].numel()), []
    with torch.no_grad():
        offset = module(torch.zeros_like(v[:1]))
    new = v.flatten(1)
    for _ in range(min(steps, -(-basis.shape[1] // BLOCK))):
        for _ in range(2):  # once more, against what cancellation left
            new = new - (new @ basis.T) @ basis
        new = torch.linalg.qr(new.T)[0].T
        basis = torch.cat([basis, new])
        with torch.enable_grad():
            x = new.view(-1, *shape).contiguous().requires_grad_()
            image = module(x)
            y = (image - offset).detach()
            (pulled,) = torch.autograd.grad(image, x, y)
        images.append(y.flatten(1))
        new = pulled.flatten(1)
    # Where the space is exhausted, rounding errors take the place of new directions: none is counted twice.
    square, u = torch.linalg.eigh(basis.double() @ basis.double().T)
    kept = (u[:, square > _NEW] / square[square > _NEW].sqrt()).T.to(basis)
    _, sigma, vh = torch.linalg.svd(_small(kept @ torch.cat(images)))
    return (vh[:BLOCK].to(basis) @ kept @ basis).view(-1, *shape), float(sigma[0])


def _small(rows: Tensor) -> Tensor:
    """R of the QR decomposition of `rows^T`, float64: its singular values are those of `rows`."""
    return torch.linalg.qr(rows.double().T, mode="r")[1]
