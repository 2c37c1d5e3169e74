"""What a network does in its forward pass, as one list: which module or function takes whose result.

By a symbolic trace, which needs no input; where the forward pass takes decisions that a trace cannot follow, by
running it on an example and watching modules and functions.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from convbench.errors import ConfigError
from convbench.norms.convnorm import ConvNorm2d

_CONVOLUTIONS = (nn.modules.conv._ConvNd, ConvNorm2d)
_NORMALIZATIONS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Step:
    """One call in the forward pass.

    Args:
        name: of the module in the network ("layer1.0.conv1"), or of the function ("add").
        module: None for a function.
        sources: the steps whose results it takes, by their place in the list.
    """

    name: str
    module: nn.Module | None
    sources: tuple[int, ...]


def is_convolution(module: nn.Module) -> bool:
    """Whether this is one of torch's convolutions, of any dimension, or derived from one, or a `ConvNorm2d`."""
    return isinstance(module, _CONVOLUTIONS)


def is_normalization(module: nn.Module) -> bool:
    """Whether this normalizes activations: torch's layers, ours, and those of other libraries that look like them.

    Others are known by a class name with "Norm" and a weight, bias or running mean of their own (torchvision's
    `FrozenBatchNorm2d`, timm's `BatchNormAct2d`); a kernel size makes it a convolution.
    """
    if isinstance(module, _NORMALIZATIONS):
        return True
    own = {*module._parameters, *module._buffers}
    named = "norm" in type(module).__name__.lower() and not hasattr(module, "kernel_size")
    return named and not own.isdisjoint({"weight", "bias", "running_mean"})


def forward_steps(model: nn.Module, example: Tensor | None = None) -> list[Step]:
    """The calls of the forward pass of `model`, in order; its state and PyTorch's random state are not changed.

    Convolutions and normalizations are never opened. The last step is "output".

    Args:
        example: a batch of images, for a model that cannot be traced symbolically.

    Raises:
        ConfigError: the model cannot be traced and there is no example, or it fails on the example.
    """
    inner, prefix = _unwrapped(model)
    with torch.random.fork_rng(devices=[]):  # the model's own code may draw
        steps = _steps(inner, example)
    return [step if step.module is None else replace(step, name=prefix + step.name) for step in steps]


def _unwrapped(model: nn.Module) -> tuple[nn.Module, str]:
    """The network inside of wrappers that only decide where it runs or how it is compiled, and its name in them."""
    prefix = ""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            child = "module"
        elif "_orig_mod" in model._modules:  # of torch.compile, whose class is not imported for this
            child = "_orig_mod"
        else:
            return model, prefix
        model, prefix = model.get_submodule(child), f"{prefix}{child}."


def _steps(model: nn.Module, example: Tensor | None) -> list[Step]:
    try:
        return _traced(model)
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        if example is None:
            raise ConfigError(
                f"the model cannot be traced symbolically ({_one_line(error)}); give `example`, a batch of images."
            ) from error
    try:
        return _recorded(model, example)
    except Exception as error:
        raise ConfigError(f"the model fails on the example {tuple(example.shape)}: {_one_line(error)}.") from error


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_convolution(m) or is_normalization(m) or super().is_leaf_module(m, module_qualified_name)


def _traced(model: nn.Module) -> list[Step]:
    places: dict[fx.Node, int] = {}
    steps: list[Step] = []
    # Of a copy: code that keeps what it computes (timm's attention biases) would keep a symbol for it.
    for node in _Tracer().trace(copy.deepcopy(model)).nodes:
        target = node.target
        module = model.get_submodule(target) if node.op == "call_module" else None
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        # One entry for each use, so that x + x takes x twice.
        uses: list[int] = []
        fx.map_arg((node.args, node.kwargs), lambda source, uses=uses: uses.append(places[source]))
        places[node] = len(steps)
        steps.append(Step(name, module, tuple(uses)))
    return steps


def _recorded(model: nn.Module, example: Tensor) -> list[Step]:
    twin = copy.deepcopy(model).eval()
    originals = dict(model.named_modules())
    recorder = _Recorder()
    for name, module in twin.named_modules():
        plain = type(module).__module__.startswith("torch.nn") and not any(module.children())
        if plain or is_convolution(module) or is_normalization(module):
            module.register_forward_pre_hook(recorder.enter)
            module.register_forward_hook(recorder.leave(name, originals[name]), with_kwargs=True)
    with torch.no_grad(), recorder:
        result = twin(example)
    recorder.note("output", None, result, ())
    return recorder.steps


class _Recorder(TorchFunctionMode):
    """Notes torch's own modules, and functions called outside of them, by the tensors that they hand on."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._makers: dict[int, int] = {}  # id of a tensor -> the step that made it
        self._alive: list[Tensor] = []  # an id means something only as long as its tensor lives
        self._depth = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._depth == 0:
            self.note(getattr(func, "__name__", str(func)), None, (args, kwargs or {}), result)
        return result

    def enter(self, module: nn.Module, args: Any) -> None:
        self._depth += 1

    def leave(self, name: str, original: nn.Module) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
            self._depth -= 1
            if self._depth == 0:
                self.note(name, original, (args, kwargs), result)

        return hook

    def note(self, name: str, module: nn.Module | None, taken: Any, result: Any) -> None:
        sources = tuple(self._makers[id(tensor)] for tensor in _tensors(taken) if id(tensor) in self._makers)
        made = list(_tensors(result))
        if not made and name != "output":
            return  # a size or a type
        for tensor in made:
            self._makers[id(tensor)] = len(self.steps)
            self._alive.append(tensor)
        self.steps.append(Step(name, module, sources))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
