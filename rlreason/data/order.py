"""Which rows are used when: pure functions of the seed, so that a run resumes at any point."""

import random
from collections.abc import Iterator, Sequence
from functools import lru_cache

from rlreason.types import TrainSequence


@lru_cache(maxsize=4)
def permutation(num_rows: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of rows in one epoch."""
    order = list(range(num_rows))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return tuple(order)


def rows_between(start: int, stop: int, num_rows: int, seed: int) -> list[int]:
    """Rows at places `start` (included) to `stop` of the endless shuffled stream. Each epoch uses every row once."""
    return [permutation(num_rows, seed, place // num_rows)[place % num_rows] for place in range(start, stop)]


def token_batches(sequences: Sequence[TrainSequence], tokens_per_step: int, seed: int) -> Iterator[list[TrainSequence]]:
    """Endless batches of whole sequences from the shuffled stream, each of at least `tokens_per_step` tokens."""
    batch: list[TrainSequence] = []
    count, place = 0, 0
    while True:
        sequence = sequences[rows_between(place, place + 1, len(sequences), seed)[0]]
        place += 1
        batch.append(sequence)
        count += len(sequence.tokens)
        if count >= tokens_per_step:
            yield batch
            batch, count = [], 0
