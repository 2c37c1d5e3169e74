"""A model that a user wrote: `path/to/file.py:factory`, imported by its path, beside its sibling files."""

import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from convbench.errors import ConfigError
from convbench.norms import Norm

_SPELLING = re.compile(r"(?P<file>.+\.py)(:(?P<factory>[^:/\\]*))?", re.DOTALL)


def is_user_file(name: str) -> bool:
    """Whether `name` is spelled like `path/to/file.py:factory`."""
    return _SPELLING.fullmatch(name) is not None


def check_user_file(name: str, *, takes_norm: bool) -> None:
    """Import the factory `name` ("file.py:factory") without calling it.

    Raises:
        ConfigError: no such file or factory, a file that cannot be imported, or `takes_norm` where the factory
            has no parameter `norm`.
    """
    with _imported(name) as factory:
        _accepted(name, factory, takes_norm)


def build_user_model(name: str, norm: Norm | None, num_classes: int, in_channels: int) -> nn.Module:
    """Call the factory `name` ("file.py:factory") with those of our arguments that its signature names.

    Args:
        norm: the normalization that the model shall use, or None to leave it as it is.

    Raises:
        ConfigError: as `check_user_file`, an exception in the factory, or a result that is not an `nn.Module`.
    """
    offered = {"norm": norm, "num_classes": num_classes, "in_channels": in_channels}
    with _imported(name) as factory:
        accepted = _accepted(name, factory, norm is not None)
        try:
            model = factory(**{key: offered[key] for key in accepted})
        except (Exception, SystemExit) as error:
            raise ConfigError(f"model {name!r} failed: {_one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model {name!r} returned {type(model).__name__}, not a torch.nn.Module.")
    return model


def _accepted(name: str, factory: Callable[..., Any], takes_norm: bool) -> list[str]:
    """Which keyword arguments to give: named ones only, since most models just pass their **kwargs on."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # some callables written in C have no signature
        parameters = ()
    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = {p.name for p in parameters if p.kind in by_name}
    if takes_norm and "norm" not in named:
        raise ConfigError(f"model {name!r} takes no norm; use --norm native, or give its factory a parameter `norm`.")
    return [key for key in ("num_classes", "in_channels") if key in named] + ["norm"] * takes_norm


@contextmanager
def _imported(name: str) -> Iterator[Callable[..., Any]]:
    """The factory called `name`; inside the block its sibling files can be imported, after it nothing is left."""
    match = _SPELLING.fullmatch(name)
    if match is None:
        raise ConfigError(f"model {name!r} is not spelled path/to/file.py:factory.")
    path = Path(match["file"]).expanduser()
    if not path.is_file():
        raise ConfigError(f"model file {path} does not exist.")
    folder = str(path.resolve().parent)
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield _find(_import(path), match["factory"] or "", path)
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
        # Siblings leave too: another user file may bring a different `layers.py`.
        for module in set(sys.modules) - before:
            origin = getattr(sys.modules[module], "__file__", None)
            if origin and Path(origin).resolve().is_relative_to(folder):
                del sys.modules[module]


def _import(path: Path) -> ModuleType:
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"convbench_user_{digest}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"model file {path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"model file {path} cannot be imported: {_one_line(error)}") from error
    return module


def _find(module: ModuleType, wanted: str, path: Path) -> Callable[..., Any]:
    factory = getattr(module, wanted, None) if wanted else None
    if callable(factory):
        return factory
    candidates = [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and (not inspect.isclass(value) or issubclass(value, nn.Module))
    ]
    found = f"it has: {', '.join(candidates)}" if candidates else "it has no function or nn.Module of its own"
    asked = f"has no factory {wanted!r}" if wanted else "needs a factory, as in file.py:build"
    raise ConfigError(f"model file {path} {asked}; {found}.")


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
