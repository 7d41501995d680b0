"""Length rewards, in response tokens. Values are 0.0 or below: a penalty to add to a correctness reward.

`ok` means nothing to penalise, `wrong` that there was. They do not read the answer; a missing token count is
`verifier_error`, never a guess from characters.
"""

from rlreason.types import Score, Task, UserError


def overlong(response: str, task: Task, *, max_tokens: int, buffer_tokens: int, num_tokens: int | None = None) -> Score:
    """Soft overlong punishment of DAPO (arXiv 2503.14476, eq. 13), in [-1, 0].

    0 up to max_tokens - buffer_tokens, falls linearly to -1 at max_tokens, -1 beyond.
    max_tokens: L_max, `rollout.max_response_tokens` of the run; buffer_tokens: L_cache, the length of the ramp.
    """
    if not 0 < buffer_tokens <= max_tokens:
        raise UserError(f"buffer_tokens is {buffer_tokens}: it must be from 1 to max_tokens ({max_tokens})")
    free_tokens = max_tokens - buffer_tokens
    return _penalty(num_tokens, free_tokens=free_tokens, ramp_tokens=buffer_tokens)


def budget(
    response: str,
    task: Task,
    *,
    budget_tokens: int | None = None,
    budget_column: str | None = None,
    num_tokens: int | None = None,
) -> Score:
    """Penalty for going over a budget, relative to it, in [-1, 0]: 0 up to it, -1 from twice the budget on.

    Give one of budget_tokens, the same for all tasks, and budget_column, a column of the row, as in L1
    (arXiv 2503.04697), whose prompts name their own budget. L1's penalty is absolute; this one is one-sided and
    relative, so that one weight fits short and long tasks.
    """
    if (budget_tokens is None) == (budget_column is None):
        raise UserError("the length reward wants exactly one of budget_tokens and budget_column")
    tokens = budget_tokens if budget_column is None else task.columns.get(budget_column)
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        where = "budget_tokens" if budget_column is None else f"column {budget_column!r} of task {task.id}"
        raise UserError(f"{where} is {tokens!r}: a budget is a whole number of tokens above 0")
    return _penalty(num_tokens, free_tokens=tokens, ramp_tokens=tokens)


def overlong_penalty(num_tokens: int, free_tokens: float, ramp_tokens: float) -> float:
    """0 up to `free_tokens`, then along a line to -1 `ramp_tokens` further, and no lower."""
    return min(0.0, max(-1.0, (free_tokens - num_tokens) / ramp_tokens))


def _penalty(num_tokens: int | None, *, free_tokens: int, ramp_tokens: int) -> Score:
    if num_tokens is None:
        return Score(value=0.0, status="verifier_error", detail="the number of response tokens is not known")
    value = overlong_penalty(num_tokens, free_tokens, ramp_tokens)
    detail = f"{num_tokens} tokens, free up to {free_tokens}"
    return Score(value=value, status="wrong" if value else "ok", detail=detail)
