"""Registry: name -> function, with aliases, and options that ride in the name ("mixture:components=5")."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from convbench.errors import ConfigError, UnknownNameError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry(Generic[F]):
    """One registered function: its name, where it comes from, and facts stated beside it."""

    name: str
    function: F
    aliases: tuple[str, ...] = ()
    reference: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The keyword-only parameters: what may follow the name."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


class Registry(Generic[F]):
    """Functions of one kind by name; the first look-up imports every module of `packages`.

    Args:
        kind: the word for one entry in messages ("norm").
        packages: the packages whose modules register entries ("convbench.norms").
    """

    def __init__(self, kind: str, *packages: str) -> None:
        self.kind = kind
        self.packages = packages
        self._entries: dict[str, Entry[F]] = {}
        self._names: dict[str, str] = {}  # every accepted name -> canonical name
        self._loaded = False

    def register(
        self, name: str, *, aliases: tuple[str, ...] = (), reference: str = "", **facts: Any
    ) -> Callable[[F], F]:
        """Add the decorated function under `name`; a name that is taken is a `ValueError`."""

        def add(function: F) -> F:
            for accepted in (name, *aliases):
                if accepted in self._names:
                    raise ValueError(f"{self.kind} {accepted!r} is registered twice")
                self._names[accepted] = name
            self._entries[name] = Entry(name, function, aliases, reference, facts)
            return function

        return add

    def _load(self) -> None:
        if self._loaded:
            return
        for name in self.packages:
            for module in pkgutil.iter_modules(importlib.import_module(name).__path__):
                importlib.import_module(f"{name}.{module.name}")
        self._loaded = True

    def __iter__(self) -> Iterator[Entry[F]]:
        self._load()
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __contains__(self, text: str) -> bool:
        """Whether `text`, a name with or without options, names an entry."""
        self._load()
        return text.partition(":")[0] in self._names

    def names(self) -> list[str]:
        """The canonical names, sorted."""
        return [entry.name for entry in self]

    def entry(self, name: str) -> Entry[F]:
        """The entry called `name` (or one of its aliases); else `UnknownNameError`."""
        self._load()
        if name not in self._names:
            raise UnknownNameError(self.kind, name, self._names)
        return self._entries[self._names[name]]

    def parse(self, text: str) -> tuple[Entry[F], dict[str, Any]]:
        """Split "name:key=value,key=value" into its entry and the options, checked and typed."""
        name, _, tail = text.partition(":")
        entry = self.entry(name)
        options: dict[str, Any] = {}
        for item in filter(None, tail.split(",")):
            key, equals, value = item.partition("=")
            if not equals or key not in entry.options:
                known = ", ".join(entry.options) or "none"
                raise ConfigError(f"{self.kind} {entry.name!r} has no option {item!r}; options are: {known}.")
            if key in options:
                raise ConfigError(f"{self.kind} {entry.name!r}: {key} is given twice.")
            options[key] = self._typed(entry, key, value)
        return entry, options

    def _typed(self, entry: Entry[F], key: str, value: str) -> Any:
        kind = type(entry.options[key].default)
        try:
            if kind is bool:
                return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
            return kind(value) if kind in (int, float) else value
        except (KeyError, ValueError):
            word = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
            raise ConfigError(f"{self.kind} {entry.name!r}: {key} must be {word}, got {value!r}.") from None

    def canonical(self, text: str) -> str:
        """`text` with its alias resolved and its options in the order of the signature."""
        entry, options = self.parse(text)
        given = [f"{key}={_spelled(options[key])}" for key in entry.options if key in options]
        return ":".join(filter(None, (entry.name, ",".join(given))))

    def build(self, text: str, *args: Any, **kwargs: Any) -> Any:
        """Call the function that `text` names with `args`, `kwargs` and the options in the name."""
        entry, options = self.parse(text)
        return entry.function(*args, **kwargs, **options)


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
