"""The names of the image corruptions: canonical names, groups and aliases.

The 15 + 4 corruptions of ImageNet-C in their official order, from Hendrycks & Dietterich, "Benchmarking
Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019, arXiv:1903.12261.
This module imports neither torch nor NumPy: a command line lists and checks names before it loads them.
"""

import difflib
from dataclasses import dataclass

IMAGENET_C = "Hendrycks & Dietterich 2019, arXiv:1903.12261"


@dataclass(frozen=True)
class Corruption:
    """One image corruption: its canonical name, its group, what it does and where it is defined."""

    name: str
    group: str
    summary: str
    aliases: tuple[str, ...] = ()
    reference: str = IMAGENET_C


class UnknownCorruptionError(ValueError):
    """No corruption, alias or group has this name.

    Attributes:
        name: what was asked for.
        nearest: the most similar known name, or None.
        known: every canonical name and group in official order, and "none".
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.known = [*names(), *GROUPS, NONE.name]
        near = difflib.get_close_matches(_key(name), _ACCEPTED, n=1, cutoff=0.5)
        self.nearest = _SPELLED[near[0]] if near else None
        hint = f" Did you mean {self.nearest!r}?" if self.nearest else ""
        super().__init__(f"unknown corruption {name!r}.{hint} Choose from: {', '.join(self.known)}.")

    def __reduce__(self) -> tuple[type, tuple[str]]:  # a process pool pickles it
        return type(self), (self.name,)


NONE = Corruption(
    "none", "none", "The clean image, severity 0.", aliases=("clean",), reference="the identity: no source"
)

CORRUPTIONS: tuple[Corruption, ...] = (
    Corruption("gaussian_noise", "noise", "Additive Gaussian noise, as of a sensor in low light.", ("gaussian",)),
    Corruption("shot_noise", "noise", "Poisson noise of counted photons.", ("shot", "poisson")),
    Corruption(
        "impulse_noise",
        "noise",
        "Salt-and-pepper noise: single values replaced by black or white.",
        ("impulse", "salt_and_pepper", "s&p"),
    ),
    Corruption("defocus_blur", "blur", "Blur by an antialiased disk: an image out of focus.", ("defocus",)),
    Corruption(
        "glass_blur",
        "blur",
        "Blur and local pixel shuffling, as seen through frosted glass.",
        ("glass", "frosted_glass"),
    ),
    Corruption("motion_blur", "blur", "Blur along one random direction: a moving camera.", ("motion",)),
    Corruption("zoom_blur", "blur", "Mean of stepwise enlarged images: moving towards the scene.", ("zoom",)),
    Corruption("snow", "weather", "Whitened image with a layer of motion-blurred flakes."),
    Corruption("frost", "weather", "Random crop of a photograph of frosted glass, mixed into the image."),
    Corruption("fog", "weather", "Diamond-square plasma fractal added as haze."),
    Corruption("brightness", "weather", "Value channel of HSV raised by a constant."),
    Corruption("contrast", "digital", "Pixels pulled towards the mean of their channel."),
    Corruption("elastic_transform", "digital", "Small regions stretched by a smooth random field.", ("elastic",)),
    Corruption("pixelate", "digital", "Box-filtered to a lower resolution and enlarged again."),
    Corruption("jpeg_compression", "digital", "JPEG compression at low quality.", ("jpeg", "jpg")),
    Corruption("speckle_noise", "extra", "Gaussian noise that grows with the brightness of the pixel.", ("speckle",)),
    Corruption("gaussian_blur", "extra", "Convolution with a Gaussian."),
    Corruption("spatter", "extra", "Drops of water (severities 1-3) or mud (4-5) on the lens."),
    Corruption("saturate", "extra", "Saturation channel of HSV scaled and shifted."),
)

_BY_NAME = {corruption.name: corruption for corruption in (*CORRUPTIONS, NONE)}

GROUPS: dict[str, tuple[str, ...]] = {
    **{
        group: tuple(c.name for c in CORRUPTIONS if c.group == group)
        for group in ("noise", "blur", "weather", "digital", "extra")
    },
    "common": tuple(c.name for c in CORRUPTIONS if c.group != "extra"),
    "all": tuple(c.name for c in CORRUPTIONS),
}


def _key(text: str) -> str:
    """Spelling without case, dash, underscore and space."""
    return text.lower().translate(str.maketrans("", "", "-_ "))


_ACCEPTED: dict[str, tuple[str, ...]] = {
    **{_key(group): members for group, members in GROUPS.items()},
    **{_key(name): (c.name,) for c in (*CORRUPTIONS, NONE) for name in (c.name, *c.aliases)},
}
_SPELLED = {_key(name): name for c in (*CORRUPTIONS, NONE) for name in (c.name, *c.aliases)} | {
    _key(group): group for group in GROUPS
}


def names() -> list[str]:
    """The 19 canonical names in official order: the 15 common ones, then the 4 extra ones."""
    return [corruption.name for corruption in CORRUPTIONS]


def resolve(text: str) -> list[str]:
    """The canonical names that `text` stands for.

    Args:
        text: a name, an alias ("gaussian"), a group ("blur": 4 names, "common": 15, "all": 19), or "none" or
            "clean" for the clean image. Case, dashes, underscores and spaces do not matter.

    Raises:
        UnknownCorruptionError: a `ValueError` with the nearest name and the list.
    """
    try:
        return list(_ACCEPTED[_key(text)])
    except KeyError:
        raise UnknownCorruptionError(text) from None


def describe(name: str) -> Corruption:
    """The entry of one corruption (name or alias) or of "none": summary, group, aliases, reference.

    Raises:
        ValueError: `name` is unknown, or a group of several corruptions.
    """
    found = resolve(name)
    if len(found) > 1:
        raise ValueError(f"{name!r} is a group of {len(found)} corruptions, give one of: {', '.join(found)}.")
    return _BY_NAME[found[0]]
