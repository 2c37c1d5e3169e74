import pytest

from convbench.errors import ConfigError, UnknownNameError
from convbench.registry import Registry


@pytest.fixture
def registry() -> Registry:
    registry = Registry("fruit")

    @registry.register("apple", aliases=("pomme",), reference="Eve", sweet=True)
    def apple(weight: int = 1, *, size: int = 3, ripe: bool = False, scale: float = 1.0, kind: str = "red"):
        """A red one.

        More.
        """
        return weight, size, ripe, scale, kind

    return registry


def test_options_in_the_name_are_typed_by_their_defaults(registry):
    assert registry.build("apple:size=5,ripe=true,scale=2,kind=green", 7) == (7, 5, True, 2.0, "green")


def test_alias_and_option_order_do_not_change_the_canonical_name(registry):
    assert registry.canonical("pomme:ripe=1,size=4") == "apple:size=4,ripe=true"
    assert registry.canonical(registry.canonical("pomme:ripe=1")) == "apple:ripe=true"


def test_entry_states_summary_reference_and_facts(registry):
    entry = registry.entry("pomme")
    assert (entry.name, entry.summary, entry.reference, entry.facts) == ("apple", "A red one.", "Eve", {"sweet": True})


def test_a_name_is_registered_once(registry):
    with pytest.raises(ValueError, match="'pomme' is registered twice"):
        registry.register("pomme")(lambda: None)


def test_unknown_name_suggests_the_nearest(registry):
    with pytest.raises(UnknownNameError, match=r"unknown fruit 'aple'\. Did you mean 'apple'\? Choose from: apple"):
        registry.entry("aple")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("apple:colour=red", "has no option 'colour=red'; options are: size, ripe, scale, kind"),
        ("apple:size", "has no option 'size'"),
        ("apple:size=2,size=3", "'apple': size is given twice."),
        ("apple:weight=2", "has no option 'weight=2'"),
        ("apple:size=big", "size must be a whole number, got 'big'"),
        ("apple:ripe=perhaps", "ripe must be true or false, got 'perhaps'"),
        ("apple:scale=wide", "scale must be a number, got 'wide'"),
    ],
)
def test_a_bad_option_says_what_is_possible(registry, text, message):
    with pytest.raises(ConfigError) as error:
        registry.parse(text)
    assert message in str(error.value)
