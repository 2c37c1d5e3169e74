"""The leaderboard: groups by rank, with mean ± sd, 95 % interval, and the difference from the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

from convbench.comparison import caption
from convbench.comparison.columns import MISSING, Column, mean_percent, percent_interval, points
from convbench.comparison.comparison import Comparison, Group
from convbench.comparison.evidence import ENOUGH_RUNS, IMAGES, SEEDS
from convbench.comparison.quantities import Quantity
from convbench.comparison.standings import Standing, rank_text, ranked_by, standings


@dataclass(frozen=True)
class Leaderboard:
    """The table as text.

    Args:
        title: what it is sorted by.
        headings: the name, the rank, runs, mean, its interval, difference from the baseline, its interval.
        blocks: the rows, the best first, of the groups with equal settings; only these are ranked among each other.
        caveat: what stands right below it, where ranks or intervals know the images only; "" elsewhere.
        explanations: what ranks and intervals are about, one line each.
    """

    title: str
    headings: tuple[str, ...]
    blocks: dict[tuple[str, ...], list[tuple[str, ...]]]
    caveat: str
    explanations: tuple[str, ...]


def leaderboard(comparison: Comparison) -> Leaderboard | None:
    """The leaderboard of `comparison`; None for a single group, and where runs and images leave every rank open."""
    quantity = ranked_by(comparison)
    of_blocks = {settings: standings(comparison, groups, quantity) for settings, groups in comparison.blocks().items()}
    found = [standing for of_block in of_blocks.values() for standing in of_block]
    if len(found) < 2 or not any(standing.rank or standing.over == SEEDS for standing in found):
        return None
    what = f"mean accuracy over {caption.grid(comparison)}" if comparison.conditions else "clean accuracy"
    name = Column("corrupted" if comparison.conditions else "clean", quantity).heading
    blocks = {}
    for settings, groups in comparison.blocks().items():
        ranked = {standing.group.name for standing in of_blocks[settings]}
        rows = [_row(comparison, quantity, standing) for standing in of_blocks[settings]]
        rows += [_unranked(group) for group in groups if group.name not in ranked]
        blocks[settings] = rows
    return Leaderboard(
        title=f"leaderboard by {what}, %",
        headings=(comparison.by, "rank", "runs", name, "95 % interval", "Δ", "95 % interval"),
        blocks=blocks,
        caveat=_caveat(comparison, found),
        explanations=tuple(_explanations(comparison, found)),
    )


def _row(comparison: Comparison, quantity: Quantity, standing: Standing) -> tuple[str, ...]:
    estimate, change = standing.estimate, standing.change
    spread = "" if estimate.sd is None else f" ±{mean_percent(estimate, estimate.sd)}"
    return (
        standing.group.name,
        rank_text(standing.rank),
        str(estimate.runs),
        f"{mean_percent(estimate)}{spread}",
        percent_interval(estimate, standing.interval) if standing.interval else MISSING,
        points(comparison.difference(standing.group, quantity)),
        f"[{points(change.interval[0])}, {points(change.interval[1])}]" if change else "",
    )


def _unranked(group: Group) -> tuple[str, ...]:
    return (group.name, rank_text(None), str(len(group.runs)), MISSING, MISSING, "", "")


def _caveat(comparison: Comparison, found: Sequence[Standing]) -> str:
    few = [comparison.label(standing.group) for standing in found if standing.over == IMAGES]
    if not few:
        return ""
    whose = "" if len(few) == len(found) else f" for {', '.join(few)}"
    return f"Images only{whose}; says nothing about retraining noise: fewer than {ENOUGH_RUNS} runs."


def _explanations(comparison: Comparison, found: Sequence[Standing]) -> list[str]:
    lines = []
    if any(standing.over == SEEDS for standing in found):
        lines.append(f"95 % interval of {ENOUGH_RUNS} runs or more: Student's t over runs (retraining, these images)")
    if any(standing.over == IMAGES for standing in found):
        lines.append(f"95 % interval of fewer than {ENOUGH_RUNS} runs: over the images")
    if any(standing.change for standing in found):
        lines.append(f"interval of Δ: for this pair alone, over runs where both have {ENOUGH_RUNS}, and paired images")
    if any(standing.rank for standing in found):
        lines.append("rank: the places left open when every pair is tested (Holm, all at 95 %); a range is a tie")
    elif not all(comparison.alike.values()):
        lines.append("no rank: these runs were not measured alike")
    else:
        lines.append("no rank: the evidence is not of two groups")
    return lines
