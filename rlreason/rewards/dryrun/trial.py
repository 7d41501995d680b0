"""A first look at the rewards of a run, before it starts anything: they load, and give a verdict on a few golds.

Each gold answer is scored as if it were the response. What value it gets is not looked at, only that there is one: a
reward may want more than the bare gold.
Does not: call a judge or another server, or ask reward models.
"""

import multiprocessing
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Self

from rlreason.config.rewards import SHIPPED, RewardConfig
from rlreason.rewards.runtime.load import Attempt
from rlreason.rewards.runtime.reward_set import RewardSet
from rlreason.types import Score, Task, UserError

NUM_GOLDS = 3
"""Golds that each reward is tried on."""
REMOTE = (f"{SHIPPED}judge:", f"{SHIPPED}http:")
BROKEN = {"verifier_error", "timeout"}


class Trials:
    """Users' functions run in their children as ever; shipped ones in a process of their own, which begins to load them
    at once, beside what the caller does until it asks.
    """

    def __init__(self, rewards: Sequence[RewardConfig]) -> None:
        shipped = [reward for reward in rewards if reward.is_shipped]
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) if shipped else None
        if self._pool:
            self._pool.submit(problems, shipped, [])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def of(self, rewards: Sequence[RewardConfig], tasks: Sequence[Task]) -> list[str]:
        """One line for each reward that does not load, or breaks on every gold that it is tried on."""
        found = problems([reward for reward in rewards if reward.path and not reward.is_shipped], tasks)
        shipped = [reward for reward in rewards if reward.is_shipped]
        if not shipped:
            return found
        assert self._pool is not None
        try:
            return found + self._pool.submit(problems, shipped, list(tasks)).result()
        except BrokenProcessPool:
            return [*found, "rewards: the process in which they were tried died; its memory may have run out"]


def problems(rewards: Sequence[RewardConfig], tasks: Sequence[Task]) -> list[str]:
    """`Trials.of`, in this process."""
    return [problem for reward in rewards if (problem := _problem(reward, tasks)) is not None]


def _problem(reward: RewardConfig, tasks: Sequence[Task]) -> str | None:
    loaded = RewardSet([reward])
    try:
        loaded.check(tasks)
        if reward.path.startswith(REMOTE):
            return None
        tried = [task for task in tasks if reward.applies_to(task.source)][:NUM_GOLDS]
        failed: list[tuple[Task, Score]] = []
        for task in tried:
            score = loaded.score_many([_gold(task)])[0][reward.name]
            if score.status not in BROKEN:
                return None
            failed.append((task, score))
            if score.status == "timeout":
                break  # each of the others would take as long
    except UserError as error:
        return str(error)
    finally:
        loaded.close()
    if not failed:
        return None
    task, score = failed[0]
    return f"reward {reward.name!r}: broken on the gold of task {task.id}: {_reason(score.detail)}"


def _gold(task: Task) -> Attempt:
    answer = task.answer[0] if isinstance(task.answer, tuple) else task.answer
    num_tokens = max(1, len(answer or "") // 4)
    return Attempt(
        response=answer or "",
        task=task,
        num_tokens=num_tokens,
        truncated=False,
        prompt_ids=(0,),  # there is no tokenizer here
        completion_ids=(0,) * num_tokens,
    )


def _reason(detail: str) -> str:
    """Of a traceback its last line, with the place in the user's file."""
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    places = [found for line in lines if (found := re.match(r'File "(.+)", line (\d+)', line))]
    where = f" ({places[-1][1].rpartition('/')[2]}, line {places[-1][2]})" if places else ""
    return f"{lines[-1] if lines else 'no reason given'}{where}"
