"""In what a change of a metric is measured: percentage points, its own unit, or percent of the baseline's value."""

from convbench.gate.report import Scale
from convbench.metrics import CORRUPTION_METRICS, NETWORK_METRICS

# Shares of images and what is made of them alone; with what follows after an underscore ("mce_alexnet").
_SHARES = ("accuracy", "robust_accuracy", "mean_corrupted_accuracy", "ce", "relative_ce")


def scale_of(metric: str) -> Scale:
    """The scale of `metric`, a name with or without options ("mce:baseline=bn").

    POINTS: accuracies and corruption errors, which are made of shares of images. RATIO: numbers of the network (bounds,
    norms), which span orders of magnitude. PLAIN: everything else (ECE, NLL).
    """
    name = metric.partition(":")[0]
    if name in CORRUPTION_METRICS or any(name == share or name.startswith(share + "_") for share in _SHARES):
        return Scale.POINTS
    if name in NETWORK_METRICS or name.removeprefix("largest_") in NETWORK_METRICS:
        return Scale.RATIO
    return Scale.PLAIN
