"""The micro-batch plan, and rows that sequences share."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.data.batch import fill_rows, plan_micro_batches

LENGTHS = st.lists(st.integers(1, 60), min_size=0, max_size=40)


def test_by_hand() -> None:
    assert plan_micro_batches([4, 1, 3], 1, 6) == [[[0], [2, 1]]]
    # longest first to the least loaded rank: 5 | 4, then 3 to the rank with 4, then 2 to the rank with 5
    assert plan_micro_batches([2, 3, 4, 5], 2, 6) == [[[3], [0]], [[2], [1]]]
    # a sequence beyond the budget goes alone; the rank with fewer micro-batches gets an empty one
    assert plan_micro_batches([9, 2, 2, 2, 2], 2, 4) == [[[0], []], [[1, 2], [3, 4]]]


def test_shared_rows_by_hand() -> None:
    # rows of 10: 9 | 6 4 | 5 3 2; of equal fill the one begun first; two rows of 10 a micro-batch
    assert plan_micro_batches([2, 9, 3, 6, 5, 4], 1, 20, row_tokens=10) == [[[3, 5, 4, 2, 0], [1]]]
    assert fill_rows([6, 4, 5, 3, 2], 10) == [[0, 1], [2, 3, 4]]
    # 12 is longer than a row and has one of its own, which sets its micro-batch's width
    assert plan_micro_batches([3, 12, 3], 1, 20, row_tokens=6) == [[[1], [0, 2]]]
    assert fill_rows([12, 3, 3], 6) == [[0], [1, 2]]
    assert fill_rows([2, 2], None) == [[0], [1]] and fill_rows([], 4) == []


@settings(deadline=None, max_examples=200)
@given(LENGTHS, st.integers(1, 5), st.integers(1, 200), st.none() | st.integers(1, 80))
def test_every_plan_is_sound(lengths: list[int], num_ranks: int, budget: int, row_tokens: int | None) -> None:
    plan = plan_micro_batches(lengths, num_ranks, budget, row_tokens)
    assert plan == plan_micro_batches(list(lengths), num_ranks, budget, row_tokens), "not deterministic"
    placed = [index for rank in plan for micro_batch in rank for index in micro_batch]
    assert sorted(placed) == list(range(len(lengths))), "each sequence exactly once"
    assert len(plan) == num_ranks and len({len(rank) for rank in plan}) == 1, "as many micro-batches on each rank"
    for rank in plan:
        for micro_batch in rank:
            mine = [lengths[index] for index in micro_batch]
            rows = fill_rows(mine, row_tokens)
            filled = [sum(mine[place] for place in row) for row in rows]
            assert len(rows) * max(filled, default=0) <= budget or len(rows) == 1
            assert all(fill <= (row_tokens or 60) or len(row) == 1 for fill, row in zip(filled, rows, strict=True))
            assert all(later <= earlier for earlier, later in pairwise(filled)), "fullest first, as it was planned"
        sizes = [len(micro_batch) for micro_batch in rank]
        assert 0 not in sizes or not any(sizes[sizes.index(0) :]), "empty ones come last"
    load = [sum(lengths[index] for micro_batch in rank for index in micro_batch) for rank in plan]
    assert max(load) - min(load) <= max(lengths, default=0)


@settings(deadline=None, max_examples=100)
@given(LENGTHS, st.integers(1, 80))
def test_shared_rows_waste_little(lengths: list[int], row_tokens: int) -> None:
    """First-fit decreasing: no two rows could be one, so that more than half of all but one row is used."""
    (rank,) = plan_micro_batches(lengths, 1, 10**9, row_tokens)
    for micro_batch in rank:
        mine = [lengths[index] for index in micro_batch]
        filled = [sum(mine[place] for place in row) for row in fill_rows(mine, row_tokens)]
        assert all(one + other > row_tokens for one, other in pairwise(filled))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 4))
def test_equal_lengths_fill_the_budget(length: int, num: int, per_micro_batch: int) -> None:
    (rank,) = plan_micro_batches([length] * num, 1, length * per_micro_batch)
    assert [len(micro_batch) for micro_batch in rank[:-1]] == [per_micro_batch] * (len(rank) - 1)


def test_groups_by_hand() -> None:
    # Widest first: the group of 5 and 1 (two rows of 5), then 4 and 3 (of 4), with 2: three rows of 4.
    assert plan_micro_batches([4, 5, 1, 3, 2], 1, 12, groups=[7, 3, 3, 7, -1]) == [[[1, 2], [0, 3, 4]]]
    # Wider than the budget, it goes alone but whole.
    assert plan_micro_batches([9, 9, 1], 1, 10, groups=[0, 0, -1]) == [[[0, 1], [2]]]


@settings(deadline=None, max_examples=200)
@given(LENGTHS, st.integers(1, 5), st.integers(1, 200), st.data())
def test_a_group_is_never_split(lengths: list[int], num_ranks: int, budget: int, data: st.DataObject) -> None:
    groups = data.draw(st.lists(st.integers(-1, 8), min_size=len(lengths), max_size=len(lengths)))
    plan = plan_micro_batches(lengths, num_ranks, budget, groups=groups)
    micro_batches = [micro_batch for rank in plan for micro_batch in rank]
    assert sorted(index for micro_batch in micro_batches for index in micro_batch) == list(range(len(lengths)))
    for group in set(groups) - {-1}:
        assert sum(any(groups[index] == group for index in micro_batch) for micro_batch in micro_batches) == 1
    for micro_batch in micro_batches:
        width = max((lengths[index] for index in micro_batch), default=0)
        whole = len({groups[index] if groups[index] >= 0 else -2 - index for index in micro_batch}) <= 1
        assert whole or width * len(micro_batch) <= budget
