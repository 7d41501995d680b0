"""Micro-batches by a token budget, balanced over ranks. Pure Python.

Sequences of near length share a micro-batch, so little is padding (attention on CPU has no packed form).
The plan sets memory and speed only: losses divide by a global count, so any plan gives the same update.
"""

Plan = list[list[list[int]]]
"""[rank][micro-batch][place]: indices of sequences. All ranks have the same number of micro-batches."""


def plan_micro_batches(lengths: list[int], num_ranks: int, token_budget: int) -> Plan:
    """Splits sequences over ranks and micro-batches.

    Each rank gets about the same number of tokens (longest first, to the least loaded rank). A micro-batch holds
    at most `token_budget` padded tokens, or one sequence that is longer than that. Ranks with fewer micro-batches
    get empty ones at the end: collectives of sharded parameters need equal counts.

    Example: plan_micro_batches([4, 1, 3], 1, 6) == [[[0], [2, 1]]]
    """
    longest_first = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    load = [0] * num_ranks
    per_rank: list[list[int]] = [[] for _ in range(num_ranks)]
    for index in longest_first:
        rank = min(range(num_ranks), key=lambda r: (load[r], r))
        load[rank] += lengths[index]
        per_rank[rank].append(index)
    plan = [_fill(indices, lengths, token_budget) for indices in per_rank]
    most = max(len(micro_batches) for micro_batches in plan)
    return [micro_batches + [[] for _ in range(most - len(micro_batches))] for micro_batches in plan]


def _fill(indices: list[int], lengths: list[int], token_budget: int) -> list[list[int]]:
    """`indices` come longest first, so the first of a micro-batch sets its width."""
    micro_batches: list[list[int]] = []
    for index in indices:
        current = micro_batches[-1] if micro_batches else []
        if current and lengths[current[0]] * (len(current) + 1) <= token_budget:
            current.append(index)
        else:
            micro_batches.append([index])
    return micro_batches
