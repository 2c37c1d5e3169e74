"""Where and under which conditions code runs: device, random streams, precision, versions."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from convbench.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn

COMPILED_SWITCH = "CONVBENCH_COMPILED"  # environment variable; "0": no loop is compiled, though numba be installed


def select_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" is CUDA where there is one, else the CPU."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}. Choose from: auto, cpu, cuda, cuda:<index>.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but this torch {torch.__version__} sees no CUDA device.")
    return device


def stream_seed(*key: object) -> int:
    """A seed in [0, 2^63) for the random stream that `key` names; equal keys give equal streams."""
    digest = hashlib.sha256("\0".join(map(repr, key)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@contextmanager
def private_rng(*key: object, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's generators from `key` inside the block, and leave them untouched after it.

    For code that can only draw from torch's global generators: weight initialization, dropout.
    """
    import torch

    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stream_seed(*key))
        yield


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Put `model` into evaluation mode; give every submodule its own mode back on leaving, also after an error."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Ask for bit-reproducible kernels on CUDA inside the block; those of the CPU are so by themselves."""
    import torch

    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark


def resolve_precision(name: str, device: torch.device) -> str:
    """The format of convolutions: "auto" is bfloat16 where the hardware multiplies it, else float32."""
    import torch

    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bfloat16" if capabilities.get("amx_bf16") else "float32"


def may_compile() -> bool:
    """Whether the environment leaves compiled loops on: `CONVBENCH_COMPILED` is not "0"."""
    return os.environ.get(COMPILED_SWITCH) != "0"


def conditions(device: torch.device, **more: object) -> dict[str, object]:
    """What a number depends on beside its config: versions, hardware, threads; numba's where loops are compiled."""
    import torch

    packages = (
        "convbench",
        "torch",
        "torchvision",
        "numpy",
        "imagecorruptions",
        "opencv-python",
        "scikit-image",
    )
    compiler = _version("numba") if may_compile() else None
    return {
        "versions": {name: _version(name) for name in packages} | {"numba": compiler},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        **more,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
