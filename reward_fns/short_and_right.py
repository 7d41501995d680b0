"""Correct first, then concise: a right answer earns 1.0, less up to 0.2 for length; a wrong one earns nothing.

Brevity is paid for right answers only. A bonus that wrong answers can earn too teaches the model to be short and wrong.
Shows: options for `args`, the token count, and a verdict that is handed on.
"""

from rlreason.rewards.math import reward as math_reward
from rlreason.types import Score, Task


def reward(
    response: str,
    task: Task,
    *,
    num_tokens: int | None = None,
    free_tokens: int = 300,
    long_tokens: int = 1500,
    length_cost: float = 0.2,
) -> Score:
    """Up to free_tokens length costs nothing, from long_tokens on it costs length_cost; in between linear."""
    verdict = math_reward(response, task)
    if verdict.status != "ok" or num_tokens is None:
        return verdict  # keeps the status: a check that broke is not a wrong answer
    excess = (num_tokens - free_tokens) / (long_tokens - free_tokens)
    cost = length_cost * min(max(excess, 0.0), 1.0)
    return Score(value=1.0 - cost, status="ok", detail=f"right, {num_tokens} tokens")
