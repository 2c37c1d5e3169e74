"""The spectral norms of every layer of a network, at the input sizes that one image gives them."""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from convbench.errors import MetricNotDefinedError
from convbench.norms import ConvNorm2d, NormalizedConv2d
from convbench.runtime import eval_mode
from convbench.spectral.norm import SpectralNorm, spectral_norm
from convbench.spectral.stages import is_batch_norm

Shape = tuple[int, ...]
_LINEAR = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, ConvNorm2d)


@dataclass(frozen=True)
class ComposedNorms:
    """Spectral norms of convolutions with their normalization.

    Args:
        norms: by the name of the module that holds both, or of the convolution where none does.
        left_out: name -> why the composition has no spectral norm.
    """

    norms: dict[str, SpectralNorm] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def layer_inputs(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, Shape]:
    """The input shape, without the batch axis, of each convolution, linear layer and normalized convolution.

    Args:
        model: run once in evaluation mode on a grey image; modes are restored.
        image_shape: (C, H, W).

    Returns:
        Layer name -> (C, H, W), or (features,) for a linear layer, in the order of the first call. A layer used
        several times is listed with the shape of its first call; one that isn't used is not listed.
    """
    return _observe(model, image_shape)[0]


def layer_norms(model: nn.Module, image_shape: tuple[int, int, int], tol: float = 1e-6) -> dict[str, SpectralNorm]:
    """The spectral norm of every convolution and linear layer by itself, without normalization.

    For a `ConvNorm2d` that is its weight as a plain convolution with the layer's stride and padding: what the
    preconditioner is applied to, comparable with the other normalizations. Its parts aren't listed.

    Raises:
        ValueError: a weight is NaN or infinite; the message names the layer.
    """
    modules = dict(model.named_modules())
    norms = {}
    for name, shape in layer_inputs(model, image_shape).items():
        layer = modules[name]
        if isinstance(layer, _LINEAR):
            plain = bare_convolution(layer) if isinstance(layer, ConvNorm2d) else layer
            norms[name] = _named(name, plain, shape, tol)
    return norms


def composed_norms(model: nn.Module, image_shape: tuple[int, int, int], tol: float = 1e-6) -> ComposedNorms:
    """The spectral norm of every convolution followed by its normalization, one affine map in evaluation mode.

    These are the `NormalizedConv2d`, every `ConvNorm2d` outside of one, and every convolution whose output goes to a
    batch normalization. What isn't affine (a mixture normalization) is left out, with the reason.

    Raises:
        ValueError: a weight is NaN or infinite; the message names the layer.
    """
    shapes, followers = _observe(model, image_shape)
    modules = dict(model.named_modules())
    inside = {f"{name}.conv" for name in shapes if isinstance(modules[name], NormalizedConv2d)}
    result = ComposedNorms()
    for name, shape in shapes.items():
        layer = modules[name]
        if name in inside or not (name in followers or isinstance(layer, NormalizedConv2d | ConvNorm2d)):
            continue
        if name in followers:
            layer = nn.Sequential(layer, modules[followers[name]])
        try:
            result.norms[name] = _named(name, layer, shape, tol)
        except MetricNotDefinedError as error:
            result.left_out[name] = str(error)
    return result


def bare_convolution(layer: ConvNorm2d) -> nn.Conv2d:
    """The convolution with the weight of a ConvNorm layer and the layer's own stride and padding."""
    conv = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        cast(str, layer.padding),  # or one number per axis
        layer.dilation,
        layer.groups,
        bias=False,
        device="meta",  # no weights are drawn for it
    )
    conv.padding_mode = layer.padding_mode  # type: ignore[assignment]
    conv.weight = layer.weight
    return conv


def _named(name: str, layer: nn.Module, shape: Shape, tol: float) -> SpectralNorm:
    try:
        return spectral_norm(layer, shape, tol)
    except ValueError as error:
        raise ValueError(f"layer '{name}': {error}") from error


def _observe(model: nn.Module, image_shape: tuple[int, int, int]) -> tuple[dict[str, Shape], dict[str, str]]:
    """Input shapes by layer, and for each convolution the batch normalization that its output goes to."""
    shapes: dict[str, Shape] = {}
    outputs: list[tuple[str, Tensor]] = []  # kept alive, so that an identity isn't given out twice
    followers: dict[str, str] = {}
    parts = {id(part) for m in model.modules() if isinstance(m, ConvNorm2d) for part in m.modules() if part is not m}

    def hook_of(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not (inputs and isinstance(inputs[0], Tensor)):
                return
            if is_batch_norm(module):
                for conv, produced in outputs:
                    if produced is inputs[0]:
                        followers.setdefault(conv, name)
                return
            dims = 1 if isinstance(module, nn.Linear) else 3
            shapes.setdefault(name, tuple(inputs[0].shape[-dims:]))
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | ConvNorm2d):
                outputs.append((name, output))

        return hook

    handles = [
        module.register_forward_hook(hook_of(name))
        for name, module in model.named_modules()
        if id(module) not in parts and (isinstance(module, (*_LINEAR, NormalizedConv2d)) or is_batch_norm(module))
    ]
    first = next((t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()), torch.empty(0))
    try:
        with eval_mode(model), torch.no_grad():
            model(torch.full((1, *image_shape), 0.5, device=first.device, dtype=first.dtype))
    finally:
        for handle in handles:
            handle.remove()
    return shapes, followers
