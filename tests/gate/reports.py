"""Reports made by hand for tests of what reads a `Report`: one of each situation that a reader may be in."""

import math
from dataclasses import replace
from typing import Any

from convbench.gate.policy import Policy
from convbench.gate.report import Check, Judgement, Kind, Report, Scale, Side, Verdict

CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression", "speckle_noise",
    "gaussian_blur", "spatter", "saturate",
)  # fmt: skip
LAYERS = ("conv1", *(f"stage{s}.{b}.conv{c}" for s in (1, 2, 3) for b in (0, 1, 2) for c in (1, 2)), "fc")
FINGERPRINT = {
    "dataset": "cifar10",
    "split": "test",
    "images": 10_000,
    "images_sha256": "3f1e5a0c9b7d4f62" * 4,
    "profile": "cifar",
    "severities": [1, 2, 3, 4, 5],
    "seed": 0,
}


def side(label: str, **changes: Any) -> Side:
    """An arm of one run."""
    values: dict[str, Any] = {
        "run_ids": (f"cifar10-resnet20-bn-s0-{label[:8]}",),
        "seeds": (0,),
        "facts": {"dataset": "cifar10", "model": "resnet20", "norm": "bn", "label_noise": "none"},
        "record": {"version": "0.2.0", "torch": "2.15.0", "device": "cpu", "source": f"runs/{label}"},
    }
    return Side(label=label, **(values | changes))


def aggregate(**changes: Any) -> Check:
    """The mean corrupted accuracy, regressed; `changes` override its fields."""
    values: dict[str, Any] = {
        "kind": Kind.AGGREGATE,
        "metric": "mean_corrupted_accuracy",
        "corruption": "all",
        "severity": "all",
        "higher_is_better": True,
        "scale": Scale.POINTS,
        "baseline": 0.7402,
        "candidate": 0.7324,
        "change": -0.0078,
        "low": -0.0098,
        "high": -0.0057,
        "n": 10_000,
        "margin": 0.005,
        "detectable": 0.003,
        "method": "image-cluster bootstrap, 2000 resamples",
        "verdict": Verdict.REGRESSED,
    }
    return Check(**(values | changes))


def clean(**changes: Any) -> Check:
    """The clean accuracy, held."""
    values: dict[str, Any] = {
        "metric": "accuracy",
        "corruption": "none",
        "severity": 0,
        "baseline": 0.9184,
        "candidate": 0.9171,
        "change": -0.0013,
        "low": -0.0045,
        "high": 0.0019,
        "p": 0.43,
        "lost": 141,
        "gained": 128,
        "detectable": 0.0046,
        "method": "Newcombe's paired interval, McNemar mid-p",
        "verdict": Verdict.HELD,
    }
    return aggregate(**(values | changes))


def bound(**changes: Any) -> Check:
    """The upper Lipschitz bound, held: a ratio without interval or test."""
    values: dict[str, Any] = {
        "kind": Kind.NETWORK,
        "metric": "lipschitz_upper_product",
        "corruption": "none",
        "severity": 0,
        "higher_is_better": False,
        "scale": Scale.RATIO,
        "baseline": 3.1e6,
        "candidate": 3.2e6,
        "change": 3.2 / 3.1 - 1,
        "low": None,
        "high": None,
        "margin": 0.1,
        "detectable": None,
        "method": "ratio",
        "verdict": Verdict.HELD,
    }
    return aggregate(**(values | changes))


def calibration(**changes: Any) -> Check:
    """The expected calibration error, held: a plain difference."""
    values: dict[str, Any] = {
        "metric": "ece",
        "corruption": "none",
        "severity": 0,
        "higher_is_better": False,
        "scale": Scale.PLAIN,
        "baseline": 0.031,
        "candidate": 0.033,
        "change": 0.002,
        "low": -0.001,
        "high": 0.005,
        "margin": 0.01,
        "detectable": None,
        "verdict": Verdict.HELD,
    }
    return aggregate(**(values | changes))


def condition(corruption: str = "glass_blur", severity: int = 5, *, change: float = -0.041, **changes: Any) -> Check:
    """One corruption at one severity, paired; worse by 2 points is REGRESSED, by half of one SUSPECT."""
    baseline = 0.92 - 0.06 * severity - 0.004 * (len(corruption) % 7)
    lost, gained = round(600 - 5000 * change), round(600 + 5000 * change)
    half = 1.96 * math.sqrt(1200 - (lost - gained) ** 2 / 10_000) / 10_000
    z = abs(lost - gained) / math.sqrt(lost + gained)
    p = math.erfc(z / math.sqrt(2))
    verdict = Verdict.REGRESSED if change <= -0.02 else Verdict.SUSPECT if change <= -0.005 else Verdict.HELD
    values: dict[str, Any] = {
        "kind": Kind.CONDITION,
        "metric": "accuracy",
        "corruption": corruption,
        "severity": severity,
        "baseline": baseline,
        "candidate": baseline + change,
        "change": change,
        "low": change - half,
        "high": change + half,
        "p": p,
        "p_adjusted": min(1.0, 95 * p),
        "lost": lost,
        "gained": gained,
        "margin": 0.01,
        "detectable": 0.0105,
        "method": "Newcombe's paired interval, McNemar mid-p, Holm",
        "gated": False,
        "verdict": verdict,
    }
    return aggregate(**(values | changes))


def layer(name: str = "conv1", *, change: float = 0.02, **changes: Any) -> Check:
    """The spectral norm of one layer."""
    values: dict[str, Any] = {
        "kind": Kind.LAYER,
        "metric": "spectral_norm",
        "layer": name,
        "baseline": 2.5,
        "candidate": 2.5 * (1 + change),
        "change": change,
        "gated": False,
        "verdict": Verdict.REGRESSED if change > 0.1 else Verdict.HELD,
    }
    return bound(**(values | changes))


def conditions(count: int = 95) -> tuple[Check, ...]:
    """As many conditions: 19 corruptions of 5 severities, further ones under numbered names; 7 of each 95 regressed."""
    found = []
    for place in range(count):
        family, rest = divmod(place, len(CORRUPTIONS) * 5)
        corruption, severity = CORRUPTIONS[rest // 5], 1 + rest % 5
        worse = {"glass_blur": -0.0085, "zoom_blur": -0.0048}.get(corruption, 0.0004 * (rest % 9 - 3))
        found.append(condition(f"{corruption}_{family}" if family else corruption, severity, change=worse * severity))
    return tuple(found)


def judgement(*checks: Check, label: str = "pr@4d5e6f", **changes: Any) -> Judgement:
    """A candidate with these checks, paired."""
    values: dict[str, Any] = {"candidate": side(label), "paired": True, "checks": checks}
    return Judgement(**(values | changes))


def report(*judgements: Judgement, **changes: Any) -> Report:
    """A report of these candidates under the default rules."""
    values: dict[str, Any] = {
        "baseline": side("main@1a2b3c"),
        "judgements": judgements,
        "policy": Policy(),
        "fingerprint": FINGERPRINT,
        "version": "0.2.0",
    }
    return Report(**(values | changes))


def regressed(*, count: int = 95) -> Report:
    """The realistic one: one aggregate of four regressed, 95 conditions, 20 layers, a floor that is cleared."""
    floor = clean(kind=Kind.FLOOR, baseline=0.9, change=0.0171, low=0.0124, high=None, p=None, margin=None)
    return report(
        judgement(
            clean(),
            aggregate(),
            calibration(),
            bound(),
            replace(floor, lost=None, gained=None, detectable=None, method="one-sided Wilson bound"),
            *conditions(count),
            *(layer(name, change=0.01 * (place % 14 - 2)) for place, name in enumerate(LAYERS)),
            notes=("One run an arm: images only; says nothing about retraining noise.",),
        )
    )


def held() -> Report:
    """Nothing changed but by chance."""
    checks = (clean(), aggregate(candidate=0.7399, change=-0.0003, low=-0.002, high=0.0014, verdict=Verdict.HELD))
    return report(judgement(*checks, bound(), *(condition(name, 1, change=-0.001) for name in CORRUPTIONS)))


def improved() -> Report:
    """One aggregate is certainly better, none worse."""
    better = aggregate(candidate=0.7489, change=0.0087, low=0.0066, high=0.0108, verdict=Verdict.IMPROVED)
    return report(judgement(clean(), better))


def unpaired() -> Report:
    """From CSV files: wide intervals, a suspicion that does not fail the gate."""
    suspect = aggregate(low=-0.0201, high=0.0045, lost=None, gained=None, verdict=Verdict.SUSPECT)
    small = clean(n=500, low=-0.037, high=0.034, verdict=Verdict.UNDERPOWERED, lost=None, gained=None)
    notes = ("unpaired: weaker. Without correctness bits of both sides a drop must be about four times as large.",)
    return report(judgement(small, suspect, paired=False, notes=notes))


def broken() -> Report:
    """NaN in the candidate, a condition that it lacks, and one that the baseline lacks."""
    nan = bound(candidate=math.nan, change=math.nan, verdict=Verdict.BROKEN, reason="NaN in the candidate")
    alone = {"change": None, "low": None, "high": None, "p": None, "p_adjusted": None, "lost": None, "gained": None}
    lacking = replace(condition("fog", 3), candidate=None, verdict=Verdict.MISSING, gated=True, **alone)
    new = replace(condition("snow", 3), baseline=None, verdict=Verdict.NEW, **alone)
    return report(judgement(clean(), nan, lacking, new))


def several() -> Report:
    """Three candidates: one regressed, one held, one improved."""
    parts = {"pr-1": regressed(), "pr-2": held(), "pr-3": improved()}
    return report(*(replace(one.judgements[0], candidate=side(label)) for label, one in parts.items()))


def nothing() -> Report:
    """A candidate without any number in common with the baseline."""
    return report(judgement())


SITUATIONS = {
    "regressed": regressed,
    "held": held,
    "improved": improved,
    "unpaired": unpaired,
    "broken": broken,
    "several": several,
    "nothing": nothing,
}
