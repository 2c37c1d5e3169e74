"""The rules of a gate as a user writes them: flags, and the tables of pyproject.toml or convbench.toml. Flags win."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convbench.errors import ConfigError, UnknownNameError
from convbench.gate.policy import CORRECTIONS, VERDICTS_THAT_MAY_FAIL, Policy

GATES = ("aggregates", "conditions", "layers")
_GATE_ALIASES = {"cells": "conditions", "cell": "conditions", "condition": "conditions", "layer": "layers"}
_FILES = {"convbench.toml": ("compare",), "pyproject.toml": ("tool", "convbench", "compare")}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One limit as it was written.

    Args:
        where: the flag or the file, for messages.
        key: the metric, with or without "corruption=...,severity=...".
        amount: "0.5" or "5%".
    """

    where: str
    key: str
    amount: str


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Everything that decides a gate, limits still as they were written; None and () are "not said".

    Args:
        margins: of flags and files, those that win last.
        floors: likewise, of --min.
    """

    margins: tuple[Limit, ...] = ()
    floors: tuple[Limit, ...] = ()
    fail_on: tuple[str, ...] | None = None
    gate: tuple[str, ...] | None = None
    strict: bool | None = None
    alpha: float | None = None
    correction: str | None = None
    resamples: int | None = None
    filter: str | None = None

    def over(self, other: "Rules") -> "Rules":
        """These rules where they say something, else those of `other`; limits of both, these last."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        limits = {"margins": other.margins + self.margins, "floors": other.floors + self.floors}
        return replace(other, **said | limits)

    def policy(self, margins: Mapping[str, float], floors: Mapping[str, float]) -> Policy:
        """The policy of these rules, with limits that were resolved against the numbers there are."""
        names = ("fail_on", "gate", "strict", "alpha", "correction", "resamples", "filter")
        said = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return Policy(margins=margins, floors=floors, **said)


def rules_from_flags(
    *,
    max_drop: Sequence[str] = (),
    max_rise: Sequence[str] = (),
    minimum: Sequence[str] = (),
    fail_on: Sequence[str] = (),
    gate: Sequence[str] = (),
    strict: bool | None = None,
    alpha: float | None = None,
    correction: str | None = None,
    resamples: int | None = None,
    filter: str | None = None,
) -> Rules:
    """The rules of the command line; lists may be repeated flags, comma lists, or both.

    Raises:
        ConfigError: a limit without a number, an unknown verdict or gate, a level out of its range.
    """
    margins = [_limit("--max-drop", text) for text in max_drop] + [_limit("--max-rise", text) for text in max_rise]
    return _checked(
        Rules(
            margins=tuple(margins),
            floors=tuple(_limit("--min", text) for text in minimum),
            fail_on=_words(fail_on),
            gate=_words(gate),
            strict=strict,
            alpha=alpha,
            correction=correction,
            resamples=resamples,
            filter=filter,
        )
    )


def rules_from_files(folder: Path | str = ".") -> Rules:
    """The rules of `[tool.convbench.compare]` in pyproject.toml or `[compare]` in convbench.toml of `folder`.

    Raises:
        ConfigError: a file cannot be read, an unknown key, a value of another type, or rules in both files.
    """
    found = {name: table for name in _FILES if (table := _table(Path(folder) / name, _FILES[name])) is not None}
    if len(found) > 1:
        raise ConfigError(f"both {' and '.join(found)} hold rules of compare: keep one of them.")
    for name, table in found.items():
        return _from_table(name, table)
    return Rules()


def _table(path: Path, keys: Sequence[str]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {path.name}: {reason}.") from None
    for depth, key in enumerate(keys):
        # A rule beside `compare`, or a misspelled `compare`, would never be read. Other tables are for other commands.
        if key == "compare" and (lost := next((name for name in table if name != key and _is_meant(name)), None)):
            raise UnknownNameError(f"table of {path.name}", lost, [key])
        if key not in table:
            return None
        table = table[key]
        if not isinstance(table, dict):
            raise ConfigError(f"{path.name}: {'.'.join(keys[: depth + 1])} must be a table.")
    return table


def _is_meant(name: str) -> bool:
    return name.replace("-", "_") in _KINDS or bool(difflib.get_close_matches(name, ["compare"], cutoff=0.7))


_KINDS: Mapping[str, tuple[type, ...]] = {
    "alpha": (float,), "correction": (str,), "fail_on": (list, str), "filter": (str,), "gate": (list, str),
    "margin": (dict,), "min": (dict,), "resamples": (int,), "strict": (bool,),
}  # fmt: skip
_WORDS = {float: "a number", int: "a whole number", str: "a text", list: "a list of texts", dict: "a table",
          bool: "true or false"}  # fmt: skip


def _from_table(name: str, table: Mapping[str, Any]) -> Rules:
    values: dict[str, Any] = {}
    for written, value in table.items():
        key = written.replace("-", "_")
        if key not in _KINDS:
            near = difflib.get_close_matches(key, _KINDS, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{name}: unknown key {written!r} of compare.{hint} Choose from: {', '.join(_KINDS)}.")
        if type(value) not in _KINDS[key] or (isinstance(value, list) and not all(type(v) is str for v in value)):
            allowed = " or ".join(_WORDS[kind] for kind in _KINDS[key])
            raise ConfigError(f"{name}: {written} must be {allowed}, got {value!r}.")
        values[key] = value
    limits = {key: _limits(f"{name}, {key}", values.pop(key, {})) for key in ("margin", "min")}
    for key in ("fail_on", "gate"):
        if key in values:
            values[key] = _words([values[key]] if isinstance(values[key], str) else values[key]) or ()
    return _checked(Rules(margins=limits["margin"], floors=limits["min"], **values), name)


def _limits(where: str, table: Mapping[str, Any]) -> tuple[Limit, ...]:
    for key, value in table.items():
        if type(value) not in (int, float, str):
            raise ConfigError(f'{where}: {key} must be a number, or a text as "5%", got {value!r}.')
    return tuple(Limit(where=where, key=key, amount=str(value)) for key, value in table.items())


def _limit(flag: str, text: str) -> Limit:
    # From the right: a key may hold "corruption=fog,severity=5".
    key, equals, amount = text.rpartition("=")
    if not equals or not key or not amount:
        example = {"--max-rise": "lipschitz_upper=5%", "--min": "accuracy=90"}.get(flag, "accuracy=0.5")
        raise ConfigError(f"{flag} {text}: give METRIC=AMOUNT, as {flag} {example}.")
    return Limit(where=flag, key=key.strip(), amount=amount.strip())


def _words(texts: Sequence[str]) -> tuple[str, ...] | None:
    words = [word.strip().lower() for text in texts for word in text.split(",")]
    return tuple(dict.fromkeys(filter(None, words))) or None


def _checked(rules: Rules, where: str = "") -> Rules:
    """`rules` with the names of gates in full; what is wrong in them is said before any run is read."""
    at = f"{where}: " if where else ""
    for word in rules.fail_on or ():
        if word not in VERDICTS_THAT_MAY_FAIL:
            raise UnknownNameError(f"{at or '--fail-on '}verdict", word, VERDICTS_THAT_MAY_FAIL)
    if rules.fail_on == ():
        raise ConfigError(f"{at}fail_on is empty: nothing would ever fail. --exit-zero is for reports without a gate.")
    if rules.correction is not None and rules.correction not in CORRECTIONS:
        raise UnknownNameError(f"{at or '--correction '}method", rules.correction, CORRECTIONS)
    if rules.gate is not None:
        gates = [_GATE_ALIASES.get(word, word) for word in rules.gate]
        for word in gates:
            if word not in GATES:
                raise UnknownNameError(f"{at or '--gate '}kind", word, GATES)
        rules = replace(rules, gate=tuple(name for name in GATES if name in {"aggregates", *gates}))
    rules.policy({}, {})  # its own checks: alpha, resamples
    return rules
