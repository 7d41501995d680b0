"""The micro-batch plan."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.data.batch import plan_micro_batches

LENGTHS = st.lists(st.integers(1, 60), min_size=0, max_size=40)


def test_by_hand() -> None:
    assert plan_micro_batches([4, 1, 3], 1, 6) == [[[0], [2, 1]]]
    # longest first to the least loaded rank: 5 | 4, then 3 to the rank with 4, then 2 to the rank with 5
    assert plan_micro_batches([2, 3, 4, 5], 2, 6) == [[[3], [0]], [[2], [1]]]
    # a sequence beyond the budget goes alone; the rank with fewer micro-batches gets an empty one
    assert plan_micro_batches([9, 2, 2, 2, 2], 2, 4) == [[[0], []], [[1, 2], [3, 4]]]


@settings(deadline=None, max_examples=150)
@given(LENGTHS, st.integers(1, 5), st.integers(1, 100))
def test_every_plan_is_sound(lengths: list[int], num_ranks: int, budget: int) -> None:
    plan = plan_micro_batches(lengths, num_ranks, budget)
    assert plan == plan_micro_batches(list(lengths), num_ranks, budget), "not deterministic"
    placed = [index for rank in plan for micro_batch in rank for index in micro_batch]
    assert sorted(placed) == list(range(len(lengths))), "each sequence exactly once"
    assert len(plan) == num_ranks and len({len(rank) for rank in plan}) == 1, "as many micro-batches on each rank"
    for rank in plan:
        for micro_batch in rank:
            padded = len(micro_batch) * max((lengths[index] for index in micro_batch), default=0)
            assert padded <= budget or len(micro_batch) == 1
        sizes = [len(micro_batch) for micro_batch in rank]
        assert 0 not in sizes or not any(sizes[sizes.index(0) :]), "empty ones come last"
    load = [sum(lengths[index] for micro_batch in rank for index in micro_batch) for rank in plan]
    assert max(load) - min(load) <= max(lengths, default=0)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 4))
def test_equal_lengths_fill_the_budget(length: int, num: int, per_micro_batch: int) -> None:
    (rank,) = plan_micro_batches([length] * num, 1, length * per_micro_batch)
    assert [len(micro_batch) for micro_batch in rank[:-1]] == [per_micro_batch] * (len(rank) - 1)
