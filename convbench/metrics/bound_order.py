"""Bounds of one Lipschitz constant that contradict each other: proof of a defect, wherever it lies."""

import math
from collections.abc import Mapping

_LOWER, _UPPER = "lipschitz_lower_", "lipschitz_upper_"


def broken_order(values: Mapping[str, float]) -> str:
    """What contradicts what, "" where every lower bound is at most every upper bound.

    Both are in float64 and rounded outwards where they are certified, so that no tolerance is given.

    Args:
        values: by metric, of one network: the constant of the logits over all images in [0, 1]. Other metrics are
            passed over; options may follow the name.
    """
    values = {name: value for name, value in values.items() if not math.isnan(value)}  # reported by themselves
    lower = {name: value for name, value in values.items() if name.startswith(_LOWER)}
    upper = {name: value for name, value in values.items() if name.startswith(_UPPER)}
    if not lower or not upper:
        return ""
    largest, smallest = max(lower, key=lower.__getitem__), min(upper, key=upper.__getitem__)
    if lower[largest] <= upper[smallest]:
        return ""
    return (
        f"BROKEN: the lower bound {largest} = {lower[largest]!r} lies above the upper bound {smallest} = "
        f"{upper[smallest]!r}: at least one of the two is wrong. Please report this network."
    )
