"""Who is better than whom: for one number the rank of each group, with ties wherever the evidence leaves them open.

Every pair of groups is compared, the p-values are adjusted by Holm's method, and a group's rank is the range from one
more than the number of groups certainly better to the number of groups not certainly worse. All ranks of a table hold
together at 95 %. Mogstad, Romano, Shaikh and Wilhelm 2024, "Inference for Ranks", Rev. Econ. Stud. 91:476-518.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from convbench.comparison.comparison import Comparison, Group
from convbench.comparison.evidence import LEVEL, Difference, Interval, difference, interval_of_mean, over_images
from convbench.comparison.quantities import CLEAN, CORRUPTED, Estimate, Quantity, higher_is_better

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Standing:
    """One group's number among those of the groups that differ from it in nothing but what is compared.

    Args:
        interval: 95 % of the mean; None where nothing is known of its variance.
        over: what the interval is over, "seeds" or "images"; "" without one.
        rank: the best and the worst place that the evidence leaves open, 1 the best; None where the number has no
            better end, or no pair of groups could be told apart by any evidence.
        change: from the baseline's number; None for the baseline itself and without evidence.
    """

    group: Group
    estimate: Estimate
    interval: Interval | None
    over: str
    rank: tuple[int, int] | None
    change: Difference | None

    @property
    def may_be_best(self) -> bool:
        return self.rank is not None and self.rank[0] == 1


def ranked_by(comparison: Comparison) -> Quantity:
    """What the leaderboard is sorted by: the mean corrupted accuracy, or the clean one where nothing was corrupted."""
    return CORRUPTED if comparison.conditions else CLEAN


def standings(
    comparison: Comparison, groups: Sequence[Group], quantity: Quantity, *, ranked: bool = True
) -> list[Standing]:
    """The standing of each of `groups` of which every run has `quantity`, the best mean first.

    Runs that were not measured alike are neither ranked nor subtracted.

    Args:
        ranked: without it no pairs are compared, and none has a rank.
    """
    found = {
        group.name: estimate
        for group in groups
        if (estimate := group.complete(quantity)) is not None and not math.isnan(estimate.mean)
    }
    members = {group.name: group for group in groups if group.name in found}
    images = {name: over_images(comparison, group, quantity) for name, group in members.items()}
    upward = higher_is_better(quantity.metric)
    alike = all(comparison.alike[group.settings] for group in groups)
    ranks = _ranks(found, images, upward) if ranked and upward is not None and alike else {}
    base = comparison.baseline if alike else ""
    result = []
    for name, estimate in found.items():
        interval, over = interval_of_mean(estimate, images[name])
        change = None
        if base in found and base != name:
            change = difference(estimate, found[base], images[name], images[base])
        result.append(Standing(members[name], estimate, interval, over, ranks.get(name), change))
    if upward is not None:
        result.sort(key=lambda standing: -standing.estimate.mean if upward else standing.estimate.mean)
    return result


def _ranks(
    estimates: dict[str, Estimate], images: dict[str, np.ndarray | None], upward: bool
) -> dict[str, tuple[int, int]]:
    pairs = {
        (first, second): evidence
        for first, second in combinations(estimates, 2)
        if (evidence := difference(estimates[first], estimates[second], images[first], images[second])) is not None
    }
    if not pairs:
        return {}
    import numpy as np

    from convbench.statistics.multiplicity import holm

    better = dict.fromkeys(estimates, 0)  # how many are certainly better than this one
    worse = dict.fromkeys(estimates, 0)
    adjusted = holm(np.array([evidence.p for evidence in pairs.values()]))
    for (pair, evidence), p in zip(pairs.items(), adjusted, strict=True):
        if p < 1 - LEVEL:
            first, second = pair if (evidence.value > 0) is upward else pair[::-1]
            worse[first] += 1
            better[second] += 1
    return {name: (1 + better[name], len(estimates) - worse[name]) for name in estimates}


def rank_text(rank: tuple[int, int] | None) -> str:
    """A rank as it reads: "1", "2-4", or "-" where there is none."""
    if rank is None:
        return "-"
    return str(rank[0]) if rank[0] == rank[1] else f"{rank[0]}-{rank[1]}"
