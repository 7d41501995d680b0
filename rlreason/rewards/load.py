"""Turns a user's reward function, whichever trainer it was written for, into `score(response, task) -> Score`.

Recognised by parameter names: ours `reward(response, task)`, TRL, verl, OpenRLHF; sync or async. A function that
throws or returns nonsense gives `verifier_error` with the reason, never a silent 0.0.
Loads and runs the file in this process, without a deadline: `combine` does that in a child.
"""

import asyncio
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import asdict
from typing import Any, get_args

from rlreason.paths import find_function
from rlreason.types import Score, ScoreStatus, Task, UserError

ScoreFunction = Callable[[str, Task], Score]
_Caller = Callable[[str, Task], Any]
"""Calls the user's function with the arguments of its own trainer, and returns its bare verdict."""

ACCEPTED = (
    "reward(response, task); TRL f(prompts, completions, **columns); "
    "verl compute_score(data_source, solution_str, ground_truth, extra_info=None); "
    "OpenRLHF reward_func(queries, prompts, labels)"
)
_LARGEST = sys.float_info.max
NO_VERDICT = Score(value=0.0, status="unparseable", detail="no verdict")


def load_reward(path: str, *, timeout_s: float | None = None) -> ScoreFunction:
    """The function that `FILE.py:FN` or `package.module:FN` names. UserError, one line, if there is no such thing.

    timeout_s is handed on to a function of our own form that has a parameter of that name.
    """
    function = find_function(path)
    call = _adapt(function, path, timeout_s)

    def score(response: str, task: Task) -> Score:
        try:
            verdict = call(response, task)
            if inspect.isawaitable(verdict):
                verdict = asyncio.run(_wait(verdict))
            return to_score(verdict)
        # The reward boundary: whatever a user's function throws is a typed verdict.
        except Exception:
            return Score(value=0.0, status="verifier_error", detail=traceback.format_exc(limit=-20))

    return score


def load_wire_reward(path: str, timeout_s: float) -> Callable[[str, Task], dict[str, Any]]:
    """`load_reward` for the far side of a pipe: the score as a dict."""
    score = load_reward(path, timeout_s=timeout_s)
    return lambda response, task: asdict(score(response, task))


def to_score(verdict: Any) -> Score:
    """A float, int or bool becomes a Score: `ok` above 0, else `wrong`. What is no finite number is a broken checker.

    None means no verdict. Numpy scalars and one-element tensors count as numbers.
    """
    if verdict is None:
        return NO_VERDICT
    status: Any = None
    detail: Any = ""
    value = verdict
    if isinstance(verdict, Score):
        value, status, detail = verdict.value, verdict.status, verdict.detail
    value = _plain(value)
    while isinstance(value, list) and len(value) == 1 and not isinstance(verdict, list):
        value = value[0]  # a tensor of one element
    if not isinstance(value, int | float) or not -_LARGEST <= value <= _LARGEST:  # NaN compares as False
        shown = repr(value)[:200]
        message = f"the reward gave {shown} ({type(value).__name__}), not a finite number"
        return Score(value=0.0, status="verifier_error", detail=message)
    if status is None:
        status = "ok" if value > 0 else "wrong"
    elif status not in get_args(ScoreStatus):
        return Score(value=0.0, status="verifier_error", detail=f"the reward gave the unknown status {status!r}")
    return Score(value=float(value), status=status, detail=str(detail))


def _plain(value: Any) -> Any:
    """Numpy and torch values know how to become Python's, without either being imported here."""
    return value.tolist() if hasattr(value, "tolist") else value


async def _wait(verdict: Awaitable[Any]) -> Any:
    return await verdict


def _adapt(function: Callable[..., Any], path: str, timeout_s: float | None) -> _Caller:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} has no signature that can be read; accepted are: {ACCEPTED}") from error
    by_name = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    form = _form(by_name.keys(), timeout_s)
    if form is None or any(p.kind is p.POSITIONAL_ONLY for p in parameters.values()):
        raise UserError(f"{path}({', '.join(parameters)}) is not a known form of reward; accepted are: {ACCEPTED}")
    arguments_for, verdict_of = form
    required = {name for name, p in by_name.items() if p.default is p.empty}
    extra = sorted(required - {"response", "task", "timeout_s"})
    if verdict_of is _own_verdict and extra:
        raise UserError(f"{path} wants more than a response and a task: {', '.join(extra)}; accepted are: {ACCEPTED}")

    def call(response: str, task: Task) -> Any:
        given = arguments_for(response, task)
        missing = sorted(required - given.keys())
        if missing:
            raise KeyError(f"the reward wants {missing}, the task has {sorted(given)}")
        result = function(**(given if takes_all else {k: v for k, v in given.items() if k in by_name}))
        return _later(result, verdict_of) if inspect.isawaitable(result) else verdict_of(result)

    return call


def _form(
    names: Set[str], timeout_s: float | None
) -> tuple[Callable[[str, Task], dict[str, Any]], Callable[[Any], Any]] | None:
    """How to make the arguments and how to read the verdict, told by the parameters' names."""
    if {"response", "task"} <= names:
        return _own_arguments(timeout_s), _own_verdict
    if {"solution_str", "ground_truth"} <= names:
        return _verl_arguments, _verl_verdict
    if {"queries", "prompts"} <= names:
        return _openrlhf_arguments, _batch_verdict
    if "completions" in names:
        return _trl_arguments, _batch_verdict
    return None


async def _later(result: Awaitable[Any], verdict_of: Callable[[Any], Any]) -> Any:
    return verdict_of(await result)


def _own_arguments(timeout_s: float | None) -> Callable[[str, Task], dict[str, Any]]:
    extra = {} if timeout_s is None else {"timeout_s": timeout_s}
    return lambda response, task: {"response": response, "task": task, **extra}


def _trl_arguments(response: str, task: Task) -> dict[str, Any]:
    """Batch of one. A chat task gives chat completions, as TRL does; each column is a list."""
    columns = {name: [value] for name, value in _columns(task).items()}
    if isinstance(task.prompt, str):
        return {**columns, "prompts": [task.prompt], "completions": [response]}
    chat = [dict(message) for message in task.prompt]
    return {**columns, "prompts": [chat], "completions": [[{"role": "assistant", "content": response}]]}


def _verl_arguments(response: str, task: Task) -> dict[str, Any]:
    return {
        "data_source": task.source,
        "solution_str": response,
        "ground_truth": _answer(task),
        "extra_info": dict(task.columns),
    }


def _openrlhf_arguments(response: str, task: Task) -> dict[str, Any]:
    """queries hold prompt and response in one text, labels the gold answers."""
    prompt = task.prompt if isinstance(task.prompt, str) else "\n".join(m["content"] for m in task.prompt)
    return {"queries": [prompt + response], "prompts": [prompt], "labels": [_answer(task)]}


def _columns(task: Task) -> dict[str, Any]:
    own = {"answer": _answer(task), "source": task.source, "tests": [dict(test) for test in task.tests]}
    return {**own, **task.columns}


def _answer(task: Task) -> str | list[str] | None:
    return list(task.answer) if isinstance(task.answer, tuple) else task.answer


def _own_verdict(result: Any) -> Any:
    if result is None:
        raise TypeError("the reward returned None: a missing `return`?")
    return result


def _verl_verdict(result: Any) -> Any:
    return _own_verdict(result["score"] if isinstance(result, Mapping) else result)


def _batch_verdict(result: Any) -> Any:
    """The one verdict of a batch of one; None is TRL's way to say that there is none."""
    result = _plain(result["rewards"] if isinstance(result, Mapping) else result)
    if isinstance(result, str) or not isinstance(result, Sequence):
        return _own_verdict(result)
    if len(result) != 1:
        raise ValueError(f"the reward gave {len(result)} values for one completion")
    return result[0]
