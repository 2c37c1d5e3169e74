"""What to do: `TrainConfig` and `EvalConfig`, frozen, checked when made, and hashed to a run id.

Defaults and help lines are written here once; the command line reads them from the fields.
"""

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
BUDGETS = ("exact", "fast")
SPLITS = ("test", "validation", "train")


def flag_of(config: type, name: str) -> str:
    """The command-line option of the field `name`."""
    flags = {f.name: f.metadata.get("flag") for f in fields(config)}
    return flags[name] or "--" + name.replace("_", "-")


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
            value = getattr(self, name)
            given = ", ".join(map(repr, value)) if isinstance(value, tuple) else repr(value)
            raise ConfigError(f"{flag_of(type(self), name)} must be {allowed}, got {given or 'none'}.")

    def _require_one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        self._require(name, getattr(self, name) in allowed, f"one of {', '.join(allowed)}")

    def _require_number(self, name: str, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
        value = getattr(self, name)
        bounds = f"{'above' if open_low else 'at least'} {low:g}" + (
            "" if high == math.inf else f" and at most {high:g}"
        )
        right_type = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        self._require(name, right_type and (value > low if open_low else value >= low) and value <= high, bounds)


def _option(default: Any, help: str, *, flag: str = "", identity: bool = True) -> Any:
    """A field with its line of `--help`; `identity` says whether the result depends on it."""
    return field(default=default, metadata={"help": help, "flag": flag, "identity": identity})


@dataclass(frozen=True, kw_only=True)
class TrainConfig(_Checked):
    """Everything that a trained network depends on, and where its data lie."""

    dataset: str = _option("digits", "Data set, see `convbench list datasets`; or folder:<path>.")
    data_dir: str | None = _option(
        None, "Folder of the official files: read only, nothing is downloaded.", identity=False
    )
    image_size: int = _option(0, "Side of the images of a folder: data set; 0 = 224.")
    train_examples: int = _option(0, "Train on so many images, balanced over the classes; 0 = all.")
    train_fraction: float = _option(1.0, "Train on this share of the images, balanced over the classes.")
    label_noise: str = _option(
        "", "Label noise kind[:file][,option=value], see `convbench list label-noises`. [default: symmetric]"
    )
    label_noise_rate: float = _option(0.0, "Share of training labels replaced; validation and test stay clean.")
    model: str = _option(
        "resnet8", "Model, see `convbench list models`; file.py:factory; torchvision:<name>; timm:<name>."
    )
    norm: str = _option("bn", "Normalization, see `convbench list norms`; native = the model's own.")
    mean: tuple[float, ...] = _option((), "Standardization of the input, one number per channel. [default: the data's]")
    std: tuple[float, ...] = _option((), "Standardization of the input, one number per channel. [default: the data's]")
    epochs: int = _option(40, "Passes over the training images.")
    batch_size: int = _option(64, "Images per step.")
    lr: float = _option(0.1, "Peak learning rate of SGD.")
    momentum: float = _option(0.9, "Momentum of SGD.")
    weight_decay: float = _option(5e-4, "L2 penalty; not on norm parameters and biases.")
    clip_norm: float = _option(
        1.0, "Clip the global gradient norm to this; 0 = off. Without a norm, training needs it."
    )
    schedule: str = _option("cosine", f"Learning rate over the epochs: {', '.join(SCHEDULES)}.")
    milestones: tuple[int, ...] = _option((), "Epochs of the multistep schedule. [default: 1/2 and 3/4 of all]")
    lr_decay: float = _option(0.1, "Factor at each milestone.")
    warmup_epochs: float = _option(1.0, "Epochs of linear warm-up.")
    label_smoothing: float = _option(0.0, "Share of the target spread over all classes.")
    augment: str = _option("auto", f"{', '.join(AUGMENTS)}; auto = crop, and flip where the data set allows it.")
    precision: str = _option("auto", f"Of the convolutions: {', '.join(PRECISIONS)}; auto = bfloat16 where native.")
    seed: int = _option(0, "Seed of weights, order, augmentation, subset and label noise.")
    track_spectrum: bool = _option(
        False, "Write the spectral norms of the layers after every epoch, to spectrum_history.csv.", identity=False
    )

    def __post_init__(self) -> None:
        self._require_one_of("schedule", SCHEDULES)
        self._require_one_of("precision", PRECISIONS)
        self._require_one_of("augment", AUGMENTS)
        for name in ("epochs", "batch_size"):
            self._require(name, isinstance(getattr(self, name), int) and getattr(self, name) >= 1, "at least 1")
        for name in ("seed", "train_examples", "image_size"):
            self._require(name, isinstance(getattr(self, name), int) and getattr(self, name) >= 0, "at least 0")
        self._require_number("train_fraction", 0, 1, open_low=True)
        self._require_number("label_noise_rate", 0, 1)
        self._require_number("lr", 0, open_low=True)
        self._require_number("lr_decay", 0, 1, open_low=True)
        self._require_number("weight_decay", 0)
        self._require_number("clip_norm", 0)
        self._require_number("warmup_epochs", 0)
        self._require("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)")
        self._require("milestones", list(self.milestones) == sorted(set(self.milestones)), "ascending epochs")
        self._require("mean", len(self.mean) == len(self.std), "given together with --std, one number per channel")
        self._require("std", all(value > 0 for value in self.std), "above 0")
        if not self.label_noise:
            object.__setattr__(self, "label_noise", "symmetric" if self.label_noise_rate > 0 else "none")
        if takes_rate(self.label_noise) != (self.label_noise_rate > 0):
            raise ConfigError(
                f"--label-noise {self.label_noise} contradicts --label-noise-rate {self.label_noise_rate:g}: "
                "a kind of noise needs a rate above 0, but one from a file and no noise the rate 0."
            )
        if self.train_examples and self.train_fraction < 1:
            raise ConfigError("--train-examples and --train-fraction both say how much to train on: give one.")

    @property
    def run_id(self) -> str:
        """ "<dataset>-<model>-<norm>-s<seed>-<8 hex digits>": readable, and unique to the result."""
        identity = {f.name: getattr(self, f.name) for f in fields(self) if f.metadata.get("identity", True)}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        return f"{slug(self.dataset)}-{slug(self.model)}-{slug(self.norm)}-s{self.seed}-{digest}"


@dataclass(frozen=True, kw_only=True)
class EvalConfig(_Checked):
    """The conditions under which a network is measured, and what is measured."""

    corruptions: tuple[str, ...] = _option(
        (), "Corruptions, aliases or groups, see `convbench list corruptions`.", flag="--corruption"
    )
    severities: tuple[int, ...] = _option(SEVERITIES, "Severities: 1,3,5 or 1-5.", flag="--severity")
    corruption_data: str | None = _option(
        None, "Folder of a published archive (CIFAR-10-C, ImageNet-C, ...) to read the corrupted images from."
    )
    corruption_engine: str = _option(
        "auto", "What corrupts the images: torch, or the package imagecorruptions as a reference. auto = torch."
    )
    corruption_profile: str = _option(
        "auto",
        "Whose severity constants: cifar-c, tiny-imagenet-c, imagenet-c, imagecorruptions. auto = by the image size.",
    )
    metrics: tuple[str, ...] = _option(
        ("accuracy", "accuracy_lower", "accuracy_upper", "nll", "ece"),
        "Metrics of the predictions, see `convbench list metrics`.",
        flag="--metric",
    )
    network_metrics: tuple[str, ...] = _option(
        ("layers", "lipschitz_lower_jacobian", "lipschitz_upper_product", "certified_accuracy"),
        "Metrics of the network, or groups of them, see `convbench list metrics`; none = skip them.",
        flag="--network-metric",
    )
    spectral_budget: str = _option(
        "exact", f"What spectral norms may cost: {', '.join(BUDGETS)}; fast = wider certificates on large layers."
    )
    lipschitz_examples: int = _option(64, "Images at which the local Jacobian is taken.")
    split: str = _option("test", f"Split to measure on: {', '.join(SPLITS)}.")
    examples: int = _option(0, "Measure on the first N images; 0 = all.")
    checkpoint: str = _option("best", "Weights of the best validation accuracy or of the last epoch: best, last.")
    seed: int = _option(0, "Seed of the corruptions.")
    batch_size: int = _option(256, "Images per forward pass.", identity=False)

    def __post_init__(self) -> None:
        self._require_one_of("checkpoint", CHECKPOINTS)
        self._require_one_of("spectral_budget", BUDGETS)
        self._require_one_of("split", SPLITS)
        for name in ("batch_size", "lipschitz_examples"):
            self._require(name, isinstance(getattr(self, name), int) and getattr(self, name) >= 1, "at least 1")
        for name in ("seed", "examples"):
            self._require(name, isinstance(getattr(self, name), int) and getattr(self, name) >= 0, "at least 0")
        allowed = all(severity in SEVERITIES for severity in self.severities)
        self._require("severities", allowed and len(self.severities) > 0, "of 1, 2, 3, 4, 5")
        if self.corruption_data is not None:
            generate = (self.corruption_engine, self.corruption_profile)
            if generate != (EvalConfig.corruption_engine, EvalConfig.corruption_profile):
                raise ConfigError(
                    "--corruption-data takes the images of an archive as they are: leave out --corruption-engine and "
                    "--corruption-profile, which say how to make them."
                )
            if self.split != "test":
                raise ConfigError(
                    f"--corruption-data holds corrupted test images: it needs --split test, got {self.split}."
                )


def takes_rate(label_noise: str) -> bool:
    """Whether a kind of label noise needs a rate above 0; the others ("none", "human:<file>") have none.

    Raises:
        ConfigError: an unknown kind or option, with the nearest one.
    """
    from corruptions import parse_label_noise

    try:
        return parse_label_noise(label_noise).kind.rate
    except ValueError as error:
        raise ConfigError(f"--label-noise: {error}") from None


def slug(text: str) -> str:
    """`text` as a part of a file name: a path keeps its last part, other signs become '-'."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text.rsplit("/", 1)[-1]).strip("-")
