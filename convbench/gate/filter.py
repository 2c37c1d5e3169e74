"""Which conditions are compared: the filter expressions of benchstat, on corruption and severity.

corruption:fog                          one corruption; a group ("blur") stands for its members, * for anything
corruption:(fog OR frost) severity:5    both must hold; AND may be written
severity:3-5                            a range
-corruption:fog                         not
(corruption:fog severity:5) OR corruption:snow
"""

import difflib
import fnmatch
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import NoReturn

from convbench.errors import ConfigError
from convbench.gate.arms import Arm, Evidence
from convbench.metrics.corruption_error import Condition
from corruptions import UnknownCorruptionError, resolve

KEYS = ("corruption", "severity")
_TOKEN = re.compile(r'\s*(?:(?P<sign>[()\-])|(?P<quoted>"[^"]*")|(?P<word>[^\s()":]+)|(?P<colon>:))')
_DEPTH = 50  # of parentheses; more is no filter that anyone means

_Test = Callable[[Condition], bool]


@dataclass(frozen=True)
class Filter:
    """A filter expression.

    Args:
        text: as it was given; "" takes every condition.
        holds: whether a condition is chosen.
        terms: each key:value of the expression, on its own.
    """

    text: str
    holds: _Test
    terms: tuple[tuple[str, _Test], ...] = field(default=())

    def choose(self, conditions: Collection[Condition]) -> tuple[Condition, ...]:
        """Those of the corrupted `conditions` that are chosen.

        Raises:
            ConfigError: none is, or a part of the expression fits none of them: a typing error goes unseen otherwise.
        """
        for word, test in self.terms:
            if not any(map(test, conditions)):
                raise ConfigError(f"--filter {self.text!r}: {word} matches no condition; {_what_there_is(conditions)}.")
        chosen = tuple(filter(self.holds, conditions))
        if not chosen and self.text:
            raise ConfigError(f"--filter {self.text!r} matches no condition; {_what_there_is(conditions)}.")
        return chosen


def parse_filter(text: str) -> Filter:
    """The filter that `text` says.

    Raises:
        ConfigError: it is not an expression; the message names the character.
    """
    if not text.strip():
        return Filter("", lambda _: True)
    parser = _Parser(text)
    holds = parser.alternatives()
    if parser.position < len(parser.tokens):
        parser.fail(f"{parser.tokens[parser.position].text!r} is one too many")
    return Filter(text, holds, tuple(parser.terms))


def choose(arms: Iterable[Arm], expression: Filter) -> tuple[Arm, ...]:
    """`arms` with the chosen conditions only; clean images and numbers of the network stay.

    Raises:
        ConfigError: the filter, or a part of it, matches no condition of any arm.
    """
    arms = tuple(arms)
    if not expression.text:
        return arms
    chosen = set(expression.choose(tuple(dict.fromkeys(c for arm in arms for c in _corrupted(arm)))))
    return tuple(replace(arm, evidence=tuple(_only(one, chosen) for one in arm.evidence)) for arm in arms)


def _corrupted(arm: Arm) -> Iterable[Condition]:
    return ((row.corruption, row.severity) for one in arm.evidence for row in one.run.rows if row.severity)


def _only(evidence: Evidence, chosen: set[Condition]) -> Evidence:
    rows = tuple(row for row in evidence.run.rows if not row.severity or (row.corruption, row.severity) in chosen)
    correct = {c: bits for c, bits in evidence.correct.items() if not c[1] or c in chosen}
    return replace(evidence, run=replace(evidence.run, rows=rows), correct=correct)


def _what_there_is(conditions: Collection[Condition]) -> str:
    names = ", ".join(sorted({name for name, _ in conditions})) or "none"
    severities = ", ".join(map(str, sorted({severity for _, severity in conditions}))) or "none"
    return f"there are corruptions {names}, severities {severities}"


@dataclass(frozen=True)
class _Token:
    text: str
    kind: str  # sign, quoted, word or colon
    start: int

    @property
    def is_word(self) -> bool:
        return self.kind in ("word", "quoted")


class _Parser:
    """Recursive descent; OR binds least, then juxtaposition, then the minus sign."""

    def __init__(self, text: str) -> None:
        self.text, self.position, self.depth = text, 0, 0
        self.terms: list[tuple[str, _Test]] = []
        self.tokens: list[_Token] = []
        end = 0
        while text[end:].strip():
            match = _TOKEN.match(text, end)
            if match is None or match.lastgroup is None:
                end += len(text[end:]) - len(text[end:].lstrip())
                raise ConfigError(f"--filter {text!r}, character {end + 1}: a quotation mark is not closed.")
            kind = match.lastgroup
            self.tokens.append(
                _Token(match[kind].strip('"') if kind == "quoted" else match[kind], kind, match.start(kind))
            )
            end = match.end()

    def fail(self, why: str, position: int | None = None) -> NoReturn:
        at = self.position if position is None else position
        start = self.tokens[at].start if at < len(self.tokens) else len(self.text)
        raise ConfigError(f"--filter {self.text!r}, character {start + 1}: {why}.")

    def _is(self, *texts: str) -> bool:
        token = self.tokens[self.position] if self.position < len(self.tokens) else None
        return token is not None and token.kind != "quoted" and token.text in texts

    def alternatives(self) -> _Test:
        tests = [self._all()]
        while self._is("OR"):
            self.position += 1
            tests.append(self._all())
        return tests[0] if len(tests) == 1 else lambda condition: any(test(condition) for test in tests)

    def _all(self) -> _Test:
        tests = [self._one()]
        while self.position < len(self.tokens) and not self._is("OR", ")"):
            if self._is("AND"):
                self.position += 1
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda condition: all(test(condition) for test in tests)

    def _one(self) -> _Test:
        negated = False
        while self._is("-"):
            self.position, negated = self.position + 1, not negated
        test = self._inside(self.alternatives) if self._is("(") else self._key()
        return (lambda condition: not test(condition)) if negated else test

    def _inside(self, read: Callable[[], _Test]) -> _Test:
        opened = self.position
        self.position, self.depth = self.position + 1, self.depth + 1
        if self.depth > _DEPTH:
            self.fail(f"more than {_DEPTH} parentheses inside one another", opened)
        test = read()
        if not self._is(")"):
            self.fail("this parenthesis is not closed", opened)
        self.position, self.depth = self.position + 1, self.depth - 1
        return test

    def _key(self) -> _Test:
        at = self.position
        if at >= len(self.tokens) or not self.tokens[at].is_word or self._is("OR", "AND"):
            self.fail("expected key:value, as corruption:fog or severity:3-5")
        key = self.tokens[at].text
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            self.fail(
                f"unknown key {key!r}, did you mean {near[0]!r}"
                if near
                else f"unknown key {key!r}, choose from {', '.join(KEYS)}",
                at,
            )
        self.position += 1
        if not self._is(":"):
            self.fail(f"expected a colon after {key}")
        self.position += 1
        if self._is("("):
            return self._inside(lambda: self._values(key))
        return self._value(key)

    def _values(self, key: str) -> _Test:
        tests = [self._value(key)]
        while self._is("OR"):
            self.position += 1
            tests.append(self._value(key))
        return lambda condition: any(test(condition) for test in tests)

    def _value(self, key: str) -> _Test:
        at = self.position
        if at >= len(self.tokens) or not self.tokens[at].is_word or self._is("OR", "AND"):
            self.fail(f"expected a value of {key}")
        token = self.tokens[at]
        self.position += 1
        test = self._severity(token.text, at) if key == "severity" else _names(token.text)
        self.terms.append((f"{key}:{token.text}", test))
        return test

    def _severity(self, text: str, at: int) -> _Test:
        range_ = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", text)
        if text == "*":
            return lambda _: True
        if range_ is None or int(range_[1]) > int(range_[2] or range_[1]):
            self.fail(f"severity takes a number or a range as 3-5, got {text!r}", at)
        low, high = int(range_[1]), int(range_[2] or range_[1])
        return lambda condition: low <= condition[1] <= high


def _names(text: str) -> _Test:
    """Corruptions called `text`: a glob, a name or an alias, or a group."""
    pattern = text.lower()
    try:
        members = set(resolve(text))
    except UnknownCorruptionError:
        members = set()
    return lambda condition: condition[0] in members or fnmatch.fnmatchcase(condition[0].lower(), pattern)
