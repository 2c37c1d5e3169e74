"""The linear layers of a network in one table: norms with their certificates, alone and composed, and conditioning."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.spectral.determinism import check_deterministic
from convbench.spectral.layer_numbers import CONDITIONING, NORMS, Numbers, find_conditioning, find_norms, normalizations
from convbench.spectral.layers import Layer, Shape, grey_image, linear_layers
from convbench.spectral.norm import SpectralNorm
from convbench.spectral.one_thread import one_thread

OnLayer = Callable[[int, int, str], None]
_ARGUMENTS = (
    "in_channels", "out_channels", "in_features", "out_features", "kernel_size", "stride", "padding", "output_padding",
    "padding_mode", "dilation", "groups",
)  # fmt: skip


@dataclass(frozen=True)
class LayerSpectrum:
    """What is known of one linear layer at its place in a network; where a number is None, `missing` says why.

    Args:
        name: of the module in the network.
        kind: its class, that of an `nn.Conv2d` with a parametrized weight being Conv2d.
        input_shape, output_shape: (C, H, W) or (features,); () where the forward pass didn't reach it.
        geometry: its arguments by their names in torch: "in_channels", "kernel_size", "stride", ...
        norm: of the layer alone, without normalization; of a ConvNorm layer its weight as a plain convolution.
        kernel_matrix_norm: of the reshaped kernel, what papers quote.
        frobenius_norm: of the operator.
        stable_rank: (frobenius_norm / norm)^2, from 1 to the rank.
        circular_norm: of the same kernel with circular padding.
        sigma_min: the smallest of the min(inputs, outputs) singular values of the layer alone.
        condition_number: norm / sigma_min; infinite where sigma_min is 0.
        unit: the name of the composition with its normalization, "" without one.
        normalization: its class, "" without one.
        composed: the norm of the composition at evaluation.
        bn_gain_max: max |gamma| / sqrt(running_var + eps) of the batch normalization in it.
        fold_ratio: composed / (norm * bn_gain_max): what folding gains over the product of the two norms.
        missing: name of a number -> why it is None.
        broken: the numbers of these that a defect hides (NaN weights, a failed forward pass), not a definition.
        seconds: that the row took.
    """

    name: str
    kind: str
    input_shape: Shape
    output_shape: Shape
    geometry: dict[str, Any]
    norm: SpectralNorm | None = None
    kernel_matrix_norm: float | None = None
    frobenius_norm: float | None = None
    stable_rank: float | None = None
    circular_norm: float | None = None
    sigma_min: float | None = None
    condition_number: float | None = None
    unit: str = ""
    normalization: str = ""
    composed: SpectralNorm | None = None
    bn_gain_max: float | None = None
    fold_ratio: float | None = None
    missing: dict[str, str] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    seconds: float = 0.0


def layer_table(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    budget: str = "exact",
    conditioning: bool = True,
    on_layer: OnLayer | None = None,
) -> list[LayerSpectrum]:
    """One row for every convolution and linear layer that the network uses, in the order of their first call.

    A layer that can't be measured (NaN weights, a kernel larger than its input) has a row that says why; the others
    keep theirs.

    Args:
        model: run in evaluation mode on one grey image; modes are restored.
        image_shape: (C, H, W).
        budget: "exact" or "fast", as for `spectral_norm`; "fast" also leaves out the conditioning of large layers.
        conditioning: whether circular_norm, sigma_min and condition_number are wanted, which take longest.
        on_layer: called with (layers done, layers, name of the next one), and once at the end.

    Raises:
        MetricNotDefinedError: the network isn't deterministic in evaluation mode, has no linear layer, or fails before
            the first one has returned.
    """
    layers = linear_layers(model, image_shape)
    if not layers:
        raise MetricNotDefinedError("the network has neither a convolution nor a linear layer")
    if not any(layer.input_shape for layer in layers):
        raise MetricNotDefinedError(f"layer '{layers[0].name}': {layers[0].problem}")
    if not any(layer.problem for layer in layers):
        check_deterministic(model, grey_image(model, image_shape))

    def row_of(layer: Layer) -> LayerSpectrum:
        row = _norms_of(layer, budget)
        return _conditioned(row, layer, budget) if conditioning else row

    return _each(layers, row_of, on_layer)


def with_conditioning(
    rows: Sequence[LayerSpectrum],
    model: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    budget: str = "exact",
    on_layer: OnLayer | None = None,
) -> list[LayerSpectrum]:
    """The `rows` of a table made without `conditioning`, completed; the other arguments as for `layer_table`."""
    layers = {layer.name: layer for layer in linear_layers(model, image_shape)}
    by_name = {row.name: row for row in rows}
    chosen = [layers[row.name] for row in rows]
    return _each(chosen, lambda layer: _conditioned(by_name[layer.name], layer, budget), on_layer)


def _each(
    layers: Sequence[Layer], compute: Callable[[Layer], LayerSpectrum], on_layer: OnLayer | None
) -> list[LayerSpectrum]:
    """`compute` of every layer, in their order; as many at once as torch may use threads, each on one thread.

    A layer's numbers depend on nothing but the layer, so that this changes none of them.
    """
    rows, threads = [], torch.get_num_threads()
    with one_thread():  # outside of the workers, which would else restore what another one had set
        pool = ThreadPoolExecutor(threads)
        try:
            futures = [pool.submit(compute, layer) for layer in layers]
            for done, (layer, future) in enumerate(zip(layers, futures, strict=True)):
                if on_layer is not None:
                    on_layer(done, len(layers), layer.name)
                rows.append(future.result())
        finally:
            pool.shutdown(cancel_futures=True)
    if on_layer is not None:
        on_layer(len(layers), len(layers), "")
    return rows


def _norms_of(layer: Layer, budget: str) -> LayerSpectrum:
    started, numbers = time.perf_counter(), Numbers()
    if layer.problem:
        numbers.lose(NORMS, layer.problem, broken=True)
    else:
        find_norms(numbers, layer, budget)
    kind = type(layer.module)
    return LayerSpectrum(
        name=layer.name,
        kind=(kind.__bases__[0] if kind.__name__.startswith("Parametrized") else kind).__name__,
        input_shape=layer.input_shape,
        output_shape=layer.output_shape,
        geometry={name: getattr(layer.module, name) for name in _ARGUMENTS if hasattr(layer.module, name)},
        unit=layer.unit,
        normalization=" + ".join(type(part).__name__ for part in normalizations(layer)),
        missing=numbers.missing,
        broken=frozenset(numbers.broken),
        seconds=time.perf_counter() - started,
        **numbers.found,
    )


def _conditioned(row: LayerSpectrum, layer: Layer, budget: str) -> LayerSpectrum:
    started, numbers = time.perf_counter(), Numbers()
    if row.norm is None:
        numbers.lose(CONDITIONING, row.missing["norm"], broken="norm" in row.broken)
    else:
        find_conditioning(numbers, layer, row.norm.value, budget)
    return replace(
        row,
        missing=row.missing | numbers.missing,
        broken=row.broken | numbers.broken,
        seconds=row.seconds + time.perf_counter() - started,
        **numbers.found,
    )
