"""The numbers in one row of the layer table: how each is computed, and why one is missing."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.norms import ConvNorm2d
from convbench.spectral.circulant import ROUNDING, circular_norm
from convbench.spectral.convolution import image_size
from convbench.spectral.frobenius import frobenius_norm
from convbench.spectral.layers import Layer
from convbench.spectral.linear_operator import power_of_two
from convbench.spectral.norm import SpectralNorm, kernel_matrix_norm, spectral_norm
from convbench.spectral.smallest import SYMBOL_FLOPS, smallest_singular_value
from convbench.spectral.stages import (
    Stage,
    batch_norm_gain,
    is_batch_norm,
    is_convolution,
    parts_of,
    stages_of,
)
from convbench.spectral.symbol_spectrum import stage_geometry, stage_symbol, surrogate_grid, values_flops

NORMS = ("norm", "kernel_matrix_norm", "frobenius_norm", "stable_rank", "composed", "bn_gain_max", "fold_ratio")
CONDITIONING = ("circular_norm", "sigma_min", "condition_number")


class Numbers:
    """The numbers of a row as they are found, and the reason for each that isn't: undefined here, or broken."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.missing: dict[str, str] = {}
        self.broken: set[str] = set()

    def find(self, name: str, compute: Callable[[], Any]) -> None:
        """Keep what `compute` returns, or why there is no such number."""
        try:
            self.found[name] = compute()
        except _Unknown as error:  # computed from a number that is missing
            self.lose([name], self.missing[str(error)], broken=str(error) in self.broken)
        except (MetricNotDefinedError, ValueError) as error:
            self.lose([name], str(error), broken=isinstance(error, ValueError))

    def lose(self, names: Iterable[str], reason: str, *, broken: bool = False) -> None:
        """Note why the numbers `names` are missing."""
        for name in names:
            self.missing[name] = reason
            if broken:
                self.broken.add(name)

    def __getitem__(self, name: str) -> Any:
        if name not in self.found:
            raise _Unknown(name)
        return self.found[name]


class _Unknown(Exception):
    """A number that was looked for and not found."""


def normalizations(layer: Layer) -> list[nn.Module]:
    """What the composition holds beside the layer; a ConvNorm layer is a normalization itself."""
    parts = [] if layer.composition is None else parts_of(layer.composition)
    return [part for part in parts if part is not layer.module or isinstance(part, ConvNorm2d)]


def find_norms(numbers: Numbers, layer: Layer, budget: str) -> None:
    """The norms of the layer alone and of its composition."""
    bare = layer.bare
    numbers.find("norm", lambda: spectral_norm(bare, layer.input_shape, budget=budget))
    numbers.find("kernel_matrix_norm", lambda: kernel_matrix_norm(_with_its_weight(bare)))
    numbers.find("frobenius_norm", lambda: _frobenius_norm(layer))
    numbers.find("stable_rank", lambda: _ratio(numbers["frobenius_norm"], numbers["norm"].value) ** 2)
    if layer.composition is None:
        numbers.lose(("composed", "bn_gain_max", "fold_ratio"), "no normalization takes its output")
        return
    others = normalizations(layer)
    unit = layer.composition
    numbers.find("composed", lambda: _composed_norm(numbers, layer, unit, budget) if others else numbers["norm"])
    numbers.find("bn_gain_max", lambda: _largest_gain(others))
    numbers.find("fold_ratio", lambda: _fold_ratio(numbers, others))


def find_conditioning(numbers: Numbers, layer: Layer, norm: float, budget: str) -> None:
    """The other end of the spectrum, and the norm that the layer would have with circular padding."""
    numbers.find("circular_norm", lambda: _circular_norm(layer, budget))
    numbers.find("sigma_min", lambda: smallest_singular_value(layer.bare, layer.input_shape, norm, budget=budget))
    numbers.find("condition_number", lambda: _ratio(norm, numbers["sigma_min"], at_zero=math.inf))


def _with_its_weight(layer: nn.Module) -> nn.Module:
    """`layer`, if what it applies is its `weight`."""
    if is_convolution(layer) or (isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward):
        return layer
    raise MetricNotDefinedError(f"{type(layer).__name__} applies another kernel than its weight")


def _frobenius_norm(layer: Layer) -> float:
    bare = _with_its_weight(layer.bare)
    if isinstance(bare, nn.Conv2d | nn.ConvTranspose2d):
        return frobenius_norm(bare, image_size(layer.input_shape), image_size(layer.output_shape))
    assert isinstance(bare, nn.Linear)
    weight = bare.weight.detach().cpu().double()
    factor = power_of_two(float(weight.abs().max()))
    return float((weight * factor).norm()) / factor


def _circular_norm(layer: Layer, budget: str) -> float:
    bare = layer.bare
    if not is_convolution(bare):
        raise MetricNotDefinedError("only convolutions have one")
    stage = Stage(bare)
    geometry = stage_geometry(stage, image_size(layer.input_shape), image_size(layer.output_shape))
    grid = surrogate_grid(geometry)
    if values_flops(stage, geometry) > SYMBOL_FLOPS[budget]:
        raise MetricNotDefinedError(f"too many channels and pixels for the {budget} budget")
    return circular_norm(stage_symbol(stage, geometry), grid)


def _composed_norm(numbers: Numbers, layer: Layer, unit: nn.Module, budget: str) -> SpectralNorm:
    gain = _common_gain(layer, unit)
    if gain is None or "norm" not in numbers.found:
        return spectral_norm(unit, layer.input_shape, budget=budget)
    norm: SpectralNorm = numbers["norm"]
    lower, upper = norm.lower * gain * (1 - ROUNDING), norm.upper * gain * (1 + ROUNDING)
    return SpectralNorm(norm.value * gain, lower, upper, norm.method)


def _common_gain(layer: Layer, unit: nn.Module) -> float | None:
    """|factor| of all output channels alike, as before training; None where there is no such number."""
    stages = stages_of(unit)
    if len(stages) != 1 or stages[0].module is not layer.bare or stages[0].gain is None:
        return None
    gains = stages[0].gain.abs()
    return float(gains[0]) if bool((gains == gains[0]).all()) else None


def _largest_gain(others: list[nn.Module]) -> float:
    inner = [part.bn if isinstance(part, ConvNorm2d) else part for part in others]
    gains = [batch_norm_gain(part) for part in inner if part is not None and is_batch_norm(part)]
    if not gains:
        raise MetricNotDefinedError("there is no batch normalization in it")
    return math.prod(float(gain.abs().max()) for gain in gains)


def _fold_ratio(numbers: Numbers, others: list[nn.Module]) -> float:
    if not all(map(is_batch_norm, others)):
        raise MetricNotDefinedError("it is defined for batch normalization")
    return _ratio(numbers["composed"].value, numbers["norm"].value * numbers["bn_gain_max"])


def _ratio(numerator: float, denominator: float, *, at_zero: float | None = None) -> float:
    if denominator == 0.0 and (at_zero is None or numerator == 0.0):
        raise MetricNotDefinedError("the operator is zero")
    return numerator / denominator if denominator else float(at_zero or 0.0)
