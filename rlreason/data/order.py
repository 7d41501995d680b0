"""Which rows are used when: pure functions of the seed, so that a run resumes at any point."""

import random
from functools import lru_cache


@lru_cache(maxsize=16)
def permutation(num_rows: int, seed: int | str, epoch: int) -> tuple[int, ...]:
    """The order of rows in one epoch."""
    order = list(range(num_rows))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return tuple(order)


def rows_between(start: int, stop: int, num_rows: int, seed: int | str) -> list[int]:
    """Rows at places `start` (included) to `stop` of the endless shuffled stream. Each epoch uses every row once."""
    return [permutation(num_rows, seed, place // num_rows)[place % num_rows] for place in range(start, stop)]
