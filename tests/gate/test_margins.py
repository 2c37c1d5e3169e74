"""Which margin a number has, and whether it counts."""

import pytest

from convbench.gate.margins import margin_of
from convbench.gate.policy import DEFAULT_MARGINS, Policy
from convbench.gate.report import Kind

AGGREGATE, CONDITION, NETWORK, LAYER = Kind.AGGREGATE, Kind.CONDITION, Kind.NETWORK, Kind.LAYER


def sizes(policy, *numbers):
    return [margin_of(policy, *number).size for number in numbers]


def test_the_defaults_by_the_longest_prefix():
    numbers = [(AGGREGATE, "accuracy"), (AGGREGATE, "mce_alexnet"), (NETWORK, "lipschitz_upper_product"),
               (LAYER, "spectral_norm"), (LAYER, "spectral_norm_composed"), (AGGREGATE, "nll")]  # fmt: skip
    assert sizes(Policy(), *numbers) == [0.005, 0.01, 0.1, 0.1, 0.1, None]
    assert margin_of(Policy(), NETWORK, "largest_spectral_norm").size == DEFAULT_MARGINS["spectral_norm"]
    # A prefix ends where a word ends.
    assert margin_of(Policy(margins={"lipschitz_up": 0.5}), NETWORK, "lipschitz_upper_product").size == 0.1


def test_what_the_user_says_wins_over_a_longer_default():
    policy = Policy(margins={"spectral_norm": 0.03, "lipschitz_upper": 0.05, "lipschitz_upper_product": 0.07})
    numbers = [
        (LAYER, "spectral_norm_composed"),
        (NETWORK, "lipschitz_upper_product"),
        (NETWORK, "lipschitz_upper_ecl"),
    ]
    assert sizes(policy, *numbers) == [0.03, 0.07, 0.05]
    assert sizes(policy, (NETWORK, "largest_spectral_norm")) == [0.03]


@pytest.mark.parametrize(
    ("condition", "size"),
    [(("glass_blur", 5), 0.03), (("glass_blur", 4), 0.02), (("fog", 5), 0.01), (("fog", 4), 0.004)],
)
def test_the_pattern_that_says_most_wins(condition, size):
    margins = {
        "accuracy": 0.004,
        "accuracy:corruption=glass_blur": 0.02,
        "accuracy:severity=5": 0.01,
        "accuracy:corruption=glass_blur,severity=5": 0.03,
    }
    margin = margin_of(Policy(margins=margins), CONDITION, "accuracy", condition)
    assert margin.size == size
    assert margin.gated == (size != 0.004)  # a margin of the clean accuracy does not make conditions count
    assert margin_of(Policy(margins=margins), AGGREGATE, "accuracy").size == 0.004


def test_what_counts_by_default_and_by_wish():
    def gated(policy, *number):
        return margin_of(policy, *number).gated

    default = Policy()
    for number in [(AGGREGATE, "accuracy"), (AGGREGATE, "mean_corrupted_accuracy"), (AGGREGATE, "ece"),
                   (AGGREGATE, "mce_alexnet"), (NETWORK, "lipschitz_upper_product")]:  # fmt: skip
        assert gated(default, *number), number
    for number in [(AGGREGATE, "nll"), (AGGREGATE, "mean_ce"), (AGGREGATE, "relative_accuracy"),
                   (AGGREGATE, "relative_mce_alexnet"), (NETWORK, "lipschitz_lower_jacobian"),
                   (NETWORK, "largest_spectral_norm"), (LAYER, "spectral_norm"),
                   (CONDITION, "accuracy", ("fog", 1))]:  # fmt: skip
        assert not gated(default, *number), number
    wishes = Policy(gate=("aggregates", "conditions", "layers"), margins={"nll": 0.1, "lipschitz_lower": 0.2})
    for number in [(AGGREGATE, "nll"), (NETWORK, "lipschitz_lower_jacobian"), (LAYER, "spectral_norm"),
                   (CONDITION, "accuracy", ("fog", 1))]:  # fmt: skip
        assert gated(wishes, *number), number
