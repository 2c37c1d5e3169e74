"""The numbers of one arm: every run measured, and what all of its runs have."""

import math
import statistics
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from convbench.comparison.quantities import Measurement, Quantity, measure
from convbench.comparison.runs import facts_of
from convbench.gate.arms import Arm, Evidence
from convbench.gate.report import Side
from convbench.metrics.corruption_error import Condition

ENOUGH_RUNS = 3  # an arm; with fewer the spread between seeds cannot be told


class ArmNumbers:
    """What the runs of an arm measured.

    Args:
        conditions: the corrupted ones that a mean is over.
    """

    def __init__(self, arm: Arm, conditions: Sequence[Condition]) -> None:
        self.arm = arm
        self.conditions = tuple(conditions)
        self.measured: list[dict[Quantity, Measurement]] = [
            measure(evidence.run, self.conditions) for evidence in arm.evidence
        ]

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return self.arm.evidence

    @property
    def runs(self) -> int:
        return len(self.arm.evidence)

    @cached_property
    def quantities(self) -> dict[Quantity, None]:
        """Every number of any run, in the order of the rows."""
        return dict.fromkeys(quantity for of_run in self.measured for quantity in of_run)

    def values(self, quantity: Quantity) -> list[float]:
        """The number of each run; empty where one of them has none, since a mean over fewer is another mean."""
        found = [of_run[quantity].value for of_run in self.measured if quantity in of_run]
        return found if len(found) == self.runs else []

    def mean(self, quantity: Quantity) -> float | None:
        """The mean over the runs; None where one of them has none."""
        values = self.values(quantity)
        if not values:
            return None
        return statistics.fmean(values) if all(map(math.isfinite, values)) else sum(values) / len(values)

    def n(self, quantity: Quantity) -> int:
        """The images behind the number of one run, the smallest where they differ; 0 where there is none."""
        return min((of_run[quantity].n for of_run in self.measured if quantity in of_run), default=0)

    def correct(self, condition: Condition) -> np.ndarray | None:
        """Bits of every run under `condition`, bool (R, N); None where a run has none."""
        found = [evidence.correct.get(condition) for evidence in self.evidence]
        bits = [one for one in found if one is not None]
        return np.stack(bits) if len(bits) == len(found) else None

    def side(self) -> Side:
        """How a report describes the arm."""
        runs = [evidence.run for evidence in self.evidence]
        facts = facts_of(runs)
        alike: dict[str, Any] = {
            key: value
            for key, value in facts[0].items()
            if key not in ("seed", "run_id") and all(of_run.get(key) == value for of_run in facts)
        }
        return Side(
            label=self.arm.label,
            run_ids=tuple(run.run_id for run in runs),
            seeds=tuple(run.seed for run in runs),
            facts=alike,
            record={"source": self.arm.source, **runs[0].record},
        )
