"""The linear layers of a network, each with the input that one image gives it and the normalization behind it."""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from convbench.norms import ConvNorm2d, NormalizedConv2d
from convbench.norms.surgery.forward_steps import is_normalization
from convbench.runtime import eval_mode

Shape = tuple[int, ...]
_LINEAR = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, ConvNorm2d)


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer at its place in a network.

    Args:
        name: of the module in the network.
        module: the layer.
        input_shape, output_shape: (C, H, W) or (features,); () where the forward pass failed before the layer returned.
        unit: name of the composition of convolution and normalization that it belongs to, "" without one.
        composition: that composition as a module.
        problem: why its shapes are unknown.
    """

    name: str
    module: nn.Module
    input_shape: Shape = ()
    output_shape: Shape = ()
    unit: str = ""
    composition: nn.Module | None = None
    problem: str = ""

    @property
    def bare(self) -> nn.Module:
        """The layer without normalization: of a ConvNorm layer its weight as a plain convolution."""
        return bare_convolution(self.module) if isinstance(self.module, ConvNorm2d) else self.module


def grey_image(model: nn.Module, image_shape: tuple[int, int, int]) -> Tensor:
    """One image of 0.5, `(1, C, H, W)`, on the device and in the type of the first parameter or buffer of `model`."""
    first = next((t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()), torch.empty(0))
    return torch.full((1, *image_shape), 0.5, device=first.device, dtype=first.dtype)


def linear_layers(model: nn.Module, image_shape: tuple[int, int, int]) -> list[Layer]:
    """Every convolution and linear layer that the forward pass of one grey image uses, in the order of the first call.

    A layer used several times has the input of its first call. The parts of a `ConvNorm2d` aren't listed. Where the
    forward pass fails, the layer at which it does and those that it doesn't reach are listed last, with the problem.

    A composition is a `NormalizedConv2d`, a `ConvNorm2d`, or a convolution whose output goes to a normalization.

    Args:
        model: run once in evaluation mode; modes are restored.
        image_shape: (C, H, W).
    """
    walk, modules = _Walk(), dict(model.named_modules())
    _run(model, grey_image(model, image_shape), walk)
    units = {f"{name}.conv": name for name in walk.shapes if isinstance(modules[name], NormalizedConv2d)}
    found = []
    for name, shapes in walk.shapes.items():
        layer = modules[name]
        unit, composition = "", None
        if name in units:
            unit, composition = units[name], modules[units[name]]
            behind = walk.followers.get(name, f"{unit}.norm")
            # In a converted network it stands at its own place, and none in the unit; ConvNorm has it inside.
            if behind != f"{unit}.norm" and not isinstance(layer, ConvNorm2d):
                composition = nn.Sequential(composition, modules[behind])
        elif name in walk.followers:
            unit, composition = name, nn.Sequential(layer, modules[walk.followers[name]])
        elif isinstance(layer, ConvNorm2d):
            unit, composition = name, layer
        if isinstance(layer, _LINEAR):
            found.append(Layer(name, layer, *shapes, unit, composition))
    return found + _unreached(walk, modules)


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


@dataclass
class _Walk:
    """What a forward pass showed: input and output shapes, the normalization after each layer, and where it failed."""

    shapes: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    followers: dict[str, str] = field(default_factory=dict)
    entered: list[str] = field(default_factory=list)  # the modules that were called and haven't returned
    failure: str = ""


def _run(model: nn.Module, image: Tensor, walk: _Walk) -> None:
    outputs: list[tuple[str, Tensor]] = []  # kept alive, so that an identity isn't given out twice

    def after(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        walk.entered.remove(name)
        if not (inputs and isinstance(inputs[0], Tensor)):
            return
        if isinstance(module, (*_LINEAR, NormalizedConv2d)):
            dims = 1 if isinstance(module, nn.Linear) else 3
            walk.shapes.setdefault(name, (tuple(inputs[0].shape[-dims:]), tuple(output.shape[-dims:])))
            if not isinstance(module, nn.Linear | NormalizedConv2d):
                outputs.append((name, output))
            return
        for conv, produced in outputs:
            if produced is inputs[0]:
                walk.followers.setdefault(conv, name)

    parts = _parts_of_layers(model)
    handles = []
    for name, module in model.named_modules():
        if id(module) not in parts and (isinstance(module, (*_LINEAR, NormalizedConv2d)) or is_normalization(module)):
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: walk.entered.append(name)))
            handles.append(module.register_forward_hook(lambda *seen, name=name: after(name, *seen)))
    try:
        with eval_mode(model), torch.no_grad(), torch.random.fork_rng(devices=[]):  # its own code may draw
            model(image)
    except (RuntimeError, ValueError) as error:  # sizes that don't fit, in torch's words or a layer's own
        walk.failure = str(error).strip().partition("\n")[0]
    finally:
        for handle in handles:
            handle.remove()


def _parts_of_layers(model: nn.Module) -> set[int]:
    return {id(part) for m in model.modules() if isinstance(m, ConvNorm2d) for part in m.modules() if part is not m}


def _unreached(walk: _Walk, modules: dict[str, nn.Module]) -> list[Layer]:
    if not walk.failure:
        return []
    culprit = next((name for name in reversed(walk.entered) if isinstance(modules[name], _LINEAR)), "")
    parts = _parts_of_layers(modules[""])
    left = [
        Layer(name, module, problem=f"the forward pass failed before it: {walk.failure}")
        for name, module in modules.items()
        if isinstance(module, _LINEAR) and name not in {*walk.shapes, culprit} and id(module) not in parts
    ]
    if culprit:
        left.insert(0, Layer(culprit, modules[culprit], problem=f"it doesn't take its input: {walk.failure}"))
    return left
