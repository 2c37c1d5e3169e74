"""Comparisons to draw, from rows built in code."""

from collections.abc import Sequence
from typing import Any

import pytest

from convbench.comparison import Comparison, compare
from convbench.rows import Row

CORRUPTIONS = ("gaussian_noise", "shot_noise", "fog", "contrast", "pixelate", "snow", "frost")


def rows_of_run(norm: str, seed: int, corruptions: Sequence[str], layers: Sequence[str], model: str) -> list[Row]:
    identity: dict[str, Any] = {
        "run_id": f"{model}-{norm}-{seed}",
        "dataset": "digits",
        "model": model,
        "norm": norm,
        "seed": seed,
        "label_noise": "none",
        "label_noise_rate": 0.0,
        "split": "test",
    }
    gain = 0.02 * len(norm) + 0.004 * seed
    rows = [
        Row(**identity, corruption=c, severity=s, metric="accuracy", value=0.9 - 0.1 * s + gain / 2, n=360)
        for c, severities in (("none", [0]), *((c, range(1, 6)) for c in corruptions))
        for s in severities
    ]
    for depth, layer in enumerate(layers, start=1):
        rows.append(Row(**identity, metric="spectral_norm", layer=layer, value=1.0 + gain * depth, n=64))
        if norm != "mixture":
            rows.append(Row(**identity, metric="spectral_norm_composed", layer=layer, value=2.0**depth + gain, n=64))
    return rows


@pytest.fixture
def compared():
    """Compare `norms` over `seeds`, corruptions, layers and models."""

    def make(
        norms: Sequence[str] = ("bn", "none", "mixture"),
        seeds: Sequence[int] = (0, 1, 2),
        corruptions: Sequence[str] = CORRUPTIONS,
        layers: Sequence[str] = ("conv1", "conv2", "fc"),
        models: Sequence[str] = ("resnet8",),
    ) -> Comparison:
        rows = []
        for model in models:
            own = [f"{model}.{layer}" for layer in layers] if len(models) > 1 else layers
            for norm in norms:
                for seed in seeds:
                    rows += rows_of_run(norm, seed, corruptions, own, model)
        return compare(rows)

    return make
