"""The names in a config, resolved against the registries before any work: aliases, options, near misses."""

from dataclasses import replace

from convbench.config import EvalConfig, TrainConfig
from convbench.errors import ConfigError, UnknownNameError


def resolved(config: TrainConfig) -> TrainConfig:
    """`config` with canonical names ("batch" -> "bn"), so that equal runs have equal ids.

    Raises:
        ConfigError: an unknown name or option, with the nearest one.
    """
    from convbench.models.loading import NATIVE, check_model
    from convbench.norms import NORMS
    from corruptions import resolve_label_noise

    check_model(config.model, config.norm)
    try:
        label_noise = resolve_label_noise(config.label_noise)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return replace(
        config,
        dataset=_canonical_dataset(config.dataset),
        model=_canonical_model(config.model),
        norm=config.norm if config.norm == NATIVE else NORMS.canonical(config.norm),
        label_noise=label_noise,
    )


def _canonical_dataset(name: str) -> str:
    from convbench.datasets import DATASETS
    from convbench.datasets.loading import FOLDER_PREFIX

    return name if name.startswith(FOLDER_PREFIX) else DATASETS.canonical(name)


def _canonical_model(name: str) -> str:
    from convbench.models import MODELS

    return MODELS.canonical(name) if name in MODELS else name


def resolved_evaluation(config: EvalConfig) -> EvalConfig:
    """`config` with canonical corruption and metric names, groups spelled out ("blur" -> its four), nothing twice.

    Raises:
        ConfigError: an unknown name, with the nearest one.
    """
    from convbench.metrics import NETWORK_METRICS, PREDICTION_METRICS
    from corruptions import resolve

    names: list[str] = []
    for asked in config.corruptions:
        try:
            names += [name for name in resolve(asked) if name not in names and name != "none"]
        except ValueError as error:
            raise ConfigError(str(error)) from None
    wanted = (*config.metrics, *config.network_metrics)
    for name in wanted:
        if name not in PREDICTION_METRICS and name not in NETWORK_METRICS:
            raise UnknownNameError("metric", name, [*PREDICTION_METRICS.names(), *NETWORK_METRICS.names()])
    return replace(
        config,
        corruptions=tuple(names),
        severities=tuple(sorted(set(config.severities))),
        metrics=tuple(PREDICTION_METRICS.canonical(n) for n in wanted if n in PREDICTION_METRICS),
        network_metrics=tuple(NETWORK_METRICS.canonical(n) for n in wanted if n in NETWORK_METRICS),
    )
