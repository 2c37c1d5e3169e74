"""`convbench list`: every name that an option takes, with a line and a reference each."""

import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import Annotated, Any

import typer

from convbench.errors import UnknownNameError
from convbench.registry import Registry

Line = tuple[str, str, str]  # name and aliases, summary, reference


def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND", help="norms, models, datasets, corruptions, label-noises or metrics. [default: all]"
        ),
    ] = None,
) -> None:
    """List norms, models, datasets, corruptions, label-noises and metrics."""
    kinds: dict[str, Callable[[], list[Line]]] = {
        "norms": _norms,
        "models": _models,
        "datasets": _datasets,
        "corruptions": _corruptions,
        "label-noises": _label_noises,
        "metrics": _metrics,
    }
    if kind is not None and kind not in kinds:
        raise UnknownNameError("list", kind, kinds)
    for name in [kind] if kind else list(kinds):
        print(f"{name}:")
        for title, summary, reference in kinds[name]():
            print(_wrapped(f"  {title}"), *map(_wrapped, [f"      {summary}", *_sources(reference)]), sep="\n")
        print()


def _sources(reference: str) -> list[str]:
    return [f"      [{reference}]"] if reference else []


def _wrapped(line: str) -> str:
    """At the width of the terminal; in a pipe one line stays one line."""
    if not sys.stdout.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return textwrap.fill(line, width, subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False)


def _lines(registry: Registry[Any]) -> list[Line]:
    return [
        (_title(entry.name, entry.aliases) + _options(entry.options), entry.summary, entry.reference)
        for entry in registry
    ]


def _title(name: str, aliases: tuple[str, ...]) -> str:
    return name + (f" ({', '.join(aliases)})" if aliases else "")


def _options(options: dict[str, Any]) -> str:
    return "".join(
        f"  {key}={key.upper() if parameter.default is parameter.empty else parameter.default}"
        for key, parameter in options.items()
    )


def _norms() -> list[Line]:
    from convbench.norms import NORMS

    return _lines(NORMS)


def _models() -> list[Line]:
    from convbench.models import MODELS

    own = [
        ("path/to/file.py:factory", "A model of your own: a function that returns an nn.Module.", ""),
        ("torchvision:<name>", "A classification model of torchvision, converted to --norm (native: as it is).", ""),
        ("timm:<name>", "A model of timm, which is an extra: pip install 'convbench[timm]'; likewise.", ""),
    ]
    return _lines(MODELS) + own


def _datasets() -> list[Line]:
    from convbench.datasets import DATASETS

    own = ("folder:<path>", "Images in folders, <path>/{train,val,test}/<class>/ or <path>/<class>/.", "")
    return [*_lines(DATASETS), own]


def _corruptions() -> list[Line]:
    import corruptions

    found = [corruptions.describe(name) for name in corruptions.known_names()]
    groups = [(f"group {name}", ", ".join(members), "") for name, members in corruptions.GROUPS.items()]
    return [(_title(c.name, c.aliases), c.summary, c.reference) for c in found] + groups


def _label_noises() -> list[Line]:
    import corruptions

    kinds = corruptions.LABEL_NOISES.values()
    return [(_title(kind.name, kind.aliases), kind.summary, kind.reference) for kind in kinds]


def _metrics() -> list[Line]:
    from convbench.metrics import CORRUPTION_METRICS, NETWORK_METRICS, PREDICTION_METRICS
    from convbench.names import metric_groups

    compared = [(f"{title}  [compare --metric]", line, source) for title, line, source in _directed(CORRUPTION_METRICS)]
    groups = [(f"group {name}", ", ".join(members), "") for name, members in metric_groups().items()]
    return [*_directed(PREDICTION_METRICS), *_directed(NETWORK_METRICS), *groups, *compared]


def _directed(metrics: Registry[Any]) -> list[Line]:
    """With the direction that each metric states."""
    better = {True: "  [more is better]", False: "  [less is better]", None: "  [neither end is better]"}
    facts = [entry.facts["higher_is_better"] for entry in metrics]
    lines = zip(_lines(metrics), facts, strict=True)
    return [(title + better[upward], line, source) for (title, line, source), upward in lines]
