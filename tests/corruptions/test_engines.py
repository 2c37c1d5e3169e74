"""Which engine and profile are really used, and what is said about those that do not exist."""

import re

import pytest

from corruptions import ENGINES, resolve_conditions


def test_auto_names_what_is_used():
    assert resolve_conditions("auto", "auto", 32, 32) == ("imagecorruptions", "imagecorruptions")
    assert resolve_conditions("imagecorruptions", "imagecorruptions", 224, 96) == (
        "imagecorruptions",
        "imagecorruptions",
    )


@pytest.mark.parametrize("name", ENGINES)
def test_what_auto_picks_is_a_profile_of_the_engine(name):
    engine = ENGINES[name]
    sizes = [engine.minimum_side, 32, 48, 49, 64, 96, 130, 131, 224, 299]
    for side in (side for side in sizes if side >= engine.minimum_side):
        chosen, profile = resolve_conditions(name, "auto", side, side)
        assert chosen == name
        assert profile in engine.profiles
        assert resolve_conditions(chosen, profile, side, side) == (chosen, profile)
    assert engine.summary.endswith(".")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("imagecorruption", "auto", 32, 32),
            "unknown corruption engine 'imagecorruption'. Did you mean 'imagecorruptions'?",
        ),
        (
            ("imagecorruptions", "cifar-c", 32, 32),
            "'imagecorruptions' has no constants for profile 'cifar-c'. Choose from: auto, imagecorruptions",
        ),
        (("imagecorruptions", "auto", 32, 31), "at least 32 px a side, got 32 x 31"),
        (("imagecorruptions", "auto", 28, 28), "at least 32 px a side, got 28 x 28"),
    ],
)
def test_what_does_not_exist_is_said(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        resolve_conditions(*arguments)
