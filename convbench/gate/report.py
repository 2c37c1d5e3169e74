"""The verdict object: what a candidate's numbers say against a baseline's, and whether the gate is passed.

Every output (terminal, Markdown, JUnit, JSON, HTML, annotations) and the exit code are read from one `Report`, so that
they cannot disagree.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from convbench.gate.policy import Policy


class Verdict(StrEnum):
    """What is said of one number, the worst first."""

    BROKEN = "BROKEN"  # NaN, a lower bound above its upper bound, at chance where the baseline was not
    REGRESSED = "REGRESSED"  # certainly worse, by an amount that matters
    MISSING = "MISSING"  # the baseline has it, the candidate has not
    SUSPECT = "SUSPECT"  # worse by an amount that matters, but perhaps by chance
    UNDERPOWERED = "UNDERPOWERED"  # too few images to tell
    NEW = "NEW"  # the candidate has it, the baseline has not
    HELD = "HELD"  # not worse, and certainly not by twice the margin
    IMPROVED = "IMPROVED"  # certainly better

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return list(Verdict).index(self)


class Kind(StrEnum):
    """What a check is about."""

    AGGREGATE = "aggregate"  # the clean accuracy, or a mean over conditions
    CONDITION = "condition"  # one corruption at one severity
    NETWORK = "network"  # a bound of the whole network
    LAYER = "layer"  # a number of one layer
    FLOOR = "floor"  # an absolute limit (--min)


class Scale(StrEnum):
    """In what a change is measured: what `change`, `low`, `high`, `margin` and `detectable` mean."""

    POINTS = "points"  # difference of shares in [0, 1]; shown times 100, in percentage points
    PLAIN = "plain"  # difference in the metric's own unit
    RATIO = "ratio"  # candidate / baseline - 1; shown in percent


@dataclass(frozen=True, kw_only=True)
class Check:
    """One number of the candidate against the baseline's, and the verdict.

    Args:
        kind: what it is about.
        metric, corruption, severity, layer: the number, as in a `Row`; "all" is the mean over all of them, and
            "none", 0 is clean.
        higher_is_better: the metric's direction.
        scale: in what the change is measured.
        baseline, candidate: the numbers, means over the runs of an arm; None where an arm has none.
        change: candidate against baseline on `scale`, signed as it is (not "worse is negative"); None where one is
            missing.
        low, high: the 95 % interval of `change`; None where no interval is known.
        p, p_adjusted: two-sided, before and after the correction over conditions; None without a test.
        n: images behind the number (the smallest, where runs differ).
        runs: how many runs each arm has.
        lost, gained: images that only the baseline, or only the candidate, classified rightly; None if not paired.
        margin: the change for the worse that is allowed, 0 or more, on `scale`; None where nothing is gated.
        detectable: the smallest change for the worse that these images would show with 80 % power, on `scale`.
        method: how interval and p were obtained, in words.
        gated: whether the verdict counts for the exit code.
        reason: why this verdict, in one short line; "" where the numbers say it.
    """

    kind: Kind
    metric: str
    corruption: str = "none"
    severity: int | str = 0
    layer: str = ""
    higher_is_better: bool
    scale: Scale
    baseline: float | None
    candidate: float | None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    n: int = 0
    runs: tuple[int, int] = (1, 1)
    lost: int | None = None
    gained: int | None = None
    margin: float | None = None
    detectable: float | None = None
    method: str = ""
    verdict: Verdict
    gated: bool = True
    reason: str = ""

    @property
    def worsening(self) -> float:
        """`change` with the sign that makes more worse; 0 where there is none."""
        if self.change is None:
            return 0.0
        return -self.change if self.higher_is_better else self.change

    @property
    def place(self) -> str:
        """Where it was measured, short: a layer, "glass_blur@5", "all@5", "clean"; "" is all conditions, or no images.

        Together with `kind` and `metric` it tells one number of a candidate from another.
        """
        if self.layer:
            return self.layer
        if self.corruption == "none":
            return "clean" if self.kind in (Kind.AGGREGATE, Kind.CONDITION, Kind.FLOOR) else ""
        whole = (self.corruption, self.severity) == ("all", "all")
        return "" if whole else f"{self.corruption}@{self.severity}"

    @property
    def name(self) -> str:
        """The number in words: "clean accuracy", "accuracy under fog at severity 5", "spectral norm of conv1"."""
        family, colon, options = self.metric.partition(":")
        words = family.replace("_", " ") + colon + options
        if self.metric == "accuracy" and self.corruption == "none":
            words = "clean accuracy"
        if self.layer:
            words += f" of {self.layer}"
        if self.corruption not in ("none", "all"):
            words += f" under {self.corruption}"
        if self.severity not in (0, "all"):
            words += f" at severity {self.severity}"
        return words


# A number of the whole comes before those that explain it, and accuracies before what has another unit.
_ORDER = (Kind.AGGREGATE, Kind.FLOOR, Kind.NETWORK, Kind.CONDITION, Kind.LAYER)


def _worst_first(check: Check) -> tuple[int, int, int, float]:
    # NaN compares false with everything, and would leave the order to chance.
    worsening = math.inf if math.isnan(check.worsening) else check.worsening
    return check.verdict.rank, _ORDER.index(check.kind), list(Scale).index(check.scale), -worsening


@dataclass(frozen=True, kw_only=True)
class Side:
    """One arm: one run, or several that differ in the seed only.

    Args:
        label: what it is called in the outputs.
        run_ids, seeds: of its runs.
        facts: what describes it (dataset, model, norm, label_noise ...), equal in all of its runs.
        record: versions, device, commit, and where it was read from; never compared, only shown.
    """

    label: str
    run_ids: tuple[str, ...]
    seeds: tuple[int | None, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One candidate against the baseline.

    Args:
        paired: whether both sides know which images they classified rightly.
        checks: all of them: aggregates, network, floors, then conditions and layers in the order of the rows.
        notes: what a reader must know before believing the numbers; the first one says so where it is unpaired.
    """

    candidate: Side
    paired: bool
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    def of_kind(self, *kinds: Kind) -> tuple[Check, ...]:
        """The checks of these kinds, in their order."""
        return tuple(check for check in self.checks if check.kind in kinds)

    def counts(self, *kinds: Kind) -> Counter[Verdict]:
        """How many checks of these kinds (none: all) have each verdict."""
        return Counter(check.verdict for check in (self.of_kind(*kinds) if kinds else self.checks))

    def worst_first(self, *kinds: Kind) -> tuple[Check, ...]:
        """Checks by verdict, then by how much worse they got."""
        return tuple(sorted(self.of_kind(*kinds) if kinds else self.checks, key=_worst_first))


@dataclass(frozen=True, kw_only=True)
class Report:
    """A baseline, its candidates, and what was decided by which rules.

    Args:
        policy: margins, levels and what fails the gate.
        fingerprint: the conditions of measurement that all sides share: data, corruptions, profile, seed ...
        version: of convbench.
    """

    baseline: Side
    judgements: tuple[Judgement, ...]
    policy: Policy
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""

    @cached_property
    def failures(self) -> tuple[Check, ...]:
        """The gated checks whose verdict fails the gate, the worst first."""
        found = [check for judgement in self.judgements for check in judgement.checks if self.fails(check)]
        return tuple(sorted(found, key=_worst_first))

    def fails(self, check: Check) -> bool:
        """Whether `check` alone fails the gate."""
        return check.gated and check.verdict.value.lower() in self.policy.fail_on

    @property
    def passed(self) -> bool:
        return not self.failures

    @cached_property
    def worst(self) -> tuple[Judgement, Check] | None:
        """The gated check that decided `verdict`, and whose it is: the worst of its like; None where none is gated."""
        gated = [(judgement, check) for judgement in self.judgements for check in judgement.checks if check.gated]
        failing = [(judgement, check) for judgement, check in gated if self.fails(check)]
        alike = [(judgement, check) for judgement, check in gated if check.verdict is self.verdict]
        return min(failing or alike or gated, key=lambda pair: _worst_first(pair[1]), default=None)

    @cached_property
    def each(self) -> tuple[Report, ...]:
        """One report per candidate, in their order, so that each has a verdict and failures of its own."""
        return tuple(replace(self, judgements=(judgement,)) for judgement in self.judgements)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict that fails the gate; else the worst gated one among SUSPECT, UNDERPOWERED; else HELD.

        IMPROVED where a gated number improved and none is worse than HELD.
        """
        if self.failures:
            return self.failures[0].verdict
        gated = {check.verdict for judgement in self.judgements for check in judgement.checks if check.gated}
        for verdict in (Verdict.SUSPECT, Verdict.UNDERPOWERED, Verdict.IMPROVED):
            if verdict in gated:
                return verdict
        return Verdict.HELD

    @property
    def exit_code(self) -> int:
        """0: the gate is passed, 1: it is not; also under --exit-zero, which only the command line knows."""
        return 0 if self.passed else 1
