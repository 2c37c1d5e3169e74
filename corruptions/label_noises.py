"""The names of the label noises; imports neither torch nor NumPy, so that a command line can list them."""

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class LabelNoiseKind:
    """One kind of label noise: its canonical name, what it does and where it is defined."""

    name: str
    summary: str
    reference: str
    aliases: tuple[str, ...] = ()


LABEL_NOISES: dict[str, LabelNoiseKind] = {
    kind.name: kind
    for kind in (
        LabelNoiseKind("none", "Labels as they are, rate 0.", "the identity: no source", ("clean",)),
        LabelNoiseKind(
            "symmetric",
            "Labels replaced by another class, each equally likely (include_true: by any class).",
            "van Rooyen et al. 2015, arXiv:1505.07634; Han et al. 2018, arXiv:1804.06872",
            ("sym", "uniform"),
        ),
        LabelNoiseKind(
            "asymmetric",
            "Labels replaced by one similar class: CIFAR-10 pairs, next class in the CIFAR-100 superclass.",
            "Patrini et al. 2017, arXiv:1609.03683",
            ("asym",),
        ),
        LabelNoiseKind(
            "pair",
            "Labels of class i replaced by class i + 1, the last by the first.",
            "Han et al. 2018, arXiv:1804.06872",
            ("pairflip",),
        ),
    )
}


def resolve_label_noise(text: str) -> str:
    """The canonical name of a label noise; case, dashes, underscores and spaces do not matter.

    Raises:
        ValueError: unknown name, with the nearest name and the list.
    """
    accepted = {_key(spelling): kind.name for kind in LABEL_NOISES.values() for spelling in (kind.name, *kind.aliases)}
    if (name := accepted.get(_key(text))) is not None:
        return name
    near = difflib.get_close_matches(_key(text), accepted, n=1, cutoff=0.5)
    hint = f" Did you mean {accepted[near[0]]!r}?" if near else ""
    raise ValueError(f"unknown label noise {text!r}.{hint} Choose from: {', '.join(LABEL_NOISES)}.")


def _key(text: str) -> str:
    return text.lower().translate(str.maketrans("", "", "-_ "))
