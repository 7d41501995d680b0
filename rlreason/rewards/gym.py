r"""Reward for reasoning-gym's tasks (`rlreason.tasks.gym:tasks`): the generator's own verifier on the final answer.

The final answer is what `extract` finds in a box, in <answer> tags or after "the answer is"; of a response without
such a mark it may also be the whole text after the thought, as for grids.
Verifiers run in a child with a deadline. Some of them evaluate the answer as Python or through sympy's parser, which
does the same: those see only answers that can name no function but a few of mathematics. Does not mend verifiers:
`rlreason.tasks.gym.UNSOUND` lists those that are refused.
"""

import ast
import functools
import importlib
import json
import os
import re
from typing import Any, Final

from rlreason.rewards.math.extract import WINDOW_CHARS, final_answer
from rlreason.rewards.runtime.bounded import call_bounded
from rlreason.rewards.runtime.response import after_thought
from rlreason.types import Score, Task, UserError

_CHILD: Final = "rlreason.rewards.gym:child_score"
_MARK: Final = re.compile(r"\\f?boxed\b|\\fbox\b|</answer>|####|\banswer\s*(?:\*\*)?\s*(?:is|:|=)", re.IGNORECASE)
_WORDS: Final = re.compile(r"[\w\s-]*", re.ASCII)
_FORMULA: Final = re.compile(r"(?!.*\.\s*[A-Za-z_])[\w\s+\-*/^(),.]*", re.ASCII | re.DOTALL)
_FUNCTIONS: Final = {"sin", "cos", "tan", "exp", "log", "sqrt", "asin", "acos", "atan"}
EVALUATED: Final = {
    "binary_matrix": _WORDS,
    "n_queens": _WORDS,
    "spiral_matrix": _WORDS,
    "string_insertion": _WORDS,
    "countdown": _FORMULA,
    "polynomial_multiplication": _FORMULA,
    "simple_integration": _FORMULA,
}
"""Generators whose verifier evaluates the answer as Python, with the form that every right answer has."""


def reward(response: str, task: Task, *, partial: bool = False, timeout_s: float = 5.0) -> Score:
    """1.0 where the task's own verifier gives full marks, else 0.0.

    partial: the verifier's share of the marks instead, which many give for an answer of the right form alone.
    timeout_s: seconds of one verdict; past it the status is `timeout`.
    """
    found = task.columns.get("gym")
    if not (isinstance(found, dict) and {"name", "args", "entry"} <= found.keys()):
        detail = f"task {task.id} has no column `gym`; its tasks come from rlreason.tasks.gym:tasks"
        return Score(value=0.0, status="verifier_error", detail=detail)
    best = Score(value=0.0, status="unparseable", detail="no final answer in the response")
    for answer in _candidates(response):
        if not _is_harmless(found["name"], answer):
            verdict = Score(value=0.0, status="wrong", detail="refused: not of the form of this task's answers")
        else:
            verdict = _verdict(found, answer, partial=partial, timeout_s=timeout_s)
        if verdict.status not in ("ok", "wrong", "unparseable"):
            return verdict
        if verdict.value > best.value or best.status == "unparseable":
            best = verdict
    return best


def prepare(**args: Any) -> str:
    """Raises UserError where the package is missing; else its version, for the run's log."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"reasoning-gym {version('reasoning-gym')}"
    except PackageNotFoundError:
        raise UserError(
            "the reward `gym` needs the package reasoning-gym; install it with pip install 'reasoning-gym==0.1.25'"
        ) from None


def _candidates(response: str) -> list[str]:
    found = final_answer(response)
    # Several answers side by side commit to none.
    answers = [found.parts[0]] if found is not None and len(found.parts) == 1 else []
    whole = after_thought(response).strip()
    if whole and len(whole) <= WINDOW_CHARS and not _MARK.search(whole) and whole not in answers:
        answers.append(whole)
    return answers


def _is_harmless(name: str, answer: str) -> bool:
    """Whether the verifier may see it: one that evaluates Python must not be given a program."""
    form = EVALUATED.get(name)
    if form is None:
        return True
    names = re.findall(r"[A-Za-z_]+", answer) if form is _FORMULA else []
    return form.fullmatch(answer) is not None and all(len(word) == 1 or word in _FUNCTIONS for word in names)


def _verdict(found: dict[str, str], answer: str, *, partial: bool, timeout_s: float) -> Score:
    text = answer.encode("utf-8", "replace").decode()  # a lone surrogate breaks printing verifiers
    result = call_bounded(_CHILD, found["name"], found["args"], found["entry"], text, timeout_s=timeout_s)
    if isinstance(result, Score):
        return result
    value, error = result
    if error:
        return Score(value=0.0, status="unparseable", detail=f"the verifier cannot read the answer: {error}")
    is_right = value >= 1.0
    value = float(is_right) if not partial else min(max(value, 0.0), 1.0)
    return Score(value=value, status="ok" if is_right else "wrong", detail=f"{found['name']}: {value:g}")


def child_score(name: str, args: str, entry: str, answer: str) -> tuple[float, str]:
    """(marks, error) of the verifier; the error says what it stumbled over in the answer. Runs in the child."""
    problem = ast.literal_eval(entry)
    verify = _verifier(name, args)
    try:
        return float(verify(answer, problem)), ""
    except Exception as error:
        # A verifier that accepts its own gold works: it was this answer that it could not read.
        gold = problem["answer"]
        if gold is not None and verify(gold, ast.literal_eval(entry)) < 1.0:
            raise
        return 0.0, repr(error)[:300]


@functools.lru_cache(maxsize=32)
def _verifier(name: str, args: str) -> Any:
    # The child's memory is bounded, and each BLAS thread takes some of it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    library = importlib.import_module("reasoning_gym.factory")
    return library.create_dataset(name, seed=0, size=1, **json.loads(args)).score_answer
