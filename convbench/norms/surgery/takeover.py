"""What a new normalization takes over from the one in whose place it comes."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

_COUNT = "num_batches_tracked"


def take_over(new: nn.Module, old: nn.Module, *, statistics: bool, chosen: Collection[str] = ()) -> list[str]:
    """Copy into `new` what `old` has under the same name: parameters, buffers, `eps` and `momentum`.

    A tensor fits where the shapes are equal, or where `new` has one of the old shape for each of its modes, which then
    all begin alike. The count of batches goes along only where all the state does: a mixture that was told that it has
    seen batches would never be fitted.

    Args:
        statistics: whether the running statistics mean the same to `new`: not where the convolution changed.
        chosen: settings that the user gave, which stay.

    Returns:
        The names of the tensors that were copied.
    """
    for name in ("eps", "momentum"):
        if name not in chosen and hasattr(new, name) and hasattr(old, name):
            setattr(new, name, getattr(old, name))
    theirs, ours = _own(old, statistics), _own(new, True)
    if not ours.keys() <= theirs.keys():
        theirs.pop(_COUNT, None)
    taken = [name for name, tensor in theirs.items() if name in ours and _fits(tensor, ours[name])]
    with torch.no_grad():
        for name in taken:
            ours[name].copy_(theirs[name])
            if isinstance(ours[name], nn.Parameter) and isinstance(theirs[name], nn.Parameter):
                ours[name].requires_grad_(theirs[name].requires_grad)
    return taken


def _own(module: nn.Module, statistics: bool) -> dict[str, Tensor]:
    """The tensors of `module` itself; what belongs to its children (an activation, a gate) means something else."""
    buffers = dict(module.named_buffers(recurse=False))
    if not statistics:
        buffers = {name: tensor for name, tensor in buffers.items() if name in ("weight", "bias")}
    return dict(module.named_parameters(recurse=False)) | buffers


def _fits(old: Tensor, new: Tensor) -> bool:
    return old.dim() <= new.dim() and new.shape[new.dim() - old.dim() :] == old.shape
