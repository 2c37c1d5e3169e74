"""HTML and SVG as nested calls; what is not markup already is escaped, so that no name can become a tag."""

import html
import re
from collections.abc import Iterable

_EMPTY = {"meta", "link", "br", "line", "path", "rect", "circle", "polyline"}  # written without an end tag
# Control characters, changes of writing direction (they make a name look other than it is), and lone surrogates (of
# file names that are not UTF-8), which no file can hold.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: object) -> Markup:
    """`text` with everything that HTML gives a meaning spelled out; `Markup` as it is, None as nothing."""
    if isinstance(text, Markup):
        return text
    return Markup("" if text is None else html.escape(_UNPRINTABLE.sub("\ufffd", str(text))))


def joined(parts: Iterable[object], separator: str = "") -> Markup:
    """`parts`, each escaped, one after the other."""
    return Markup(separator.join(map(escaped, parts)))


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """`<name attributes>children</name>`.

    Args:
        attributes: `class_` is class, `stroke_width` is stroke-width; None or False is left out, True stands alone.
    """
    words = [tag]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(attribute)
        elif value is not None and value is not False:
            words.append(f'{attribute}="{escaped(_short(value))}"')
    start = " ".join(words)
    if tag in _EMPTY and not children:
        return Markup(f"<{start}/>")
    return Markup(f"<{start}>{joined(children)}</{tag}>")


def caption(*words: object) -> Markup:
    """A table's caption that stays in sight when the table scrolls sideways."""
    return element("caption", element("span", *words))


def scrolled(child: Markup, words: str, height: str = "") -> Markup:
    """What scrolls by itself, also by keyboard, so that the page need not; `words` name it."""
    return element("div", child, class_=f"scroll {height}".rstrip(), tabindex=0, role="region", aria_label=words)


def _short(value: object) -> str:
    # Coordinates: a tenth of a pixel is fine enough, and a third of the bytes.
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
