r"""Checks a mathematical answer against the gold one. Needs no torch, Ray or vLLM; sympy runs in workers only.

Numbers are compared exactly in this process; what is left goes to sympy in a worker that the deadline kills.
Several different answers side by side are wrong unless the gold is that set. Nothing of the response is evaluated
as Python. Does not convert units, does not read prose, does not judge the reasoning.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from rlreason.rewards.math import workers
from rlreason.rewards.math.compare import UndecidedError, compare, compare_parts
from rlreason.rewards.math.extract import Extracted, boxed_gold, final_answer
from rlreason.rewards.math.normalise import normalise
from rlreason.rewards.math.workers import Budget
from rlreason.types import Score, ScoreStatus, Task, UserError

MAX_ANSWER_CHARS = 512
"""Of an answer, or twice the gold's length where that is more; a longer one is wrong."""
_CACHE_SIZE = 1 << 16


def verify(response: str, gold: str | list[str], *, timeout_s: float = 5.0) -> Score:
    r"""Score 1.0 if the response's final answer equals the gold one, or any one of several golds.

    A gold may be bare LaTeX, `$..$`, `\boxed{..}` or a GSM8K solution that ends in `#### 42`.
    Status: ok, wrong, unparseable (no answer found), timeout (timeout_s seconds per gold, or
    `workers.CPU_LIMIT_S` of processor time in one comparison), verifier_error (the gold cannot be read, or a
    worker died).
    """
    golds = [_gold_text(one) for one in ([gold] if isinstance(gold, str) else gold)]
    if not any(golds):
        return Score(value=0.0, status="verifier_error", detail="the gold answer is empty")
    found = final_answer(response)
    if found is None:
        return _NO_ANSWER
    scores = [_judge(found, one, timeout_s) for one in golds]
    # A right answer stands whatever the other golds did; a failed check must not pass for a wrong answer.
    order: Sequence[ScoreStatus] = ("ok", "timeout", "verifier_error", "wrong", "unparseable")
    return min(scores, key=lambda score: order.index(score.status))


def reward(response: str, task: Task, *, timeout_s: float = 5.0) -> Score:
    """`verify` against the task's own answer."""
    if task.answer is None:
        return Score(value=0.0, status="verifier_error", detail=f"task {task.id} has no answer to compare with")
    return verify(response, task.answer if isinstance(task.answer, str) else list(task.answer), timeout_s=timeout_s)


def prepare(**_: Any) -> str:
    """Starts a comparing process, says in one line how it is confined. UserError if it does not start."""
    try:
        abi = workers.landlock()
    except OSError as error:
        raise UserError(f"the comparing process does not start: {error}") from None
    how = f"Landlock {abi}, seccomp and a memory limit" if abi else "a memory limit alone: Landlock cannot be had here"
    return f"sympy runs in processes confined by {how}"


_NO_ANSWER = Score(value=0.0, status="unparseable", detail="no final answer in the response")


def _judge(found: Extracted, gold: str, timeout_s: float) -> Score:
    try:
        return _decide(found.parts, gold, timeout_s)
    except UndecidedError as undecided:
        return Score(value=0.0, status=undecided.status, detail=undecided.detail)


@lru_cache(maxsize=_CACHE_SIZE)
def _decide(parts: tuple[str, ...], gold: str, timeout_s: float) -> Score:
    """Remembers verdicts; an UndecidedError passes the cache: a deadline missed under load must not stick."""
    budget = Budget(left_s=timeout_s)
    num_chars = sum(map(len, parts))
    if num_chars > max(MAX_ANSWER_CHARS, 2 * len(gold)):
        return Score(value=0.0, status="wrong", detail=f"refused: an answer of {num_chars} characters")
    gold = _normal_gold(gold)
    answers = [normalise(part) for part in parts]
    if not all(answers):
        return _NO_ANSWER
    if not gold:
        raise UndecidedError("verifier_error", "the gold answer is empty")
    verdict = compare(answers[0], gold, budget) if len(answers) == 1 else compare_parts(answers, gold, budget)
    return Score(value=float(verdict.equal), status="ok" if verdict.equal else "wrong", detail=verdict.detail)


_normal_gold = lru_cache(maxsize=_CACHE_SIZE)(normalise)


@lru_cache(maxsize=_CACHE_SIZE)
def _gold_text(gold: str) -> str:
    """Bare LaTeX out of the forms that data sets use."""
    if "####" in gold:
        return gold.rpartition("####")[2].strip()
    if r"\boxed" in gold or r"\fbox" in gold:
        found = final_answer(gold)
        gold = boxed_gold(gold) or (", ".join(found.parts) if found is not None else gold)
    gold = gold.strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        if len(gold) > len(opening + closing) and gold.startswith(opening) and gold.endswith(closing):
            return gold[len(opening) : -len(closing)].strip()
    return gold
