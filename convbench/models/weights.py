"""Weight files: read them without running their code, and say in one message why they do not fit."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import nn

from convbench.errors import CheckpointError
from convbench.models.standardize import Classifier

_SHOWN = 5  # keys of each kind in a message
_SECTIONS = ("state_dict", "model_state_dict", "model")  # where training scripts put the weights
_PREFIXES = ("module.", "_orig_mod.")  # added by DataParallel and torch.compile


def load_weights(model: nn.Module, path: Path | str) -> None:
    """Load a user's weight file into `model`, or into the network inside a `Classifier`.

    Raises:
        CheckpointError: the file cannot be read, does not fit the model, or holds a NaN or an infinity.
    """
    path = Path(path)
    state = read_state_dict(path)
    target = model
    # A file of one of our runs names its standardization too; any other describes the network alone.
    if isinstance(model, Classifier) and not any(key.startswith("network.") for key in state):
        target = model.get_submodule("network")
    apply_state_dict(target, state, path)


def read_state_dict(path: Path | str) -> dict[str, torch.Tensor]:
    """Read names and tensors of a `.safetensors`, `.pt`, `.pth` or `.bin` file, on the CPU.

    A `state_dict`, `model_state_dict` or `model` section is opened, and the prefixes that `DataParallel` and
    `torch.compile` add are removed. Pickles are read with PyTorch's `weights_only` unpickler, which runs no code.

    Raises:
        CheckpointError: a file that is missing, truncated, not of these kinds, or needs code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"weight file {path} does not exist.")
    if path.suffix == ".safetensors":
        content: Any = _read_safetensors(path)
    elif path.suffix in (".pt", ".pth", ".bin"):
        content = _read_pickle(path)
    else:
        raise CheckpointError(
            f"weight file {path}: unknown kind {path.suffix!r}; choose from: .safetensors, .pt, .pth, .bin."
        )
    return _state_dict(content, path)


def apply_state_dict(module: nn.Module, state: Mapping[str, torch.Tensor], source: Path) -> None:
    """Copy `state` into `module`, all of it or nothing.

    Raises:
        CheckpointError: keys are missing, unexpected or misshapen, or a tensor holds a NaN or an infinity.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshapen = [
        f"{key} {_shape(state[key])} instead of {_shape(expected[key])}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    if any(kinds.values()):
        raise CheckpointError(
            f"weights {source} do not fit the model: {'; '.join(_listed(k, v) for k, v in kinds.items() if v)}."
        )
    for key, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"weights {source}: tensor {key!r} holds a NaN or an infinity.")
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:  # a module's own rule of loading
        raise CheckpointError(f"weights {source} do not fit the model: {_one_line(error)}") from error


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path, device="cpu")
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"weight file {path} cannot be read: {_one_line(error)}") from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "weights_only" in str(error).lower():
            raise CheckpointError(
                f"weight file {path} holds more than tensors{_unsafe_global(error)}, and reading it would run "
                f"code; save `model.state_dict()` only, best as .safetensors (safetensors.torch.save_file)."
            ) from error
        raise CheckpointError(f"weight file {path} cannot be read: {_one_line(error)}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"weight file {path} is truncated or not a PyTorch file: {_one_line(error)}") from error


def _unsafe_global(error: Exception) -> str:
    _, found, tail = str(error).partition("GLOBAL ")
    return f" ({tail.split()[0]})" if found and tail.split() else ""


def _state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    while isinstance(content, Mapping):
        section = next((name for name in _SECTIONS if isinstance(content.get(name), Mapping)), None)
        if section is None:
            break
        content = content[section]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"weight file {path} holds no state_dict, but {type(content).__name__}.")
    odd = next((key for key, value in content.items() if not isinstance(value, torch.Tensor)), None)
    if odd is not None:
        keys = ", ".join(str(key) for key in list(content)[:_SHOWN])
        raise CheckpointError(
            f"weight file {path} holds no state_dict: {odd!r} is {type(content[odd]).__name__}, not a tensor "
            f"(keys: {keys})."
        )
    return {_without_prefixes(str(key)): value for key, value in content.items()}


def _without_prefixes(key: str) -> str:
    while prefix := next((p for p in _PREFIXES if key.startswith(p)), None):
        key = key.removeprefix(prefix)
    return key


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "scalar"


def _listed(kind: str, keys: list[str]) -> str:
    rest = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:_SHOWN])}{rest})"


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
