"""Whether a network in evaluation mode is a function of its image at all."""

from typing import Any

import torch
from torch import Tensor, nn

from convbench.errors import MetricNotDefinedError
from convbench.runtime import eval_mode

_TOLERANCE = {"cpu": 1e-6}  # of the largest output; the kernels of a CPU repeat exactly
_TOLERANCE_ELSEWHERE = 1e-3  # sums in another order


def check_deterministic(model: nn.Module, image: Tensor) -> None:
    """Run `model` twice on one image in evaluation mode; modes and PyTorch's random state are restored.

    Args:
        image: `(1, C, H, W)`, on the device of the model.

    Raises:
        MetricNotDefinedError: the outputs differ; the message names the first module whose output changed.
    """
    with torch.random.fork_rng(devices=[]):  # its own code may draw
        first, second = _outputs(model, image), _outputs(model, image)
    if len(first) != len(second) or _differ(first[-1][1], second[-1][1]):
        changed = (a[0] for a, b in zip(first, second, strict=False) if a[0] != b[0] or _differ(a[1], b[1]))
        name = next(changed, "")
        where = f"; '{name}' is the first module whose output changes" if name else ""
        raise MetricNotDefinedError(
            f"the network isn't deterministic in evaluation mode: one image gives two outputs{where}"
        )


def _outputs(model: nn.Module, image: Tensor) -> list[tuple[str, list[Tensor]]]:
    """What each innermost module returned, in the order of the calls, and last what the network did."""
    found: list[tuple[str, list[Tensor]]] = []
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: found.append((name, _sketch(output))))
        for name, module in model.named_modules()
        if name and not any(True for _ in module.children())
    ]
    try:
        with eval_mode(model), torch.no_grad():
            found.append(("", _tensors(model(image))))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output.detach().clone()]
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _sketch(output: Any) -> list[Tensor]:
    """Little of a large tensor, which still changes with every entry."""
    return [
        torch.stack([tensor.double().sum(), tensor.double().abs().sum()])
        for tensor in _tensors(output)
        if tensor.device.type != "meta"
    ]


def _differ(first: list[Tensor], second: list[Tensor]) -> bool:
    if [tensor.shape for tensor in first] != [tensor.shape for tensor in second]:
        return True
    for a, b in zip(first, second, strict=True):
        if a.numel() == 0 or torch.equal(a, b) or not (torch.isfinite(a).all() and torch.isfinite(b).all()):
            continue  # broken weights are another finding
        tolerance = _TOLERANCE.get(a.device.type, _TOLERANCE_ELSEWHERE)
        if (a - b).abs().max() > tolerance * a.abs().max():
            return True
    return False
