"""The names in a config, resolved against the registries before any work: aliases, options, near misses."""

from collections.abc import Collection
from dataclasses import replace
from functools import partial

from convbench.config import EvalConfig, TrainConfig
from convbench.errors import ConfigError, UnknownNameError


def resolved(config: TrainConfig) -> TrainConfig:
    """`config` with canonical names ("batch" -> "bn"), so that equal runs have equal ids.

    Raises:
        ConfigError: an unknown name or option, with the nearest one.
    """
    from convbench.models.loading import NATIVE, check_model
    from convbench.norms.placement import canonical_norm
    from corruptions import resolve_label_noise

    check_model(config.model, config.norm)
    try:
        label_noise = resolve_label_noise(config.label_noise)
    except ValueError as error:
        raise ConfigError(f"--label-noise: {error}") from None
    return replace(
        config,
        dataset=canonical_dataset(config.dataset),
        model=_canonical_model(config.model),
        norm=config.norm if config.norm == NATIVE else canonical_norm(config.norm),
        label_noise=label_noise,
    )


def canonical_dataset(name: str) -> str:
    """The registered name of a data set ("cifar-10" is cifar10); `folder:<path>` stays as it is.

    Raises:
        ConfigError: an unknown name, with the nearest one.
    """
    from convbench.datasets import DATASETS
    from convbench.datasets.loading import FOLDER_PREFIX

    return name if name.startswith(FOLDER_PREFIX) else DATASETS.canonical(name)


def _canonical_model(name: str) -> str:
    from convbench.models import MODELS

    return MODELS.canonical(name) if name in MODELS else name


def resolved_corruptions(asked: Collection[str], *, archive: str | None = None) -> tuple[str, ...]:
    """Canonical corruption names, groups spelled out ("blur" -> its four), nothing twice, "none" left out.

    Args:
        archive: the folder of an archive, whose names they then are; "all", and no name at all, is everything in it.

    Raises:
        ConfigError: an unknown name, with the nearest one; a name that the archive lacks; no archive.
    """
    from corruptions import resolve

    names: dict[str, None] = {}
    try:
        if archive is not None:
            from corruptions.archives import open_archive, resolve_in

            resolve = partial(resolve_in, open_archive(archive))
            asked = asked or ("all",)
        for text in asked:
            names |= dict.fromkeys(name for name in resolve(text) if name != "none")
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from None
    return tuple(names)


def metric_groups() -> dict[str, tuple[str, ...]]:
    """The names that stand for several metrics of a network: group -> its members."""
    from convbench.metrics import NETWORK_METRICS

    groups: dict[str, tuple[str, ...]] = {}
    for entry in NETWORK_METRICS:
        if group := entry.facts.get("group"):
            groups[group] = (*groups.get(group, ()), entry.name)
    return groups


def resolved_evaluation(config: EvalConfig) -> EvalConfig:
    """`config` with canonical corruption and metric names, groups spelled out ("blur" -> its four), nothing twice.

    Raises:
        ConfigError: an unknown name, with the nearest one.
    """
    from convbench.metrics import NETWORK_METRICS, PREDICTION_METRICS

    groups = metric_groups()
    asked = (*config.metrics, *config.network_metrics)
    wanted = dict.fromkeys(name for text in asked for name in groups.get(text, (text,)))
    for name in wanted:
        if name not in PREDICTION_METRICS and name not in NETWORK_METRICS:
            raise UnknownNameError("metric", name, [*PREDICTION_METRICS.names(), *NETWORK_METRICS.names(), *groups])
    return replace(
        config,
        corruptions=resolved_corruptions(config.corruptions, archive=config.corruption_data),
        severities=tuple(sorted(set(config.severities))),
        metrics=tuple(PREDICTION_METRICS.canonical(n) for n in wanted if n in PREDICTION_METRICS),
        network_metrics=tuple(NETWORK_METRICS.canonical(n) for n in wanted if n in NETWORK_METRICS),
    )
