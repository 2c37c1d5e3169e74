"""evaluate(subject, config) -> rows: one network, measured under one condition after the other.

A *cell* is what is measured and stored at once: one condition (corruption, severity), or one metric of the network.
Clean accuracy is always the first cell, so that a wrong preprocessing shows at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from convbench.batches import ahead, to_unit
from convbench.checkpoint import Checkpoint
from convbench.config import EvalConfig
from convbench.datasets import Arrays
from convbench.errors import CheckpointError, MetricNotDefinedError
from convbench.image_sources import Archived, Generated, ImageSource
from convbench.metrics import NETWORK_METRICS, PREDICTION_METRICS
from convbench.metrics.contract import PartialValues
from convbench.metrics.sharing import OnStep, SharedWork, sharing
from convbench.models.standardize import Standardize
from convbench.names import resolved_evaluation
from convbench.rows import Row
from convbench.runtime import deterministic, eval_mode, select_device
from convbench.subject import Subject, subject_of_run


@dataclass(frozen=True)
class Condition:
    """One (corruption, severity); clean is ("none", 0)."""

    corruption: str = "none"
    severity: int = 0

    @property
    def name(self) -> str:
        """The file name of the cell."""
        return f"{self.corruption}-{self.severity}"

    def __str__(self) -> str:
        return "clean" if self.severity == 0 else f"{self.corruption}, severity {self.severity}"


@dataclass(frozen=True)
class NetworkMetric:
    """One metric of the network itself."""

    metric: str

    @property
    def name(self) -> str:
        """The file name of the cell."""
        return self.metric.replace(":", "-")

    def __str__(self) -> str:
        return self.metric


Cell = Condition | NetworkMetric


@dataclass(frozen=True)
class Measured:
    """What one cell gave: its rows, which images were classified rightly, and why a number is missing.

    Args:
        correct: bool (N,), in the order of the images measured; None for a network metric.
        confidence, nll: of the clean images, float32 (N,): the largest probability, and the cross-entropy in nats.
    """

    rows: tuple[Row, ...]
    correct: np.ndarray | None = None
    note: str = ""
    confidence: np.ndarray | None = None
    nll: np.ndarray | None = None


def plan(config: EvalConfig) -> list[Cell]:
    """The cells of `config` in the order in which they are measured."""
    conditions: list[Cell] = [Condition()]
    conditions += [Condition(name, severity) for name in config.corruptions for severity in config.severities]
    return conditions + [NetworkMetric(name) for name in config.network_metrics]


def evaluate(subject: Subject | Checkpoint, config: EvalConfig | None = None, *, device: str = "auto") -> Iterator[Row]:
    """Measure a network under every condition of `config`, row by row.

    Args:
        subject: a trained run (its weights `config.checkpoint`), or any network with its identity.

    Raises:
        ConvbenchError: unknown names, data or weights that do not fit, an engine that cannot be loaded.
    """
    config = resolved_evaluation(config or EvalConfig())
    if isinstance(subject, Checkpoint):
        subject = subject_of_run(subject, config.checkpoint)
    bench = Bench(subject, config, device)
    for cell in plan(config):
        yield from bench.measure(cell).rows


class Bench:
    """A network and its test images on the device, ready for any cell.

    Raises:
        ConvbenchError: the engine or the profile does not exist, or the network does not take these images.
    """

    def __init__(self, subject: Subject, config: EvalConfig, device: str = "auto") -> None:
        self.subject, self.config = subject, config
        self.device = select_device(device)
        self.arrays = subject.load(config.split, config.examples)
        self.images = torch.from_numpy(self.arrays.images).permute(0, 3, 1, 2).contiguous()
        self.labels = torch.from_numpy(self.arrays.labels)
        self.image_source = self._choose_source()
        self.network = subject.network.to(self.device)
        self._shared_work = SharedWork()
        self._try_network(self.arrays)

    def _choose_source(self) -> ImageSource | None:
        """Where corrupted images come from; None where no corruption is asked for."""
        if not self.config.corruptions:
            return None
        if self.config.corruption_data is not None:
            return Archived(self.arrays, self.config)
        return Generated(self.images, self.labels, self.config, self.device)

    def _try_network(self, arrays: Arrays) -> None:
        """Refuse a network that these images do not fit, before hours of corruptions."""
        first = getattr(self.network, "standardize", None)
        if isinstance(first, Standardize):
            taken, given = first.in_channels, self.images.shape[1]
            if taken != given:  # arithmetic would repeat the one channel of a gray image
                raise CheckpointError(
                    f"{self.subject.model} was made for images of {taken} channel(s); those of {self.subject.dataset} "
                    f"have {given}."
                )
        with measuring(self.network, self.device):
            try:
                logits = self.network(to_unit(self.images[:2].to(self.device)))
            except (RuntimeError, ValueError, TypeError) as error:
                reason = str(error).partition("\n")[0]
                shape = "×".join(map(str, self.images.shape[1:]))
                raise CheckpointError(
                    f"{self.subject.model} does not take {shape} images of {self.subject.dataset}: {reason}"
                ) from error
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or logits.shape[1] != len(arrays.classes):
            found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise CheckpointError(
                f"{self.subject.model} gives {found} for 2 images, not 2 rows of {len(arrays.classes)} logits, "
                f"one for each class of {self.subject.dataset}."
            )

    def measure(self, cell: Cell, on_images: Callable[[int], None] | None = None) -> Measured:
        """Measure one cell; `on_images` is told how many images were done."""
        if isinstance(cell, Condition):
            return self._measure_condition(cell, on_images)
        return self._measure_network(cell, on_images)

    def _measure_condition(self, condition: Condition, on_images: Callable[[int], None] | None) -> Measured:
        size = self.config.batch_size
        labels = self._labels(condition)
        parts = []
        with measuring(self.network, self.device):
            jobs = (
                partial(self._images, condition, start, min(start + size, len(labels)))
                for start in range(0, len(labels), size)
            )
            overlaps = self.image_source is not None and self.image_source.overlaps
            for images in ahead(jobs) if overlaps else (job() for job in jobs):
                parts.append(self.network(to_unit(images.to(self.device))).float().cpu())
                if on_images is not None:
                    on_images(len(images))
        logits = torch.cat(parts)
        rows = [
            self._row(condition, metric, PREDICTION_METRICS.build(metric, logits, labels), len(logits))
            for metric in self.config.metrics
        ]
        correct = (logits.argmax(dim=1) == labels).numpy()
        if condition.severity > 0:
            return Measured(tuple(rows), correct)
        log_p = logits.double().log_softmax(dim=1)
        return Measured(
            tuple(rows),
            correct,
            confidence=log_p.max(dim=1).values.exp().float().numpy(),
            nll=-log_p.gather(1, labels[:, None])[:, 0].float().numpy(),
        )

    def _labels(self, condition: Condition) -> torch.Tensor:
        if condition.severity == 0 or self.image_source is None:
            return self.labels
        return self.image_source.labels(condition.corruption)

    def _images(self, condition: Condition, start: int, stop: int) -> torch.Tensor:
        if condition.severity == 0 or self.image_source is None:
            return self.images[start:stop]
        return self.image_source.images(condition.corruption, condition.severity, start, stop)

    def _measure_network(self, cell: NetworkMetric, on_images: Callable[[int], None] | None) -> Measured:
        images = to_unit(self.images[: self.config.lipschitz_examples].to(self.device))
        entry, options = NETWORK_METRICS.parse(cell.metric)
        if "budget" in entry.options:
            options.setdefault("budget", self.config.spectral_budget)
        self._shared_work.on_step = _as_images(on_images, len(self.labels))
        with deterministic(self.device), sharing(self._shared_work):
            try:
                given = (images, self.labels[: len(images)]) if entry.facts.get("labels") else (images,)
                values = entry.function(self.network, *given, **options)
            except MetricNotDefinedError as reason:
                return Measured((), note=f"{cell.metric}: {reason}")
        note = f"{cell.metric}: {values.note}" if isinstance(values, PartialValues) and values.note else ""
        return Measured(
            tuple(self._row(cell, cell.metric, value, len(images), layer) for layer, value in values.items()), note=note
        )

    def _row(self, cell: Cell, metric: str, value: float, n: int, layer: str = "") -> Row:
        identity: dict[str, Any] = self.subject.identity()
        if isinstance(cell, Condition):
            identity |= {"corruption": cell.corruption, "severity": cell.severity}
            if cell.severity > 0 and self.image_source is not None:
                identity |= {"source": self.image_source.source, "profile": self.image_source.profile}
        return Row(**identity, split=self.config.split, metric=metric, layer=layer, value=float(value), n=n)


def _as_images(on_images: Callable[[int], None] | None, images: int) -> OnStep | None:
    """Tell a progress bar that counts images of the steps of a network metric."""
    if on_images is None:
        return None

    def on_step(done: int, steps: int, _: str) -> None:
        if done > 0:
            on_images(images * done // steps - images * (done - 1) // steps)

    return on_step


@contextmanager
def measuring(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode, no gradients and deterministic kernels inside the block; every module's own mode after it."""
    with eval_mode(network), torch.no_grad(), deterministic(device):
        yield
