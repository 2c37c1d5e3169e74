"""What `convbench spectrum` shows: the layer tables and singular values of networks, side by side."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from torch import nn

from convbench.errors import ConfigError, MetricNotDefinedError, ResultsError
from convbench.spectral.layer_table import LayerSpectrum, layer_table
from convbench.spectral.layers import Layer, linear_layers
from convbench.spectral.spectrum import Spectrum, circular_surrogate, spectrum
from convbench.spectral.tracking import COLUMNS as TRACKED_COLUMNS
from convbench.spectral.tracking import TrackedNorm

_COLUMNS = (
    "network", "norm", "seed", "layer", "kind", "input", "output", "kernel_size", "stride", "groups",
    "spectral_norm", "spectral_norm_lower", "spectral_norm_upper", "method",
    "unit", "normalization", "spectral_norm_composed", "spectral_norm_composed_lower", "spectral_norm_composed_upper",
    "bn_gain_max", "fold_ratio", "kernel_matrix_norm", "circular_norm", "frobenius_norm", "stable_rank", "sigma_min",
    "condition_number", "missing",
)  # fmt: skip
_GEOMETRY = ("kernel_size", "stride", "groups")
SURROGATE, OWN = "circular surrogate", "own"


@dataclass(frozen=True)
class LayerValues:
    """Singular values of a layer at evaluation, with its normalization where that composition is affine.

    Args:
        layer: its name.
        composed: whether the normalization is in it.
        own: all of the layer's singular values, or the largest.
        surrogate: those that it would have with circular padding; None where `own` is all, or there is no such layer.
    """

    layer: str
    composed: bool
    own: Spectrum
    surrogate: Spectrum | None = None


@dataclass(frozen=True)
class NetworkSpectra:
    """One network: its layer table, and what else was asked for.

    Args:
        label: how the outputs call it.
        norm, seed: of its run; "" and None for a model of the user's own.
        image_shape: (C, H, W).
        rows: one per layer.
        values: by layer; empty where no singular values were asked for.
        tracked: the norms per epoch; empty where training did not track them.
    """

    label: str
    norm: str
    seed: int | None
    image_shape: tuple[int, int, int]
    rows: tuple[LayerSpectrum, ...]
    values: Mapping[str, LayerValues] = field(default_factory=dict)
    tracked: tuple[TrackedNorm, ...] = ()


def measure_spectra(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    budget: str = "fast",
    pattern: str = "*",
    with_values: bool = True,
    on_layer: Callable[[int, int, str], None] | None = None,
) -> tuple[tuple[LayerSpectrum, ...], dict[str, LayerValues]]:
    """The layer table of a network, and the singular values of its layers.

    Args:
        image_shape: (C, H, W).
        budget: "exact" or "fast", as for `layer_table`.
        pattern: of layer names, as "layer4*"; the standardization's `network.` may be left out.
        on_layer: called with (layers done, layers, name of the next one); the values are a second pass.

    Raises:
        ConfigError: no layer's name fits the pattern.
        MetricNotDefinedError: as `layer_table`.
    """
    rows = [
        row for row in layer_table(model, image_shape, budget=budget, on_layer=on_layer) if _fits(row.name, pattern)
    ]
    if not rows:
        names = [layer.name for layer in linear_layers(model, image_shape)]
        raise ConfigError(f"--layers {pattern} fits none of the {len(names)} layers: {', '.join(names[:6])}, ...")
    if not with_values:
        return tuple(rows), {}
    values = {}
    layers = {layer.name: layer for layer in linear_layers(model, image_shape)}
    for done, row in enumerate(rows):
        if on_layer is not None:
            on_layer(done, len(rows), f"{row.name}, singular values")
        found = _values_of(layers[row.name], composed=row.composed is not None) if row.norm is not None else None
        if found is not None:
            values[row.name] = found
    return tuple(rows), values


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name.removeprefix("network."), pattern)


def _values_of(layer: Layer, *, composed: bool) -> LayerValues | None:
    module = layer.composition if composed and layer.composition is not None else layer.bare
    try:
        own = spectrum(module, layer.input_shape)
    except (MetricNotDefinedError, ValueError):
        return None  # the table says why
    surrogate = None
    if not own.complete:
        try:
            surrogate = circular_surrogate(module, layer.input_shape)
        except MetricNotDefinedError:
            surrogate = None  # ConvNorm, or a stride that doesn't divide the image
    return LayerValues(layer.name, composed, own, surrogate)


def layers_csv(networks: Sequence[NetworkSpectra]) -> str:
    """One line per network and layer; an empty cell has its reason in the column `missing`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for network in networks:
        for row in network.rows:
            writer.writerow([
                network.label, network.norm, network.seed, row.name, row.kind, _size(row.input_shape),
                _size(row.output_shape), *(_size(row.geometry.get(name, "")) for name in _GEOMETRY),
                *((row.norm.value, row.norm.lower, row.norm.upper, row.norm.method) if row.norm else ("",) * 4),
                row.unit, row.normalization,
                *((row.composed.value, row.composed.lower, row.composed.upper) if row.composed else ("",) * 3),
                row.bn_gain_max, row.fold_ratio, row.kernel_matrix_norm, row.circular_norm, row.frobenius_norm,
                row.stable_rank, row.sigma_min, row.condition_number,
                "; ".join(f"{name}: {reason}" for name, reason in row.missing.items()),
            ])  # fmt: skip
    return text.getvalue()


def values_csv(networks: Sequence[NetworkSpectra]) -> str:
    """One line per singular value and its multiplicity, descending, of each network and layer.

    `operator` is "own", or "circular surrogate" for the values of the same kernel with circular padding.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("network", "layer", "composed", "operator", "complete", "value", "multiplicity"))
    for network in networks:
        for found in network.values.values():
            for operator, part in ((OWN, found.own), (SURROGATE, found.surrogate)):
                if part is not None:
                    pairs = zip(part.values.tolist(), part.multiplicities.tolist(), strict=True)
                    head = (network.label, found.layer, found.composed, operator, part.complete)
                    writer.writerows((*head, *pair) for pair in pairs)
    return text.getvalue()


def read_tracked(path: Path) -> tuple[TrackedNorm, ...]:
    """The norms per epoch that a training wrote; empty where it tracked none.

    Raises:
        ResultsError: the file is not ours, or torn.
    """
    if not path.exists():
        return ()
    try:
        header, *lines = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
        if tuple(header) != TRACKED_COLUMNS:
            raise ValueError(f"its columns are {', '.join(header)}, not {', '.join(TRACKED_COLUMNS)}")
        return tuple(TrackedNorm(int(epoch), metric, layer, float(value)) for epoch, metric, layer, value in lines)
    except (ValueError, OSError) as error:
        raise ResultsError(f"cannot read {path}: {error}.") from None


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Layer names without what all of them begin with ("network."), and without a unit's trailing ".conv"."""
    start = names[0].partition(".")[0] + "." if names else ""
    common = len(names) > 1 and all(name.startswith(start) for name in names)
    return {name: re.sub(r"\.conv$", "", name.removeprefix(start) if common else name) for name in names}


def _size(shape: object) -> str:
    return "x".join(map(str, shape)) if isinstance(shape, tuple) else str(shape)
