"""Runs the rewards that a configuration names on responses.

Users' functions run in a child with a deadline, so a hang or a crash is a typed verdict; `rlreason.rewards.*`
functions bound themselves and run here. Thread-safe; functions run one after the other, an async one's awaits side by
side. Does not combine values or decide what a failed check costs: `combine` and the configuration do.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rlreason.config.rewards import RewardConfig
from rlreason.paths import find_function
from rlreason.rewards.runtime.killable import Crashed, KillableFunction, Raised, Result, Returned, TimedOut
from rlreason.rewards.runtime.load import DEFAULT_TIMEOUT_S, Attempt, Reward, Traits, load_reward, to_score
from rlreason.types import Score, Task, UserError

_LOADER = "rlreason.rewards.runtime.load:load_wire_reward"


class RewardSet:
    """The rewards of one run. Nothing is loaded before `check` or the first score."""

    def __init__(self, rewards: Sequence[RewardConfig], *, load_timeout_s: float = 60.0) -> None:
        names = [reward.name for reward in rewards]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"two rewards are called {twice[0]!r}: give each its own name")
        self.rewards = tuple(rewards)
        self._shipped: dict[str, Reward] = {}
        self._traits: dict[str, Traits] = {}
        self._children = {
            reward.name: KillableFunction(
                _LOADER,
                factory_args=(reward.path, reward.timeout_s, reward.args),
                timeout_s=reward.timeout_s or DEFAULT_TIMEOUT_S,
                memory_bytes=None if reward.memory_gib is None else int(reward.memory_gib * 2**30),
                start_timeout_s=load_timeout_s,
                keep_environment=reward.env,
            )
            for reward in rewards
            if not reward.is_shipped
        }

    def check(self, tasks: Sequence[Task] = ()) -> dict[str, str]:
        """Load every function once. UserError, one line, for the first that does not; its note is the traceback.

        tasks: those to be scored; UserError for a function that asks for a column which one of them lacks,
        and for a task that a shipped one could not judge.

        Returns what rewards say of themselves, by name: a shipped one whose module has `prepare(**args)` is prepared.
        """
        reports = {}
        for reward in self.rewards:
            missing = [name for name in reward.env if name not in os.environ]
            if missing:
                raise UserError(f"reward {reward.name!r}: env: {missing[0]} is not set where rewards are scored")
            if reward.is_shipped:
                try:
                    self._load(reward)
                    prepare = vars(sys.modules[reward.path.rpartition(":")[0]]).get("prepare")
                    if prepare is not None:
                        reports[reward.name] = prepare(**reward.args)
                except UserError as error:
                    raise _unloadable(reward, str(error), traceback.format_exc()) from error
            elif failure := self._children[reward.name].start():
                text = failure.traceback if isinstance(failure, Raised) else ""
                raise _unloadable(reward, _load_failure(failure, reward.path), text)
            self._require_columns(reward, tasks)
            check_tasks([reward], tasks)
        return reports

    def traits(self) -> dict[str, Traits]:
        """What is known of each reward, by name. UserError for one that does not load."""
        found = {}
        for reward in self.rewards:
            traits = self._traits_of(reward)
            if isinstance(traits, Score):
                raise _unloadable(reward, traits.detail, traits.detail)
            found[reward.name] = traits
        return found

    def score(
        self, response: str, task: Task, *, num_tokens: int | None = None, truncated: bool | None = None
    ) -> dict[str, Score]:
        """One Score for each reward that applies to the task. Never raises for what a reward does."""
        attempt = Attempt(response=response, task=task, num_tokens=num_tokens, truncated=truncated)
        return self.score_many([attempt])[0]

    def score_many(self, attempts: Sequence[Attempt]) -> list[dict[str, Score]]:
        """`score` of each, in their order.

        Batched and async functions get all at once and have `timeout_s` times their number; when such a call fails,
        each of its responses gets that verdict.
        """
        scores: list[dict[str, Score]] = [{} for _ in attempts]
        for reward in self.rewards:
            places = [i for i, attempt in enumerate(attempts) if reward.applies_to(attempt.task.source)]
            found = self._run(reward, [attempts[i] for i in places]) if places else []
            for place, score in zip(places, found, strict=True):
                scores[place][reward.name] = score
        return scores

    def close(self) -> None:
        """Ends the children; a later score starts them anew."""
        for child in self._children.values():
            child.close()

    def _load(self, reward: RewardConfig) -> Reward:
        if reward.name not in self._shipped:
            self._shipped[reward.name] = load_reward(
                reward.path, timeout_s=reward.timeout_s, args=reward.args, bounds_itself=True
            )
        return self._shipped[reward.name]

    def _traits_of(self, reward: RewardConfig) -> Traits | Score:
        """Or the verdict that there is instead."""
        if reward.is_shipped:
            return self._load(reward).traits
        if reward.name not in self._traits:
            answer = self._children[reward.name].call(None)
            if not isinstance(answer, Returned):
                return _failed(answer, reward, DEFAULT_TIMEOUT_S)
            try:
                self._traits[reward.name] = Traits(**answer.value | {"columns": tuple(answer.value["columns"])})
            except (TypeError, KeyError):
                return _broken("the reward's process does not say what it is")
        return self._traits[reward.name]

    def _require_columns(self, reward: RewardConfig, tasks: Sequence[Task]) -> None:
        traits = self._traits_of(reward)
        if isinstance(traits, Score):
            return
        for task in tasks:
            missing = [name for name in traits.columns if name not in task.columns]
            if missing and reward.applies_to(task.source):
                known = ", ".join(["answer", "source", "tests", *map(str, task.columns)])
                raise UserError(
                    f"reward {reward.name!r}: {reward.path} wants `{missing[0]}`, which task {task.id} does not have; "
                    f"its columns are {known}; add it, give the parameter a default, or set it by `args`"
                )

    def _run(self, reward: RewardConfig, attempts: list[Attempt]) -> list[Score]:
        if reward.is_shipped:
            return self._load(reward).score(attempts)
        child, traits = self._children[reward.name], self._traits_of(reward)
        if isinstance(traits, Score):
            return [traits] * len(attempts)
        if not traits.wants_token_ids:
            attempts = [replace(attempt, prompt_ids=None, completion_ids=None) for attempt in attempts]
        # One call for each response where a call is for one: its deadline and its death are then its own.
        size = len(attempts) if traits.takes_many else 1
        scores: list[Score] = []
        for start in range(0, len(attempts), size):
            part = attempts[start : start + size]
            result = child.call(part, timeout_s=traits.timeout_s * len(part))
            if isinstance(result, Returned):
                scores += _from_wire(result.value, len(part))
            else:
                scores += [_failed(result, reward, traits.timeout_s)] * len(part)
        return scores


def check_tasks(rewards: Sequence[RewardConfig], tasks: Sequence[Task]) -> None:
    """Before anything runs: UserError for a task that a shipped reward could not judge, as its `check_task` says."""
    for reward in rewards:
        if reward.is_shipped:
            find_function(reward.path)
            check = vars(sys.modules[reward.path.rpartition(":")[0]]).get("check_task")
            if check is not None:
                for task in filter(lambda task: reward.applies_to(task.source), tasks):
                    check(task, **reward.args)


def _failed(result: Result, reward: RewardConfig, timeout_s: float) -> Score:
    match result:
        case TimedOut(at_load=False):
            return Score(value=0.0, status="timeout", detail=f"no verdict within {timeout_s:g} s")
        case Raised(traceback=text):
            return _broken(text)
        case Crashed(at_load=False, detail=text):
            return _broken(f"the reward's process died: {text}")
    assert not isinstance(result, Returned)
    return _broken(_load_failure(result, reward.path))


def _unloadable(reward: RewardConfig, message: str, text: str) -> UserError:
    error = UserError(f"reward {reward.name!r}: {message}")
    error.add_note(text)
    return error


def _load_failure(failure: TimedOut | Crashed | Raised, path: str) -> str:
    match failure:
        case TimedOut(seconds=seconds):
            return f"{path} did not finish loading within {seconds:g} s: its top level must not wait or compute"
        case Crashed(detail=detail):
            return f"{path} ended its process while it was loaded ({detail})"
        case Raised(error="UserError", message=message):
            return message
    return f"{path} could not be loaded: {failure.error}: {' '.join(failure.message.split())}"


def _from_wire(wire: Any, num: int) -> list[Score]:
    """A child may have been made to answer anything: check it as a user's value is checked."""
    keys = {"value", "status", "detail"}
    if not (isinstance(wire, list) and len(wire) == num):
        return [_broken("the reward's process gave no scores")] * num
    return [
        to_score(Score(value=one["value"], status=one["status"], detail=str(one["detail"])))
        if isinstance(one, dict) and one.keys() == keys
        else _broken("the reward's process gave no score")
        for one in wire
    ]


def _broken(detail: str) -> Score:
    return Score(value=0.0, status="verifier_error", detail=detail)
