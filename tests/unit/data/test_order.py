"""The order of rows: resume must neither skip nor repeat any (traps 30, 31)."""

from itertools import islice, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.data.order import permutation, rows_between, token_batches
from rlreason.types import TrainSequence


def sequences(lengths: list[int]) -> list[TrainSequence]:
    """Each is told apart by its token."""
    return [TrainSequence(tokens=(number,) * length, mask=(1,) * length) for number, length in enumerate(lengths)]


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


def test_token_batches_by_hand() -> None:
    rows = sequences([3, 3, 3, 3])
    first, second = islice(token_batches(rows, 5, seed=0), 2)
    assert [len(first), len(second)] == [2, 2]  # 3 tokens are too few, 6 are enough
    assert {row.tokens[0] for row in [*first, *second]} == {0, 1, 2, 3}


LENGTHS = st.lists(st.integers(1, 20), min_size=1, max_size=15)


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(1, 50), st.integers(0, 100))
def test_token_batches_cover_the_stream_in_order(lengths: list[int], tokens_per_step: int, seed: int) -> None:
    rows = sequences(lengths)
    batches = list(islice(token_batches(rows, tokens_per_step, seed), 12))
    used = [sequence.tokens[0] for batch in batches for sequence in batch]
    assert used == rows_between(0, len(used), len(rows), seed)
    for batch in batches:
        total = sum(len(sequence.tokens) for sequence in batch)
        assert total - len(batch[-1].tokens) < tokens_per_step <= total


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(1, 50), st.integers(0, 10))
def test_resume_by_skipping_batches_goes_on_where_it_stopped(
    lengths: list[int], tokens_per_step: int, num_done: int
) -> None:
    rows = sequences(lengths)
    uninterrupted = list(islice(token_batches(rows, tokens_per_step, 3), num_done + 4))
    resumed = token_batches(rows, tokens_per_step, 3)
    for _ in range(num_done):
        next(resumed)
    assert list(islice(resumed, 4)) == uninterrupted[num_done:]
