"""Turns a user's reward function, whichever trainer it was written for, into `score(attempts) -> scores`.

Recognised by parameter names: ours for one response or for many, TRL, verl, OpenRLHF; sync or async. A function that
throws or returns nonsense gives `verifier_error` with the reason, never a silent 0.0.
Loads and runs the file in this process; bounds only what awaits: `reward_set` gives the rest a deadline in a child.
"""

import asyncio
import difflib
import inspect
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from rlreason.paths import find_function
from rlreason.types import Score, ScoreStatus, Task, UserError

ACCEPTED = (
    "reward(response, task); reward(responses, tasks); TRL f(prompts, completions, **columns); "
    "verl compute_score(data_source, solution_str, ground_truth, extra_info=None), or with all four in the plural; "
    "OpenRLHF reward_func(queries, prompts, labels)"
)
FACTS = frozenset({"timeout_s", "num_tokens", "truncated"})
"""What a function of our own form gets only if it has a parameter of that name."""
TOKEN_IDS = frozenset({"completion_ids", "prompt_ids"})
"""What a TRL function is given of a sample's tokens, where it asks."""
NOT_GIVEN = frozenset({"trainer_state", "log_extra", "log_metric", "environments"})
"""What TRL gives its functions and this trainer does not: a verdict depends on response and task alone."""
DEFAULT_TIMEOUT_S = 5.0
"""Deadline of a function that has no default of its own."""
_TASK_COLUMNS = frozenset({"answer", "source", "tests"})
"""What every task has, whatever its row."""
_LARGEST = sys.float_info.max
NO_VERDICT = Score(value=0.0, status="unparseable", detail="no verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One response to one task, as the rewards see it.

    Example: Attempt(response="7", task=task, num_tokens=2, truncated=False)
    """

    response: str
    task: Task
    num_tokens: int | None = None
    """Tokens that the policy wrote; None where nobody counted them."""
    truncated: bool | None = None
    """Cut off at the token limit; None where that is not known."""
    prompt_ids: tuple[int, ...] | None = None
    """Tokens of the prompt; None where no reward asks for them."""
    completion_ids: tuple[int, ...] | None = None
    """Tokens that the policy wrote, its end token included; None where no reward asks for them."""
    row: int = 0
    """Its number in the arrays that the ids are taken from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What is known of a reward function once it is loaded."""

    form: str
    """The trainer that it was written for, "" for ours."""
    takes_many: bool
    """Many attempts cost one call (batched) or wait side by side (async)."""
    timeout_s: float
    """Deadline of one response, in seconds."""
    columns: tuple[str, ...] = ()
    """Columns that each row must have."""
    wants_token_ids: bool = False
    """It reads `Attempt.completion_ids` or `prompt_ids`, or may: it takes any keyword."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """A function that was found and understood."""

    score: Callable[[Sequence[Attempt]], list[Score]]
    """A Score for each attempt, in their order; never raises for what the function does."""
    traits: Traits

    @property
    def takes_many(self) -> bool:
        return self.traits.takes_many


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    name: str
    told_by: Set[str]
    """Parameters that give the form away."""
    fills: Set[str]
    """Parameters that are filled in from the sample."""
    arguments: Callable[[Sequence[Attempt]], dict[str, Any]]
    verdicts: Callable[[Any, int], Sequence[Any]]
    """From the function's result and the number of attempts."""
    is_batched: bool = False
    """One call for all attempts; else one each."""
    has_facts: bool = False
    """It may ask for FACTS as well."""
    has_columns: bool = False
    """Any other parameter is a column of the row."""
    hint: Callable[[Exception, Attempt], str] = lambda error, attempt: ""
    """What may be behind an exception, "" for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Understood:
    form: _Form
    arguments_for: Callable[[Sequence[Attempt]], dict[str, Any]]
    columns: tuple[str, ...]
    wants_token_ids: bool


def load_reward(
    path: str, *, timeout_s: float | None = None, args: Mapping[str, Any] | None = None, bounds_itself: bool = False
) -> Reward:
    """The function that `FILE.py:FN` or `package.module:FN` names. UserError, one line, if there is no such thing.

    timeout_s: of one response; None: the default of the function's own parameter of that name, else
    DEFAULT_TIMEOUT_S. A function of our own form that has the parameter is told, and an async function's await is cut
    there unless it `bounds_itself`. args: keyword arguments; UserError for one that the function does not have.
    """
    function = find_function(path)
    limit_s = timeout_s or own_timeout_s(function, args or {})
    understood = _understand(function, path, {"timeout_s": limit_s}, dict(args or {}))
    form, arguments_for = understood.form, understood.arguments_for
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)

    async def wait_for(attempts: Sequence[Attempt]) -> list[Score]:
        limit = asyncio.timeout(None if bounds_itself else limit_s * len(attempts))
        try:
            async with limit:
                result = await function(**arguments_for(attempts))
            return _to_scores(form, result, len(attempts))
        # The reward boundary: whatever a user's function throws is a typed verdict.
        except Exception as error:
            if limit.expired():
                late = Score(value=0.0, status="timeout", detail=f"no verdict within {limit_s:g} s")
                return [late] * len(attempts)
            return _broken(len(attempts), form.hint(error, attempts[0]))

    async def wait_for_all(calls: list[Sequence[Attempt]]) -> list[list[Score]]:
        return await asyncio.gather(*map(wait_for, calls))

    def run(attempts: Sequence[Attempt]) -> list[Score]:
        try:
            result = function(**arguments_for(attempts))
            if inspect.isawaitable(result):  # an async function in a decorator that does not show it
                result = asyncio.run(_awaited(result))
            return _to_scores(form, result, len(attempts))
        except Exception as error:
            return _broken(len(attempts), form.hint(error, attempts[0]))

    def score(attempts: Sequence[Attempt]) -> list[Score]:
        calls = [attempts] if form.is_batched else [[attempt] for attempt in attempts]
        found = asyncio.run(wait_for_all(calls)) if is_async else map(run, calls)
        return [one for scores in found for one in scores]

    traits = Traits(
        form=form.name,
        takes_many=form.is_batched or is_async,
        timeout_s=limit_s,
        columns=understood.columns,
        wants_token_ids=understood.wants_token_ids,
    )
    return Reward(score=score, traits=traits)


def load_wire_reward(
    path: str, timeout_s: float | None, args: dict[str, Any]
) -> Callable[[Sequence[Attempt] | None], Any]:
    """`load_reward` for the far side of a pipe: scores as dicts. None instead of attempts asks for the traits.

    Where the function's file uses `math`, sympy's process is started here: its seconds are no response's.
    """
    reward = load_reward(path, timeout_s=timeout_s, args=args)
    if (math := sys.modules.get("rlreason.rewards.math")) is not None:
        with suppress(UserError):
            math.prepare()
    return lambda attempts: (
        asdict(reward.traits) if attempts is None else [asdict(one) for one in reward.score(attempts)]
    )


def own_timeout_s(function: Callable[..., Any], args: Mapping[str, Any]) -> float:
    """What `args` or the default of the function's `timeout_s` parameter say, else DEFAULT_TIMEOUT_S."""
    try:
        parameter = inspect.signature(function).parameters.get("timeout_s")
    except (TypeError, ValueError):
        parameter = None
    own = args.get("timeout_s", None if parameter is None else parameter.default)
    return float(own) if isinstance(own, int | float) and 0 < own <= _LARGEST else DEFAULT_TIMEOUT_S


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


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def _to_scores(form: _Form, result: Any, num: int) -> list[Score]:
    return [to_score(verdict) for verdict in form.verdicts(result, num)]


def _broken(num: int, hint: str) -> list[Score]:
    """The exception being handled as a verdict, `hint` in its last line; a batch has one for all."""
    detail = traceback.format_exc(limit=-20).rstrip() + (f" ({hint})" if hint else "")
    return [Score(value=0.0, status="verifier_error", detail=detail)] * num


def _understand(function: Callable[..., Any], path: str, told: Mapping[str, Any], args: dict[str, Any]) -> _Understood:
    """The function's form, and how to make its arguments. UserError where it is none, or `args` do not fit."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} has no signature that can be read; accepted are: {ACCEPTED}") from error
    by_name = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    form = next((form for form in _FORMS if form.told_by <= by_name.keys()), None)
    if form is None or any(p.kind is p.POSITIONAL_ONLY for p in parameters.values()):
        raise UserError(f"{path}({', '.join(parameters)}) is not a known form of reward; accepted are: {ACCEPTED}")
    ours = form.fills | (FACTS if form.has_facts else set())
    _check_args(path, args, settable=by_name.keys() - ours, ours=ours, takes_all=takes_all)
    required = {name for name, p in by_name.items() if p.default is p.empty}
    extra = required - ours - args.keys()
    refused = sorted(extra & NOT_GIVEN if form.has_columns else extra)
    if refused:
        raise UserError(
            f"{path} wants more than it is given: {', '.join(refused)}; set them by `args` or give them defaults; "
            f"accepted are: {ACCEPTED}"
        )

    def arguments_for(attempts: Sequence[Attempt]) -> dict[str, Any]:
        given = form.arguments(attempts)
        if form.has_facts:
            facts = {**told, **_facts(attempts, as_lists=form.is_batched)}
            given |= {name: fact for name, fact in facts.items() if name in by_name and fact is not None}
        given |= args
        missing = sorted(required - given.keys())
        if missing:
            raise KeyError(f"the reward wants {missing}, the task has {sorted(given)}")
        return given if takes_all else {name: value for name, value in given.items() if name in by_name}

    asks_for_ids = takes_all or bool(TOKEN_IDS & by_name.keys() - args.keys())
    return _Understood(
        form=form,
        arguments_for=arguments_for,
        columns=tuple(sorted(extra - TOKEN_IDS - _TASK_COLUMNS)) if form.has_columns else (),
        wants_token_ids=form.has_columns and asks_for_ids,
    )


def _check_args(path: str, args: Mapping[str, Any], *, settable: Set[str], ours: Set[str], takes_all: bool) -> None:
    for name in args:
        if name in ours:
            raise UserError(f"{path}: `args.{name}` is what the function is given of the sample; take it out")
        if name not in settable and not takes_all:
            near = difflib.get_close_matches(name, settable, n=1, cutoff=0.5)
            known = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(sorted(settable)) or 'none to set'}"
            raise UserError(f"{path} has no parameter `{name}`, which `args` sets; {known}")


def _facts(attempts: Sequence[Attempt], *, as_lists: bool) -> dict[str, Any]:
    """None where one is not known: the function's own default holds."""
    if not as_lists:
        return {"num_tokens": attempts[0].num_tokens, "truncated": attempts[0].truncated}
    counts = [attempt.num_tokens for attempt in attempts]
    cut = [attempt.truncated for attempt in attempts]
    return {"num_tokens": None if None in counts else counts, "truncated": None if None in cut else cut}


def _own_arguments(attempts: Sequence[Attempt]) -> dict[str, Any]:
    return {"response": attempts[0].response, "task": attempts[0].task}


def _own_batch_arguments(attempts: Sequence[Attempt]) -> dict[str, Any]:
    return {"responses": [a.response for a in attempts], "tasks": [a.task for a in attempts]}


def _trl_arguments(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """Each column is a list, None where a row has no such column. A chat task gives chat completions, as TRL does."""
    rows = [_columns(attempt.task) for attempt in attempts]
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    prompts: list[Any] = []
    completions: list[Any] = []
    for attempt in attempts:
        if isinstance(attempt.task.prompt, str):
            prompts.append(attempt.task.prompt)
            completions.append(attempt.response)
        else:
            prompts.append([dict(message) for message in attempt.task.prompt])
            completions.append([{"role": "assistant", "content": attempt.response}])
    given = {**columns, "prompts": prompts, "completions": completions}
    for name in TOKEN_IDS:
        ids = [getattr(attempt, name) for attempt in attempts]
        if None not in ids:
            given[name] = [list(one) for one in ids]
    return given


def _trl_hint(error: Exception, attempt: Attempt) -> str:
    """A function that takes text for messages, or messages for text."""
    message = str(error)
    if isinstance(attempt.task.prompt, str):
        if re.search(r"string ind|'str' object has no attribute", message):
            return 'prompts and completions are plain text here: read completion, not completion[0]["content"]'
    elif isinstance(error, TypeError | AttributeError) and re.search(r"\b(?:list|dict)\b", message):
        return 'prompts and completions are chats here: the text is completion[0]["content"]'
    return ""


def _verl_arguments(attempts: Sequence[Attempt]) -> dict[str, Any]:
    return {name: values[0] for name, values in _verl_columns(attempts, plural="").items()}


def _verl_batch_arguments(attempts: Sequence[Attempt]) -> dict[str, Any]:
    return _verl_columns(attempts, plural="s")


def _verl_columns(attempts: Sequence[Attempt], plural: str) -> dict[str, list[Any]]:
    """extra_info is the row's column of that name, with the row's other columns beside it."""
    tasks = [attempt.task for attempt in attempts]
    infos = [task.columns.get("extra_info") for task in tasks]
    values: dict[str, list[Any]] = {
        "data_source": [task.columns.get("data_source") or task.source for task in tasks],
        "solution_str": [attempt.response for attempt in attempts],
        "ground_truth": [_answer(task) for task in tasks],
        "extra_info": [
            {**task.columns, **info} if isinstance(info, Mapping) else dict(task.columns)
            for task, info in zip(tasks, infos, strict=True)
        ],
    }
    return {name + plural: value for name, value in values.items()}


def _openrlhf_arguments(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """queries hold prompt and response in one text, labels the gold answers."""
    prompts = [
        a.task.prompt if isinstance(a.task.prompt, str) else "\n".join(m["content"] for m in a.task.prompt)
        for a in attempts
    ]
    queries = [prompt + attempt.response for prompt, attempt in zip(prompts, attempts, strict=True)]
    return {"queries": queries, "prompts": prompts, "labels": [_answer(attempt.task) for attempt in attempts]}


def _columns(task: Task) -> dict[str, Any]:
    own = {"answer": _answer(task), "source": task.source, "tests": [dict(test) for test in task.tests]}
    return {**own, **task.columns}


def _answer(task: Task) -> str | list[str] | None:
    return list(task.answer) if isinstance(task.answer, tuple) else task.answer


def _one_verdict(result: Any, num: int) -> Sequence[Any]:
    assert num == 1, num
    return [_no_none(result)]


def _verl_verdict(result: Any, num: int) -> Sequence[Any]:
    return _one_verdict(_verl_score(result), num)


def _verl_batch_verdicts(result: Any, num: int) -> Sequence[Any]:
    return [_no_none(_verl_score(one)) for one in _batch_verdicts(result, num)]


def _verl_score(result: Any) -> Any:
    return result["score"] if isinstance(result, Mapping) else result


def _own_batch_verdicts(result: Any, num: int) -> Sequence[Any]:
    return [_no_none(verdict) for verdict in _batch_verdicts(result, num)]


def _batch_verdicts(result: Any, num: int) -> Sequence[Any]:
    """One each; None is TRL's way to say that there is none. A bare number serves a batch of one."""
    result = _plain(result["rewards"] if isinstance(result, Mapping) else result)
    if num == 1 and (isinstance(result, str) or not isinstance(result, Sequence)):
        result = [_no_none(result)]
    if isinstance(result, str) or not isinstance(result, Sequence):
        raise TypeError(
            f"the reward gave {repr(result)[:200]} ({type(result).__name__}) for {num} responses, not a list"
        )
    if len(result) != num:
        raise ValueError(f"the reward gave {len(result)} values for {num} responses")
    return result


def _no_none(result: Any) -> Any:
    if result is None:
        raise TypeError("the reward returned None: a missing `return`?")
    return result


_TRL = _Form(
    name="TRL",
    told_by={"completions"},
    fills={"prompts", "completions"} | TOKEN_IDS,
    arguments=_trl_arguments,
    verdicts=_batch_verdicts,
    is_batched=True,
    has_columns=True,
    hint=_trl_hint,
)
_FORMS = (
    _Form(
        name="",
        told_by={"response", "task"},
        fills={"response", "task"},
        arguments=_own_arguments,
        verdicts=_one_verdict,
        has_facts=True,
    ),
    _Form(
        name="",
        told_by={"responses", "tasks"},
        fills={"responses", "tasks"},
        arguments=_own_batch_arguments,
        verdicts=_own_batch_verdicts,
        is_batched=True,
        has_facts=True,
    ),
    _Form(
        name="verl",
        told_by={"solution_str", "ground_truth"},
        fills={"data_source", "solution_str", "ground_truth", "extra_info"},
        arguments=_verl_arguments,
        verdicts=_verl_verdict,
    ),
    _Form(
        name="verl",
        told_by={"solution_strs", "ground_truths"},
        fills={"data_sources", "solution_strs", "ground_truths", "extra_infos"},
        arguments=_verl_batch_arguments,
        verdicts=_verl_batch_verdicts,
        is_batched=True,
    ),
    _Form(
        name="OpenRLHF",
        told_by={"queries", "prompts"},
        fills={"queries", "prompts", "labels"},
        arguments=_openrlhf_arguments,
        verdicts=_batch_verdicts,
        is_batched=True,
    ),
    _TRL,
    replace(_TRL, told_by={"completion_ids"}),  # TRL's length rewards read nothing else
)
