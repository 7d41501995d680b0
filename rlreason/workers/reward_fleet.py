"""The reward fleet: all reward workers of a stage, where they run and what happens when one is lost.

Functions are called by reward workers, reward models by scorer workers at the same time.

A worker that dies, is stuck or has grown too large is replaced, and what it had been given is scored by another one:
each sample gets its verdicts once. They are settled as soon as a chunk has all of its own.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import ray
from ray.actor import ActorHandle

from rlreason.config.base import WatchdogConfig
from rlreason.config.rewards import CombineConfig, RewardConfig, RewardWorkerConfig, ScorerConfig
from rlreason.rewards.runtime.combine import Judge, actions
from rlreason.rewards.runtime.load import DEFAULT_TIMEOUT_S, Attempt, Traits
from rlreason.types import Group, PromptTask, Sample, Score, Task
from rlreason.workers.cluster import worker_options
from rlreason.workers.reward import Loaded, LoadFailure, RewardWorker
from rlreason.workers.scorer_fleet import ScorerFleet
from rlreason.workers.watchdog import Watch

MAX_LOSSES = 5
"""Workers that an attempt may cost before its verdict is `verifier_error`. Only the call that ran when a worker was
lost pays, not those that waited; after two it goes alone, so that a chunk does not pay for the one that kills."""

START_S = 60.0
"""The first call of a worker may take so much longer: the process starts and loads the functions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredChunk:
    """Some groups of samples, judged."""

    groups: list[Group]
    sampled_s: float
    """When the samples were there, on time.monotonic's clock."""
    scored_s: float


@dataclass(slots=True, eq=False)
class _Worker:
    """A reward worker as the fleet sees it."""

    handle: ActorHandle
    calls: list[object] = field(default_factory=list)
    """What it has been given and not answered, in order: the first is the one that runs."""
    blamed: object = None
    """The call that ran when the worker was lost."""
    queued_s: float = 0.0
    """The most seconds that what it has been given may take."""
    num_scored: int = 0
    is_up: bool = False
    """It has answered."""
    is_retired: bool = False
    """Replaced; it ends with its last call."""

    @property
    def num_queued(self) -> int:
        return len(self.calls)


class RewardFleet:
    """A chunk of groups goes to the least loaded worker as soon as it is written; when all have `max_queued`, it waits.

    A thread of its own hands the chunks out, so that scoring goes on while the driver does something else.
    """

    def __init__(
        self,
        rewards: list[RewardConfig],
        config: RewardWorkerConfig,
        scorers: ScorerConfig | None = None,
        watchdog: WatchdogConfig | None = None,
        *,
        combine: CombineConfig | None = None,
    ) -> None:
        """`scorers`: where reward models run, if there are any among the rewards."""
        self._judge = Judge(rewards, combine)
        self._names = [reward.name for reward in rewards]
        models = [reward for reward in rewards if reward.model is not None]
        self.scorers = ScorerFleet(models, scorers or ScorerConfig(), watchdog) if models else None
        self._rewards, self._config = [reward for reward in rewards if reward.model is None], config
        self._actor = ray.remote(RewardWorker).options(**worker_options(config))
        self._workers = [_Worker(self._actor.remote(self._rewards)) for _ in range(config.workers)]
        self._traits: dict[str, Traits] = {}
        self._watch = Watch(watchdog)
        self._restarts: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room = asyncio.Semaphore(config.workers * config.max_queued)

    def check(self) -> dict[str, str] | LoadFailure:
        """What rewards say of themselves, by name, on the first worker; or one that does not load, on any."""
        if self.scorers is not None:
            self.scorers.wait_ready()
        handles = [worker.handle for worker in self._workers]
        calls = [handle.check.remote() for handle in handles]
        found: list[Loaded | LoadFailure] = self._watch.get("the start of the reward workers", calls, handles)
        for worker in self._workers:
            worker.is_up = True
        failure = next((one for one in found if isinstance(one, LoadFailure)), None)
        first = failure or found[0]
        if isinstance(first, LoadFailure):
            return first
        self._traits = first.traits
        return dict(first.reports)

    def submit(
        self, prompts: list[PromptTask], sampled: Awaitable[Any], *, with_greedy: bool = False
    ) -> "Future[ScoredChunk]":
        """Scores the groups in `sampled` as soon as they are there. with_greedy: the last of each is the greedy one."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="reward-fleet", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(self._score_chunk(prompts, sampled, with_greedy), self._loop)

    def restarts(self) -> list[str]:
        """Why workers were replaced since the last call."""
        found, self._restarts = self._restarts, []
        return found

    def shutdown(self) -> None:
        """Ends the workers and with them their children; what is still being scored is lost."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None
        for worker in self._workers:
            ray.kill(worker.handle)
        if self.scorers is not None:
            self.scorers.shutdown()

    async def _score_chunk(self, prompts: list[PromptTask], sampled: Awaitable[Any], with_greedy: bool) -> ScoredChunk:
        written: list[list[Sample]] = await sampled
        sampled_s = time.monotonic()
        samples = [sample for group in written for sample in group]
        tasks = [prompt.task for prompt, group in zip(prompts, written, strict=True) for _ in group]
        attempts = list(map(_attempt, tasks, samples))
        with_ids = any(traits.wants_token_ids for traits in self._traits.values())
        arrays = samples[0].arrays if with_ids and samples else None
        by_functions, by_models = await asyncio.gather(self._score(attempts, arrays), self._score_by_models(attempts))
        # In the order of the rewards: the first verdict is the one that an evaluation judges by.
        found = [one | other for one, other in zip(by_functions, by_models, strict=True)]
        scores = iter([{name: one[name] for name in self._names if name in one} for one in found])
        groups = []
        for prompt, group in zip(prompts, written, strict=True):
            verdicts = list(islice(scores, len(group)))
            greedy = (group.pop(), verdicts.pop()) if with_greedy else None
            groups.append(self._judge.settle(prompt.task, group, verdicts, greedy))
        return ScoredChunk(groups=groups, sampled_s=sampled_s, scored_s=time.monotonic())

    async def _score_by_models(self, attempts: list[Attempt]) -> list[dict[str, Score]]:
        return [{}] * len(attempts) if self.scorers is None else await self.scorers.score(attempts)

    async def _score(
        self,
        attempts: list[Attempt],
        arrays: Any,
        *,
        avoid: _Worker | None = None,
        num_lost: int = 0,
        is_retry: bool = False,
    ) -> list[dict[str, Score]]:
        """Verdicts of each attempt, whatever happens to the workers. `num_lost`: those that this has cost so far.
        `arrays`: reference of their tokens, for rewards that read ids; None where there is none.
        """
        while True:
            worker = await self._take(attempts, avoid)
            call = worker.calls[-1]
            # Calls of one worker run one after the other: this one may have to wait for those before it.
            limit_s = worker.queued_s + self._config.stall_s + (0.0 if worker.is_up else START_S)
            try:
                scores, num_bytes = await asyncio.wait_for(worker.handle.score.remote(attempts, arrays), limit_s)
                break
            except TimeoutError:
                self._replace(worker, reason := f"it gave no answer within {limit_s:g} s", at_once=True)
            except ray.exceptions.RayTaskError:
                raise  # a mistake in our own code
            except ray.exceptions.RayError as error:
                self._replace(worker, reason := f"its process died ({type(error).__name__})", at_once=True)
            finally:
                self._give_back(worker, call, attempts)
            avoid, num_lost = worker, num_lost + (worker.blamed is call)
            if num_lost >= MAX_LOSSES:
                return [self._lost(attempt, reason) for attempt in attempts]
            if num_lost >= 2 and len(attempts) > 1:
                alone = [
                    self._score([one], arrays, avoid=avoid, num_lost=num_lost, is_retry=is_retry) for one in attempts
                ]
                return [found for (found,) in await asyncio.gather(*alone)]
        self._recycle(worker, len(attempts), num_bytes)
        return scores if is_retry else await self._retry(attempts, arrays, scores, worker)

    async def _retry(
        self, attempts: list[Attempt], arrays: Any, scores: list[dict[str, Score]], worker: _Worker
    ) -> list[dict[str, Score]]:
        """`scores` with those that `on_status` wants to be tried again replaced by the second ones."""
        asked = [
            [name for name, action in actions(found, self._rewards).items() if action == "retry"] for found in scores
        ]
        places = [i for i, names in enumerate(asked) if names]
        if places:
            again = await self._score([attempts[i] for i in places], arrays, avoid=worker, is_retry=True)
            for i, found in zip(places, again, strict=True):
                scores[i] |= {name: found[name] for name in asked[i]}
        return scores

    async def _take(self, attempts: list[Attempt], avoid: _Worker | None) -> _Worker:
        """The least loaded worker with room, `avoid` only where there is no other."""
        await self._room.acquire()
        full = self._config.max_queued
        worker = min(self._workers, key=lambda one: (one.num_queued >= full, one is avoid, one.num_queued))
        worker.calls.append(object())
        worker.queued_s += self._most_s(attempts)
        return worker

    def _give_back(self, worker: _Worker, call: object, attempts: list[Attempt]) -> None:
        worker.calls.remove(call)
        worker.queued_s -= self._most_s(attempts)
        self._room.release()
        if worker.is_retired and not worker.num_queued:
            ray.kill(worker.handle)

    def _most_s(self, attempts: list[Attempt]) -> float:
        """What the checks may take at most, all deadlines used up."""
        return sum(
            self._timeout_s(reward)
            for attempt in attempts
            for reward in self._rewards
            if reward.applies_to(attempt.task.source)
        )

    def _timeout_s(self, reward: RewardConfig) -> float:
        traits = self._traits.get(reward.name)
        return reward.timeout_s or (DEFAULT_TIMEOUT_S if traits is None else traits.timeout_s)

    def _recycle(self, worker: _Worker, num: int, num_bytes: int) -> None:
        worker.is_up = True
        worker.num_scored += num
        limit_gib, limit = self._config.memory_gib, self._config.recycle_after
        if limit_gib is not None and num_bytes > limit_gib * 2**30:
            self._replace(worker, f"it took {num_bytes / 2**30:.2f} GiB, above memory_gib {limit_gib:g}")
        elif limit is not None and worker.num_scored >= limit:
            self._replace(worker, f"it had scored {worker.num_scored} samples (recycle_after {limit})")

    def _replace(self, worker: _Worker, reason: str, *, at_once: bool = False) -> None:
        """A fresh worker takes its place; the old one ends with its last call, or `at_once`, where it is lost."""
        if at_once and worker.blamed is None:
            worker.blamed = worker.calls[0]
        if not worker.is_retired:
            worker.is_retired = True
            self._workers[self._workers.index(worker)] = _Worker(self._actor.remote(self._rewards))
            self._restarts.append(reason)
        if at_once or not worker.num_queued:
            ray.kill(worker.handle)

    def _lost(self, attempt: Attempt, reason: str) -> dict[str, Score]:
        detail = f"{MAX_LOSSES} reward workers were lost on this sample; of the last one: {reason}"
        return {
            reward.name: Score(value=0.0, status="verifier_error", detail=detail)
            for reward in self._rewards
            if reward.applies_to(attempt.task.source)
        }


def _attempt(task: Task, sample: Sample) -> Attempt:
    return Attempt(
        response=sample.response,
        task=task,
        num_tokens=sample.num_response_tokens,
        truncated=sample.finish_reason == "length",
        row=sample.row,
    )


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
