"""By which rules a comparison is judged: margins, level, correction, and what fails the gate."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from convbench.errors import ConfigError

VERDICTS_THAT_MAY_FAIL = ("regressed", "suspect", "missing", "underpowered", "broken")
CORRECTIONS = ("holm", "bh", "none")
# Shares in [0, 1] (0.005 is half a percentage point); of bounds and norms the relative rise.
DEFAULT_MARGINS: Mapping[str, float] = {
    "accuracy": 0.005,
    "mean_corrupted_accuracy": 0.005,
    "mean_ce": 0.01,
    "mce": 0.01,
    "relative_mce": 0.01,
    "relative_accuracy": 0.01,
    "ece": 0.01,
    "lipschitz_upper": 0.10,
    "lipschitz_lower": 0.10,
    "spectral_norm": 0.10,
    "spectral_norm_composed": 0.10,
}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The rules of one gate; the defaults need no configuration.

    Args:
        margins: metric (or "metric:corruption=...,severity=..." for one condition) -> the change for the worse that is
            allowed, 0 or more: shares in [0, 1], of bounds and norms relative. They win over `DEFAULT_MARGINS`.
        floors: metric -> the least value allowed; the one-sided lower bound of the candidate must clear it.
        fail_on: verdicts, lower case, that fail the gate.
        gate: what is gated: "aggregates" always; "conditions" and "layers" where asked.
        strict: REGRESSED only where the whole interval lies beyond the margin.
        alpha: two-sided level of the tests; 1 - alpha is the level of the intervals.
        correction: over the conditions: holm, bh or none.
        resamples, seed: of the bootstrap.
        filter: an expression that chooses conditions ("corruption:(fog OR frost) severity:5"); "" is all of them.
    """

    margins: Mapping[str, float] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    fail_on: tuple[str, ...] = ("regressed", "broken", "missing")
    gate: tuple[str, ...] = ("aggregates",)
    strict: bool = False
    alpha: float = 0.05
    correction: str = "holm"
    resamples: int = 2000
    seed: int = 0
    filter: str = ""

    def __post_init__(self) -> None:
        for name in self.fail_on:
            if name not in VERDICTS_THAT_MAY_FAIL:
                raise ConfigError(f"--fail-on must be of {', '.join(VERDICTS_THAT_MAY_FAIL)}, got {name!r}.")
        if self.correction not in CORRECTIONS:
            raise ConfigError(f"--correction must be one of {', '.join(CORRECTIONS)}, got {self.correction!r}.")
        if not 0 < self.alpha < 1:
            raise ConfigError(f"--alpha must be between 0 and 1, got {self.alpha!r}.")
        if self.resamples < 100:
            raise ConfigError(f"--resamples must be at least 100, got {self.resamples!r}.")
