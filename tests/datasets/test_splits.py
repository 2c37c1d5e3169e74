import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.datasets.splits import hold_out, shuffled


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.data())
def test_hold_out_is_an_exact_stratified_partition(labels: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(labels)))
    array = np.array(labels)
    kept, held = hold_out(array, count)
    assert len(held) == count
    assert sorted([*kept, *held]) == list(range(len(labels)))
    share = count * np.bincount(array) / len(labels)
    assert np.abs(np.bincount(array[held], minlength=len(share)) - share).max() < 1


def test_order_of_a_permutation_is_fixed_for_ever() -> None:
    assert shuffled(8, seed=1).tolist() == [2, 4, 7, 5, 0, 6, 3, 1]
    assert sorted(shuffled(100)) == list(range(100))


@pytest.mark.parametrize("seed", [1, 2])
def test_seed_decides_what_is_held_out(seed: int) -> None:
    labels = np.arange(200) % 4
    np.testing.assert_array_equal(hold_out(labels, 20, seed)[1], hold_out(labels, 20, seed)[1])
    assert hold_out(labels, 20, seed)[1].tolist() != hold_out(labels, 20, seed + 1)[1].tolist()
