"""Format as a gate: without a well-formed think block nothing counts, whatever the answer.

A format reward that is added on top lifts wrong answers as much as right ones, since a group's advantages ignore scale.
Here form alone earns a small credit, so that an untrained model has something to climb, and the answer the rest.
Shows: shipped functions as parts, and partial credit. `combine: {mode: gate}` does the same without partial credit.
"""

from rlreason.rewards.format import think
from rlreason.rewards.math import reward as math_reward
from rlreason.types import Score, Task


def reward(response: str, task: Task, *, credit: float = 0.1) -> Score:
    """0.0 malformed, `credit` well-formed but wrong, 1.0 well-formed and right."""
    form = think(response, task)
    if form.status != "ok":
        return form
    verdict = math_reward(response, task)
    if verdict.status in ("wrong", "unparseable"):
        return Score(value=credit, status=verdict.status, detail=f"well-formed; {verdict.detail}")
    return verdict  # right, or a check that broke
