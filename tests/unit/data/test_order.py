"""The order of rows: resume must neither skip nor repeat any (traps 30, 31)."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.data.order import permutation, rows_between


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(0, 1000), st.integers(0, 5))
def test_each_epoch_uses_every_row_once(num_rows: int, seed: int, epoch: int) -> None:
    assert sorted(permutation(num_rows, seed, epoch)) == list(range(num_rows))
    stream = rows_between(0, (epoch + 1) * num_rows, num_rows, seed)
    assert sorted(stream[epoch * num_rows :]) == list(range(num_rows))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 20), st.integers(0, 100), st.lists(st.integers(0, 60), max_size=6))
def test_the_stream_is_the_same_wherever_it_is_cut(num_rows: int, seed: int, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 60]
    joined = [row for start, stop in pairwise(edges) for row in rows_between(start, stop, num_rows, seed)]
    assert joined == rows_between(0, 60, num_rows, seed)


def test_seeds_and_epochs_differ() -> None:
    orders = {permutation(50, seed, epoch) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert tuple(range(50)) not in orders
    assert rows_between(0, 50, 50, seed=0) != rows_between(50, 100, 50, seed=0)


def test_the_order_does_not_move_with_a_new_release() -> None:
    """A run resumed with a newer version goes on with the same data."""
    assert permutation(8, 0, 0) == PERMUTATION_8_0_0


PERMUTATION_8_0_0 = (0, 2, 1, 4, 6, 7, 3, 5)
