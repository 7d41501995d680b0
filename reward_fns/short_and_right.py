"""Correct first, then concise: a right answer earns 1.0, less up to 0.2 for length; a wrong one earns nothing.

Brevity is paid for right answers only. A bonus that wrong answers can earn too teaches the model to be short and wrong.
"""

from rlreason.rewards.math import verify
from rlreason.types import Score, Task

FREE_CHARS = 1_000
"""Up to here length costs nothing."""
LONG_CHARS = 5_000
"""From here on it costs LENGTH_COST in full."""
LENGTH_COST = 0.2


def reward(response: str, task: Task) -> Score:
    if task.answer is None:
        return Score(value=0.0, status="verifier_error", detail=f"task {task.id} has no answer")
    gold = task.answer if isinstance(task.answer, str) else list(task.answer)
    verdict = verify(response, gold)
    if verdict.status != "ok":
        return verdict  # keeps the status: a check that broke is not a wrong answer
    excess = (len(response) - FREE_CHARS) / (LONG_CHARS - FREE_CHARS)
    cost = LENGTH_COST * min(max(excess, 0.0), 1.0)
    return Score(value=1.0 - cost, status="ok", detail=f"right, {len(response)} characters")
