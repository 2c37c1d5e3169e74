"""How the numbers of a report read: the phrases that its outputs share, plain text without markup.

Shares are shown in percent and percentage points, ratios in percent, everything else in its own unit. The text is ASCII
but for names that are not.
"""

import math
import re
from collections.abc import Iterable

from convbench.gate.report import Check, Kind, Scale

NOTHING = "-"  # in place of a number that does not exist
UNITS = {Scale.POINTS: "pp", Scale.PLAIN: "", Scale.RATIO: "%"}
_LONGEST = 300  # characters of a name or a note that somebody else wrote
_HUNDREDTHS = 1000  # images from which hundredths of a percent mean something: one image is 0.1 % or less

# Control characters (terminal codes among them), line separators, changes of writing direction (they make a text look
# other than it is), lone surrogates (of file names that are not UTF-8) and what XML forbids.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_SPACES = re.compile(r"[\t\n\r\x0b\x0c\x85\u2028\u2029]+")


def one_line(text: object, longest: int = _LONGEST) -> str:
    """`text` in one line that every format can hold: without control characters, cut to `longest` characters."""
    line = _UNPRINTABLE.sub("?", _SPACES.sub(" ", str(text)))
    return line if len(line) <= longest else line[: longest - 3] + "..."


def value(check: Check, number: float | None) -> str:
    """The baseline's or the candidate's number: "74.02" of a share, "0.031", "3.10e6"; "-" for None."""
    if number is None:
        return NOTHING
    if check.scale is Scale.POINTS:
        return _fixed(100 * number, _decimals(check))
    return _digits(number)


def movement(check: Check) -> str:
    """From the baseline's number to the candidate's: "74.02 -> 73.24"; "none" where one has none."""
    ends = (value(check, number) if number is not None else "none" for number in (check.baseline, check.candidate))
    return " -> ".join(ends)


def change(check: Check) -> str:
    """The change without its unit, signed: "-0.78", "+0.002", "+3.2" (percent of a ratio); "-" for None."""
    return _difference(check, check.change)


def interval(check: Check) -> str:
    """The interval of the change without its unit: "[-0.98, -0.57]"; "" where there is none, "..." for an open end."""
    if check.low is None and check.high is None:
        return ""
    low, high = ("..." if end is None else _difference(check, end) for end in (check.low, check.high))
    return f"[{low}, {high}]"


def evidence(check: Check) -> str:
    """Change, interval and unit: "-0.78 [-0.98, -0.57] pp"; "-" where there is no change to speak of."""
    if check.change is None or math.isnan(check.change):
        return NOTHING
    return " ".join(filter(None, (change(check), interval(check), UNITS[check.scale])))


def shared_unit(checks: Iterable[Check]) -> str | None:
    """The unit of the changes of all `checks`; None where they have several."""
    units = {UNITS[check.scale] for check in checks}
    return units.pop() if len(units) == 1 else None


def margin(check: Check) -> str:
    """The change for the worse that is allowed: "0.5" percentage points, "0.01", "10 %"; "-" for None."""
    if check.margin is None:
        return NOTHING
    return amount(check, check.margin).removesuffix(" pp")


def amount(check: Check, size: float) -> str:
    """A size on the scale of `check`, unsigned and with its unit: "0.5 pp", "0.01", "10 %"."""
    return f"{_short(size if check.scale is Scale.PLAIN else 100 * size)} {UNITS[check.scale]}".rstrip()


def p_value(check: Check) -> str:
    """The adjusted p, or else p: "0.0032", "1e-17", "<1e-99"; "-" for None."""
    p = check.p if check.p_adjusted is None else check.p_adjusted
    if p is None:
        return NOTHING
    if not 0 <= p < 0.001:
        return f"{p:.2g}"
    return "<1e-99" if p < 1e-99 else _exponent(f"{p:.0e}")


def details(check: Check) -> str:
    """What a verdict rests on: "74.02 -> 73.24 (-0.78 [-0.98, -0.57] pp, margin 0.5); <reason>"."""
    text = movement(check)
    if check.kind is Kind.FLOOR:
        text = f"at least {value(check, check.baseline)}, found {value(check, check.candidate)}"
    if evidence(check) != NOTHING:
        allowed = "" if check.margin is None else f", margin {margin(check)}"
        text += f" ({evidence(check)}{allowed})"
    return f"{text}; {one_line(check.reason)}" if check.reason else text


def _decimals(check: Check) -> int:
    return 2 if check.n >= _HUNDREDTHS or not check.n else 1


def _difference(check: Check, number: float | None) -> str:
    if number is None:
        return NOTHING
    if check.scale is Scale.PLAIN:
        sizes = [abs(size) for size in (check.baseline, check.candidate) if size is not None and math.isfinite(size)]
        return _fixed(number, 3 if max(sizes, default=0.0) >= 0.01 else 4, sign="+")
    return _fixed(100 * number, _decimals(check) if check.scale is Scale.POINTS else 1, sign="+")


def _fixed(number: float, decimals: int, sign: str = "") -> str:
    """With `decimals`, in scientific notation where that would be long; zero has no sign."""
    if math.isnan(number):
        return "NaN"
    text = f"{number:{sign}.{decimals}f}" if abs(number) < 1e6 or math.isinf(number) else f"{number:{sign}.1e}"
    return text.lstrip("+-") if not text.strip("+-0.") else _exponent(text)


def _digits(number: float) -> str:
    """With three significant digits (two below 0.1), in scientific notation where it is very large or very small."""
    if math.isnan(number):
        return "NaN"
    if number == 0 or math.isinf(number):
        return f"{number + 0.0:g}"
    if not 1e-3 <= abs(number) < 1e4:
        return _exponent(f"{number:.2e}")
    place = math.floor(math.log10(abs(number)))
    return f"{number:.{max(0, (2 if place >= -1 else 1) - place)}f}"


def _short(number: float) -> str:
    return "NaN" if math.isnan(number) else _exponent(f"{number:.3g}")


def _exponent(text: str) -> str:
    """Without the zeros and the plus of Python's exponents: "3.10e6" for "3.10e+06"."""
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e and exponent else text
