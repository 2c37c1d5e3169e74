"""What to do: `TrainConfig` and `EvalConfig`, frozen, checked when made, and hashed to a run id."""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from convbench.errors import ConfigError, UnknownNameError

SCHEDULES = ("cosine", "multistep", "constant")
PRECISIONS = ("auto", "float32", "bfloat16")
AUGMENTS = ("auto", "none", "crop", "crop+flip")
CHECKPOINTS = ("best", "last")
SEVERITIES = (1, 2, 3, 4, 5)
_NOT_IDENTITY = {"identity": False}  # where the data lie does not change the result


class _Checked:
    """Shared by both configs: from and to plain dictionaries, and the words of a range error."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # pyright: ignore[reportArgumentType]  # every subclass is a dataclass

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The config of a TOML table or a `config.json`; an unknown key is a `ConfigError`."""
        known = {f.name for f in fields(cls)}  # pyright: ignore[reportArgumentType]  # as above
        for key in values:
            if key not in known:
                raise UnknownNameError("setting", key, known)
        return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"{option} must be {allowed}, got {getattr(self, name)!r}.")

    def _require_one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        self._require(name, getattr(self, name) in allowed, f"one of {', '.join(allowed)}")

    def _require_number(
        self, name: str, low: float, high: float = math.inf, *, open_low: bool = False
    ) -> None:
        value = getattr(self, name)
        bounds = f"{'above' if open_low else 'at least'} {low:g}" + (
            "" if high == math.inf else f" and at most {high:g}"
        )
        right_type = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        self._require(
            name, right_type and (value > low if open_low else value >= low) and value <= high, bounds
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(_Checked):
    """Everything that a trained network depends on, and where its data lie."""

    dataset: str = "digits"
    data_dir: str | None = field(default=None, metadata=_NOT_IDENTITY)
    image_size: int = 0  # of folder: data sets; 0 = 224
    train_examples: int = 0  # 0 = all
    train_fraction: float = 1.0
    label_noise: str = "none"
    label_noise_rate: float = 0.0
    model: str = "resnet8"
    norm: str = "bn"
    mean: tuple[float, ...] = ()  # () = the data set's
    std: tuple[float, ...] = ()
    epochs: int = 25
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4  # not on norm parameters and biases
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()  # of multistep; () = at 1/2 and 3/4 of the epochs
    lr_decay: float = 0.1  # of multistep
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.0
    augment: str = "auto"
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        self._require_one_of("schedule", SCHEDULES)
        self._require_one_of("precision", PRECISIONS)
        self._require_one_of("augment", AUGMENTS)
        for name in ("epochs", "batch_size"):
            self._require(
                name, isinstance(getattr(self, name), int) and getattr(self, name) >= 1, "at least 1"
            )
        for name in ("seed", "train_examples", "image_size"):
            self._require(
                name, isinstance(getattr(self, name), int) and getattr(self, name) >= 0, "at least 0"
            )
        self._require_number("train_fraction", 0, 1, open_low=True)
        self._require_number("label_noise_rate", 0, 1)
        self._require_number("lr", 0, open_low=True)
        self._require_number("lr_decay", 0, 1, open_low=True)
        self._require_number("weight_decay", 0)
        self._require_number("warmup_epochs", 0)
        self._require("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)")
        self._require("milestones", list(self.milestones) == sorted(set(self.milestones)), "ascending epochs")
        self._require(
            "mean", len(self.mean) == len(self.std), "given together with --std, one number per channel"
        )
        self._require("std", all(value > 0 for value in self.std), "above 0")
        if self.label_noise == "none" and self.label_noise_rate > 0:
            raise ConfigError(
                f"--label-noise-rate {self.label_noise_rate} needs --label-noise: symmetric, asymmetric or pair."
            )

    @property
    def run_id(self) -> str:
        """ "<dataset>-<model>-<norm>-s<seed>-<8 hex digits>": readable, and unique to the result."""
        identity = {f.name: getattr(self, f.name) for f in fields(self) if f.metadata.get("identity", True)}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        return f"{slug(self.dataset)}-{slug(self.model)}-{slug(self.norm)}-s{self.seed}-{digest}"


@dataclass(frozen=True, kw_only=True)
class EvalConfig(_Checked):
    """The conditions under which a network is measured, and what is measured."""

    corruptions: tuple[str, ...] = ()
    severities: tuple[int, ...] = SEVERITIES
    corruption_engine: str = "auto"
    corruption_profile: str = "auto"
    metrics: tuple[str, ...] = ("accuracy", "accuracy_lower", "accuracy_upper", "nll", "ece")
    network_metrics: tuple[str, ...] = (
        "spectral_norm",
        "spectral_norm_composed",
        "lipschitz_lower_jacobian",
        "lipschitz_upper_product",
    )
    lipschitz_examples: int = 64  # images of the local Jacobians
    split: str = "test"
    examples: int = 0  # the first N images; 0 = all
    checkpoint: str = "best"
    seed: int = 0  # of the corruptions
    batch_size: int = field(default=256, metadata=_NOT_IDENTITY)

    def __post_init__(self) -> None:
        self._require_one_of("checkpoint", CHECKPOINTS)
        self._require_one_of("split", ("test", "validation", "train"))
        for name in ("batch_size", "lipschitz_examples"):
            self._require(
                name, isinstance(getattr(self, name), int) and getattr(self, name) >= 1, "at least 1"
            )
        for name in ("seed", "examples"):
            self._require(
                name, isinstance(getattr(self, name), int) and getattr(self, name) >= 0, "at least 0"
            )
        allowed = all(severity in SEVERITIES for severity in self.severities)
        self._require("severities", allowed and len(self.severities) > 0, "of 1, 2, 3, 4, 5")


def slug(text: str) -> str:
    """`text` as a part of a file name: a path keeps its last part, other signs become '-'."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text.rsplit("/", 1)[-1]).strip("-")
