"""What is compared: an arm of runs, each with its rows and, where it has them, its correctness bits."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from convbench.comparison.runs import Run
from convbench.metrics.corruption_error import Condition


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """One evaluated run with what a paired test needs.

    Args:
        run: its rows and conditions of measurement.
        correct: bool `(N,)` for each condition (corruption, severity), ("none", 0) is clean, in the order of the images
            measured; empty where only a CSV is there.
        confidence, nll: of the clean images, float32 `(N,)`: the largest probability, and the cross-entropy in nats;
            None where they were not stored.
    """

    run: Run
    correct: Mapping[Condition, np.ndarray] = field(default_factory=dict)
    confidence: np.ndarray | None = None
    nll: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Runs that are alike in everything but the seed.

    Args:
        label: what the user called it, short.
        source: the argument it was read from.
        evidence: of at least one run.
    """

    label: str
    source: str
    evidence: tuple[Evidence, ...]
