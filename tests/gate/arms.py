"""Arms built in code, as the tests of the gate and of its outputs need them: rows and correctness bits that agree."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from convbench.comparison.runs import Run
from convbench.gate.arms import Arm, Evidence
from convbench.metrics.corruption_error import Condition
from convbench.rows import Row
from tests.gate.folders import identity_of

CLEAN: Condition = ("none", 0)
NAMES = ("gaussian_noise", "fog", "glass_blur", "contrast", "snow", "pixelate", "frost", "zoom_blur", "motion_blur")
NETWORK = {"lipschitz_upper_product": 3.1e6, "lipschitz_lower_jacobian": 41.0}
CLASSES = 10


def grid(corruptions: int = 2, severities: Sequence[int] = (1, 3, 5)) -> tuple[Condition, ...]:
    """Conditions: so many corruptions at each severity; numbered names beyond the official ones."""
    names = [NAMES[i] if i < len(NAMES) else f"corruption_{i}" for i in range(corruptions)]
    return tuple((name, severity) for name in names for severity in severities)


def draw(
    share: float, n: int = 1000, *, seed: int = 0, conditions: Iterable[Condition] = grid()
) -> dict[Condition, np.ndarray]:
    """Bits of clean images and of `conditions`, each image as hard in all of them: bool (n,), about `share` right."""
    generator = np.random.default_rng(seed)
    hardness = generator.random(n)
    correct = {CLEAN: hardness < share + 0.1}
    for condition in conditions:
        correct[condition] = (0.7 * hardness + 0.3 * generator.random(n)) < share - 0.03 * condition[1]
    return correct


def flipped(
    correct: Mapping[Condition, np.ndarray],
    share: float,
    *,
    seed: int,
    drop: float = 0.0,
    only: Sequence[Condition] = (),
) -> dict[Condition, np.ndarray]:
    """`correct` with a `share` of the bits flipped: as many lost as gained, and `drop` (of all images) more lost.

    Args:
        only: the conditions that drop; () is all.
    """
    generator = np.random.default_rng(seed)
    changed = {}
    for condition, bits in correct.items():
        n, lose = len(bits), drop if not only or condition in only else 0.0
        lost, gained = round(n * (share + lose) / 2), round(n * (share - lose) / 2)
        after = bits.copy()
        after[generator.permutation(np.flatnonzero(bits))[:lost]] = False
        after[generator.permutation(np.flatnonzero(~bits))[:gained]] = True
        changed[condition] = after
    return changed


def evidence(
    correct: Mapping[Condition, np.ndarray],
    *,
    seed: int = 0,
    run_id: str = "",
    network: Mapping[str, float] = NETWORK,
    layers: Mapping[str, float] | None = None,
    confidence: np.ndarray | None = None,
    nll: np.ndarray | None = None,
    bits: bool = True,
    classes: int | None = CLASSES,
    **columns: Any,
) -> Evidence:
    """One run whose rows say what its bits say; `bits=False` leaves them out, as a CSV does.

    Args:
        layers: spectral norms by layer.
        confidence, nll: of the clean images; their rows are added.
    """
    identity = identity_of(run_id, seed, columns)
    rows = []
    for (corruption, severity), right in correct.items():
        where = {"corruption": corruption, "severity": severity}
        where |= {"source": "generated", "profile": "torch/cifar"} if severity else {}
        rows.append(Row(**{**where, **identity}, metric="accuracy", value=float(np.mean(right)), n=len(right)))
    if confidence is not None:
        error = calibration_error(confidence, correct[CLEAN])
        rows.append(Row(**identity, metric="ece", value=error, n=len(confidence)))
    if nll is not None:
        rows.append(Row(**identity, metric="nll", value=float(nll.astype(np.float64).mean()), n=len(nll)))
    rows += [Row(**identity, metric=metric, value=value, n=64) for metric, value in network.items()]
    rows += [
        Row(**identity, metric="spectral_norm", layer=name, value=value, n=64) for name, value in (layers or {}).items()
    ]
    settings = {"classes": classes} if classes else {}
    return Evidence(
        run=Run(rows=tuple(rows), settings=settings),
        correct=dict(correct) if bits else {},
        confidence=confidence if bits else None,
        nll=nll if bits else None,
    )


def arm(*runs: Evidence, label: str = "main") -> Arm:
    """An arm of these runs."""
    return Arm(label=label, source=f"runs/{label}", evidence=runs)


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """The expected calibration error, bin by bin as its definition reads."""
    total = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].astype(np.float64).mean())
    return float(total)
