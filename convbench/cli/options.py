"""Command-line options made from the fields of a config, so that names, defaults and help are written once."""

import inspect
import json
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, fields
from functools import wraps
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import typer

from convbench.config import flag_of
from convbench.errors import ConfigError, UnknownNameError

# Every value arrives as text and is parsed here: lists ("1,3,5"), grids ("bn,none"), and errors that name the value.
_METAVARS = {int: "<int>", float: "<float>", str: "<str>"}  # as Typer has them


def from_config(
    config: type, *, grid: bool = False, only: Collection[str] = (), defaults: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """Give a command one option for each field of `config`; the body receives them as `settings`.

    Args:
        grid: every option takes a comma list; `settings` then holds a list of values per field.
        only: the fields that become options; empty for all.
        defaults: field -> default of this command where it is not the config's.
    """
    hints = get_type_hints(config)
    chosen = [field for field in fields(config) if not only or field.name in only]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]

        @wraps(command)
        def wrapped(**given: Any) -> Any:
            texts = {field.name: given.pop(field.name) for field in chosen}
            parse = parse_grid if grid else parse_value
            settings = {name: parse(flag_of(config, name), text, hints[name]) for name, text in texts.items()}
            return command(settings=settings, **given)

        own_defaults = {field.name: field.default for field in chosen} | dict(defaults or {})
        parameters = own + [
            _parameter(field, config, hints[field.name], grid, own_defaults[field.name]) for field in chosen
        ]
        keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        wrapped.__signature__ = inspect.Signature(keyword_only)  # pyright: ignore[reportAttributeAccessIssue]  # read by inspect
        wrapped.__annotations__ = {p.name: p.annotation for p in keyword_only}
        return wrapped

    return decorate


def _parameter(field: Field[Any], config: type, hint: Any, grid: bool, value: Any) -> inspect.Parameter:
    if hint is bool:
        switch = typer.Option(flag_of(config, field.name), help=field.metadata["help"], show_default=False)
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(field.name, kind, default=value, annotation=Annotated[bool, switch])
    default = None if value is None else spell(value)
    many = grid or (get_args(hint) != () and NoneType not in get_args(hint))
    option = typer.Option(
        flag_of(config, field.name),
        help=field.metadata["help"],
        show_default=default not in (None, "") and "[default:" not in field.metadata["help"],
        metavar="<list>" if many else _METAVARS[_without_none(hint)],
    )
    annotation = Annotated[str | None if default is None else str, option]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _without_none(hint: Any) -> Any:
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if NoneType in get_args(hint) else hint


def spell(value: Any) -> str:
    """A value as its option takes it: a tuple as a comma list."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def parse_value(flag: str, text: Any, hint: Any) -> Any:
    """The value of one option: tuples from comma lists, whole numbers also from ranges ("1-5"); a switch as it is."""
    if hint is bool:
        return text
    if not get_args(hint) or NoneType in get_args(hint):
        return text if text is None else _scalar(flag, text, _without_none(hint), "a ")
    if text.strip().lower() == "none":
        return ()
    kind = get_args(hint)[0]
    values: list[Any] = []
    for item in split_list(text):
        low, dash, high = item.partition("-")
        if kind is int and dash and low.isdigit() and high.isdigit():
            values += range(int(low), int(high) + 1)
        else:
            values.append(_scalar(flag, item, kind))
    return tuple(values)


def parse_grid(flag: str, text: str | None, hint: Any) -> list[Any]:
    """The values of one axis of a grid, at least one."""
    if text is None or hint is bool:
        return [text]
    if get_args(hint) and NoneType not in get_args(hint):
        return [parse_value(flag, text, hint)]
    return [_scalar(flag, item, _without_none(hint)) for item in split_list(text)] or [_without_none(hint)("")]


def split_list(text: str) -> list[str]:
    """The items of a comma list; "key=value" belongs to the option list of the item before it.

    "bn,mixture:components=3,where=last:2" is bn and mixture:components=3,where=last:2.
    """
    items: list[str] = []
    for piece in filter(None, (part.strip() for part in text.split(","))):
        if items and "=" in piece.partition(":")[0]:
            items[-1] += f",{piece}"
        else:
            items.append(piece)
    return items


def _scalar(flag: str, item: str, kind: type, article: str = "") -> Any:
    try:
        return kind(item)
    except ValueError:
        word = {int: "whole number", float: "number"}[kind]
        raise ConfigError(f"{flag} takes {article or ''}{word}{'' if article else 's'}, got {item!r}.") from None


def read_settings(path: Path) -> dict[str, Any]:
    """A TOML or JSON file of settings, keys with - or _; a run's `config.json` is one.

    Raises:
        ConfigError: the file cannot be read as either.
    """
    try:
        content = path.read_bytes()
        values = json.loads(content) if path.suffix == ".json" else tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {(error.strerror or str(error)).lower()}.") from None
    except ValueError as error:
        raise ConfigError(f"cannot read {path}: {error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"cannot read {path}: it holds no table of settings.")
    return {key.replace("-", "_"): value for key, value in values.items()}


def use_file(context: typer.Context, path: Path | None) -> Path | None:
    """Make the settings in `path` the defaults of this command: what is given on the command line wins.

    A table [evaluate] holds the options of measuring, so that one file can describe a whole sweep.

    Raises:
        UnknownNameError: a setting that is no option of this command.
    """
    if path is None:
        return None
    values = read_settings(path)
    evaluation = values.pop("evaluate", {})
    if not isinstance(evaluation, dict):
        raise ConfigError(f"{path}: evaluate must be a table, [evaluate].")
    known = {str(parameter.name) for parameter in context.command.params}
    defaults: dict[str, Any] = {}
    for key, value in (values | evaluation).items():
        if key not in known:
            raise UnknownNameError(f"setting in {path}:", key, known - {"help", "config", "grid"})
        if value is not None:
            defaults[key] = spell(value) if isinstance(value, list) else value
    context.default_map = defaults
    return path


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML or JSON file of these options (a run's config.json is one); what is given here wins.",
        callback=use_file,
        is_eager=True,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:<index>.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
