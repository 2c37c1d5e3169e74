"""The phrases of every output, set for a page: a real minus sign, a real arrow, a dash where there is nothing."""

import re

from convbench.gate.outputs import wording
from convbench.gate.report import Check, Scale

_MINUS = re.compile(r"(?<![\w.)\]-])-(?=[\d.])")  # before a number; not in 1e-17, 1-5, sha-1
_ALONE = re.compile(r"(?<!\S)-(?!\S)")


def typeset(text: str) -> str:
    """`text` with "-0.78" as "−0.78", "->" as "→", and a "-" that stands for nothing as a dash."""
    return _ALONE.sub("–", _MINUS.sub("−", text.replace("->", "→")))


def value_text(check: Check, number: float | None, *, unit: bool = False) -> str:
    """A number of one side: "91.84" (with its unit "91.84 %"), "0.0312", "3.10e6"."""
    text = typeset(wording.value(check, number))
    return f"{text} %" if unit and check.scale is Scale.POINTS and number is not None else text


def change_text(check: Check, *, unit: bool = True) -> str:
    """The change, signed: "−0.78 pp", "+3.0 %", "+0.0020"."""
    text = typeset(wording.change(check))
    return f"{text} {wording.UNITS[check.scale]}".rstrip() if unit and text[-1:].isdigit() else text


def interval_text(check: Check) -> str:
    """The interval of the change, in its unit: "[−0.98, −0.57]"; a dash where there is none."""
    return typeset(wording.interval(check) or wording.NOTHING)


def margin_text(check: Check) -> str:
    """The change for the worse that is allowed: "0.5 pp"."""
    return "–" if check.margin is None else wording.amount(check, check.margin)


def p_text(check: Check) -> str:
    """The probability after the correction, or else before: "0.0032", "1e-17"."""
    return typeset(wording.p_value(check))
