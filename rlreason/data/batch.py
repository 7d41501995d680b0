"""Micro-batches by a token budget, balanced over ranks, and rows that several sequences share. Pure Python.

A plan names sequences only, in an order from which `fill_rows` finds the same rows again. Sequences (or rows) of near
length share a micro-batch, so little is padding. The plan sets memory and speed only: losses divide by a global
count, so any plan gives the same update.
"""

Plan = list[list[list[int]]]
"""[rank][micro-batch][place]: indices of sequences. All ranks have the same number of micro-batches."""


def plan_micro_batches(lengths: list[int], num_ranks: int, token_budget: int, row_tokens: int | None = None) -> Plan:
    """Splits sequences over ranks and micro-batches.

    Each rank gets about the same number of tokens (longest first, to the least loaded rank). A micro-batch holds
    at most `token_budget` padded tokens, rows x longest row, or one row that is longer than that. Ranks with fewer
    micro-batches get empty ones at the end: collectives of sharded parameters need equal counts.

    `row_tokens`: sequences share rows of so many tokens (first-fit decreasing); None: a row for each.

    Example: plan_micro_batches([4, 1, 3], 1, 6) == [[[0], [2, 1]]]
    Example: plan_micro_batches([4, 1, 3], 1, 10, row_tokens=5) == [[[0, 1, 2]]]
    """
    longest_first = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    load = [0] * num_ranks
    per_rank: list[list[int]] = [[] for _ in range(num_ranks)]
    for index in longest_first:
        rank = min(range(num_ranks), key=lambda r: (load[r], r))
        load[rank] += lengths[index]
        per_rank[rank].append(index)
    plan = [_micro_batches(_rows(indices, lengths, row_tokens), lengths, token_budget) for indices in per_rank]
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


def _rows(indices: list[int], lengths: list[int], row_tokens: int | None) -> list[list[int]]:
    """Rows, fullest first, of `indices`, which come longest first.

    In this order no row's first sequence fits into the row before it: that row is at least as full, and a row is
    begun only by a sequence that fits into none. So `fill_rows` finds the same rows.
    """
    if row_tokens is None:
        return [[index] for index in indices]
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


def _micro_batches(rows: list[list[int]], lengths: list[int], token_budget: int) -> list[list[int]]:
    """`rows` come longest first, so the first of a micro-batch sets its width."""
    micro_batches: list[list[int]] = []
    width = num_rows = 0
    for row in rows:
        if micro_batches and width * (num_rows + 1) <= token_budget:
            micro_batches[-1].extend(row)
            num_rows += 1
        else:
            micro_batches.append(list(row))
            width, num_rows = sum(lengths[index] for index in row), 1
    return micro_batches
