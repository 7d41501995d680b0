"""Mixtures: shares, epochs, resume (traps 30, 31)."""

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.data.mixture import ROWS_AT_ONCE, Mixture, Source, State
from rlreason.types import TrainSequence, UserError

Row = tuple[int, list[int]]
"""A row's number, which is its tokens, and the lengths of its sequences."""


def encode(rows: list[Row]) -> list[list[TrainSequence]]:
    return [[TrainSequence(tokens=(n,) * length, mask=(1,) * length) for length in lengths] for n, lengths in rows]


def source(lengths: list[list[int]], weight: float = 1.0, first: int = 0) -> Source:
    return Source(rows=list(enumerate(lengths, first)), weight=weight, encode=encode)


def mixture(sources: dict[str, Source], seed: int = 0, state: State | None = None) -> Mixture:
    return Mixture(sources, context_tokens=20, seed=seed, state=state)


ROWS = st.lists(st.lists(st.integers(1, 25), max_size=4), max_size=12).map(lambda rows: [[5], *rows])
"""Rows of none to four sequences, some too long; one row at least is good."""
SOURCES = st.lists(st.tuples(ROWS, st.floats(0.05, 10.0)), min_size=1, max_size=4).map(
    lambda parts: {f"s{i}": source(rows, weight, first=100 * i) for i, (rows, weight) in enumerate(parts)}
)


def test_shares_by_hand() -> None:
    """Weights 2 : 1, sequences of 4 trained tokens: a, then the other that has none, then a by turns of two to one."""
    found = mixture({"a": source([[5]], 2.0, first=1), "b": source([[5]], 1.0, first=2)}).batch(5 * 7)
    assert [sequence.tokens[0] for sequence in found] == [1, 2, 1, 1, 2, 1, 1]


def test_the_share_is_of_trained_tokens_not_of_prompts() -> None:
    """Both sources give sequences of 10 tokens; in one of them only 3 are trained on."""

    def masked(rows: list[Row]) -> list[list[TrainSequence]]:
        return [[TrainSequence(tokens=(n,) * 10, mask=(0,) * 7 + (1,) * 3)] for n, _ in rows]

    long = mixture({"a": Source(rows=[(1, [])], weight=1.0, encode=masked), "b": source([[10]], first=2)})
    counts = Counter(sequence.tokens[0] for sequence in long.batch(10 * 400))
    assert counts[1] / counts[2] == pytest.approx(9 / 3, rel=0.02)
    assert long.metrics()["data/a/tokens"] == pytest.approx(long.metrics()["data/b/tokens"], abs=9)


@settings(deadline=None, max_examples=60)
@given(SOURCES, st.integers(0, 50))
def test_shares_stay_at_the_weights(sources: dict[str, Source], seed: int) -> None:
    """At any moment: tokens by weight differ by no more than one sequence of each."""
    mixed = mixture(sources, seed)
    for _ in range(10):
        mixed.batch(100)
        drawn = {name: mixed.metrics()[f"data/{name}/tokens"] / part.weight for name, part in sources.items()}
        longest = max(20 / part.weight for part in sources.values())
        assert max(drawn.values()) - min(drawn.values()) <= longest


@settings(deadline=None, max_examples=60)
@given(ROWS, st.integers(0, 50))
def test_each_epoch_uses_each_row_once(rows: list[list[int]], seed: int) -> None:
    """All sequences that fit, as often as each other; the others are counted."""
    mixed = mixture({"a": source(rows)}, seed)
    good = [(n, length) for n, lengths in enumerate(rows) for length in lengths if 1 < length <= 20]
    num_long = sum(length > 20 for lengths in rows for length in lengths)
    epoch = sum(length for _, length in good)
    drawn = [(s.tokens[0], len(s.tokens)) for _ in range(3) for s in mixed.batch(epoch)]
    assert Counter(drawn) == Counter(good * 3)
    # What lies after the last good sequence is passed over with the next draw.
    mixed.batch(1)
    assert 3 * num_long <= mixed.metrics()["data/dropped_too_long"] <= 4 * num_long
    assert 3 <= mixed.metrics()["data/epochs"] <= 4


@settings(deadline=None, max_examples=60)
@given(SOURCES, st.integers(0, 8), st.integers(1, 90))
def test_a_resumed_mixture_goes_on_with_the_same_batches(
    sources: dict[str, Source], num_done: int, num_tokens: int
) -> None:
    """Through JSON, and whatever the first mixture has drawn ahead."""
    whole = mixture(sources, 7)
    for _ in range(num_done):
        whole.batch(num_tokens)
    state, metrics = json.dumps(whole.state()), whole.metrics()
    expected = [whole.batch(num_tokens) for _ in range(5)]
    resumed = mixture(sources, 7, json.loads(state))
    assert resumed.metrics() == metrics
    assert [resumed.batch(num_tokens) for _ in range(5)] == expected
    assert resumed.state() == whole.state()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"sources": {"a": source([[5]] * 3), "b": source([[5]])}}, "source `b` was not there, and is 1 rows"),
        ({"sources": {"c": source([[5]] * 3)}}, "source `a` was 3 rows of weight 1.0, and is not there"),
        ({"sources": {"a": source([[5]] * 4)}}, "source `a` was 3 rows of weight 1.0, and is 4 rows"),
        ({"sources": {"a": source([[5]] * 3, 2.0)}}, "and is 3 rows of weight 2.0"),
        ({"seed": 8}, "seed was 7, and is 8"),
        ({"context_tokens": 21}, "context_tokens was 20, and is 21"),
    ],
)
def test_a_stream_goes_on_with_its_own_data_alone(changed: dict[str, Any], says: str) -> None:
    given = {"sources": {"a": source([[5]] * 3)}, "context_tokens": 20, "seed": 7}
    begun = Mixture(**given)
    begun.batch(10)
    with pytest.raises(UserError, match=f"begun with other data: .*{says}.*; put it back, or start anew"):
        Mixture(**{**given, **changed}, state=begun.state())


def test_a_batch_ends_with_the_sequence_that_fills_it() -> None:
    mixed = mixture({"a": source([[3]])})
    assert [len(mixed.batch(tokens)) for tokens in (1, 3, 4, 6, 7)] == [1, 1, 2, 2, 3]


def test_rows_are_encoded_as_they_are_drawn() -> None:
    encoded: list[int] = []

    def watched(rows: list[Row]) -> list[list[TrainSequence]]:
        encoded.extend(n for n, _ in rows)
        return encode(rows)

    mixed = mixture({"a": Source(rows=[(n, [10]) for n in range(1000)], weight=1.0, encode=watched)})
    assert encoded == []
    mixed.batch(10 * ROWS_AT_ONCE)
    assert len(set(encoded)) == len(encoded) == ROWS_AT_ONCE
    mixed.batch(1)
    assert len(set(encoded)) == len(encoded) == 2 * ROWS_AT_ONCE


def test_a_batch_is_not_one_long_document() -> None:
    batch = mixture({"a": source([[20] * 50 for _ in range(200)])}).batch(20 * 50)
    assert len({sequence.tokens[0] for sequence in batch}) > 20


def test_seeds_and_names_give_other_orders() -> None:
    rows = [[2] for _ in range(100)]
    orders = {
        tuple(s.tokens[0] for s in mixture({name: source(rows)}, seed).batch(100)) for name in "ab" for seed in range(3)
    }
    assert len(orders) == 6


@pytest.mark.parametrize("lengths", [[[21], [22, 30]], [[1], []], [[]] * 300])
def test_a_source_without_a_sequence_to_train_on_is_an_error(lengths: list[list[int]]) -> None:
    with pytest.raises(UserError, match="data `a`: no row gives a sequence of at most 20 tokens"):
        mixture({"a": source(lengths)}).batch(1)


def test_one_good_row_in_many_is_found() -> None:
    rows = [[30]] * 500
    rows[random.Random(0).randrange(500)] = [4]
    mixed = mixture({"a": source(rows)})
    assert len(mixed.batch(4 * 5)) == 5
    assert 499 * 4 <= mixed.metrics()["data/dropped_too_long"] <= 499 * 6


def test_a_source_without_rows_is_an_error() -> None:
    with pytest.raises(UserError, match="data `a`: no rows"):
        mixture({"a": source([])})
