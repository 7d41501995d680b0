"""Micro-batches by a token budget, balanced over ranks, and rows that several sequences share. Pure Python.

A plan names sequences only, in an order from which `fill_rows` finds the same rows again. Sequences (or rows) of near
length share a micro-batch, so little is padding. The plan sets memory and speed only: losses divide by a global
count, so any plan gives the same update.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
Plan = list[list[list[int]]]
"""[rank][micro-batch][place]: indices of sequences. All ranks have the same number of micro-batches."""


def plan_micro_batches(
    lengths: list[int],
    num_ranks: int,
    token_budget: int,
    row_tokens: int | None = None,
    groups: list[int] | None = None,
) -> Plan:
    """Splits sequences over ranks and micro-batches.

    Each rank gets about the same number of tokens (longest first, to the least loaded rank). A micro-batch holds
    at most `token_budget` padded tokens, rows x longest row, or one row that is longer than that. Ranks with fewer
    micro-batches get empty ones at the end: collectives of sharded parameters need equal counts.

    `row_tokens`: sequences share rows of so many tokens (first-fit decreasing); None: a row for each.
    `groups`: the number of each sequence's group, whose sequences stay in one micro-batch and share no row; -1: none.

    Example: plan_micro_batches([4, 1, 3], 1, 6) == [[[0], [2, 1]]]
    Example: plan_micro_batches([4, 1, 3], 1, 10, row_tokens=5) == [[[0, 1, 2]]]
    """
    per_rank = balanced(lengths, num_ranks, groups)
    return with_equal_counts(
        [_micro_batches(_blocks(members, lengths, row_tokens), token_budget) for members in per_rank]
    )


def evenly(items: Sequence[T], count: int) -> list[Sequence[T]]:
    """`count` parts of nearly one size, in order; fewer where there are fewer items, so that none is empty."""
    count = min(count, len(items))
    return [items[len(items) * i // count : len(items) * (i + 1) // count] for i in range(count)]


def balanced(lengths: list[int], num_ranks: int, groups: list[int] | None = None) -> list[list[list[int]]]:
    """[rank]: what each trains on, longest first: sequences alone, or those of one group together."""
    together: dict[int, list[int]] = {}
    for index, group in enumerate(groups or [-1] * len(lengths)):
        together.setdefault(-1 - index if group == -1 else group, []).append(index)
    longest_first = sorted(together.values(), key=lambda of: (-max(lengths[i] for i in of), of))
    load = [0] * num_ranks
    per_rank: list[list[list[int]]] = [[] for _ in range(num_ranks)]
    for members in longest_first:
        rank = min(range(num_ranks), key=lambda r: (load[r], r))
        load[rank] += sum(lengths[index] for index in members)
        per_rank[rank].append(members)
    return per_rank


def with_equal_counts(plan: Plan) -> Plan:
    """With empty micro-batches at the end of ranks that have fewer."""
    most = max(len(micro_batches) for micro_batches in plan)
    return [micro_batches + [[] for _ in range(most - len(micro_batches))] for micro_batches in plan]


def fill_rows(lengths: list[int], row_tokens: int | None) -> list[list[int]]:
    """Rows of sequences in the order given: one goes to the present row where it fits, else it begins the next.

    On a micro-batch of `plan_micro_batches` it gives that plan's rows.
    """
    rows: list[list[int]] = []
    used = 0
    for index, length in enumerate(lengths):
        if rows and row_tokens is not None and used + length <= row_tokens:
            rows[-1].append(index)
            used += length
        else:
            rows.append([index])
            used = length
    return rows


def _blocks(members: list[list[int]], lengths: list[int], row_tokens: int | None) -> list[tuple[list[int], int, int]]:
    """What stays together: its sequences, its width in tokens and its rows."""
    if row_tokens is None:
        return [(of, max(lengths[index] for index in of), len(of)) for of in members]
    rows = _rows([index for of in members for index in of], lengths, row_tokens)
    return [(row, sum(lengths[index] for index in row), 1) for row in rows]


def _rows(indices: list[int], lengths: list[int], row_tokens: int) -> list[list[int]]:
    """Rows, fullest first, of `indices`, which come longest first.

    In this order no row's first sequence fits into the row before it: that row is at least as full, and a row is
    begun only by a sequence that fits into none. So `fill_rows` finds the same rows.
    """
    rows: list[list[int]] = []
    free: list[int] = []
    for index in indices:
        row = next((row for row, space in enumerate(free) if lengths[index] <= space), None)
        if row is None:
            rows.append([index])
            free.append(row_tokens - lengths[index])
        else:
            rows[row].append(index)
            free[row] -= lengths[index]
    return [rows[row] for row in sorted(range(len(rows)), key=lambda row: free[row])]


def _micro_batches(blocks: list[tuple[list[int], int, int]], token_budget: int) -> list[list[int]]:
    """`blocks` come widest first, so the first of a micro-batch sets its width."""
    micro_batches: list[list[int]] = []
    width = num_rows = 0
    for indices, block_width, block_rows in blocks:
        if micro_batches and width * (num_rows + block_rows) <= token_budget:
            micro_batches[-1].extend(indices)
            num_rows += block_rows
        else:
            micro_batches.append(list(indices))
            width, num_rows = block_width, block_rows
    return micro_batches
