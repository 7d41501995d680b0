"""The rollout fleet: all rollout workers of a stage, started together and spoken to as one.

Text, ids and scalars pass through; weights do not. Does not: restart a worker that has died (the run ends with one line
and can be resumed).
"""

import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass, replace
from itertools import chain, compress
from typing import Any

import ray
from ray.actor import ActorHandle

from rlreason.config.base import WatchdogConfig
from rlreason.config.schema import RolloutConfig
from rlreason.types import Group, PromptTask, Sample
from rlreason.workers.cluster import readable, require_ray, worker_options
from rlreason.workers.reward_fleet import RewardFleet, ScoredChunk
from rlreason.workers.rollout import RolloutWorker
from rlreason.workers.watchdog import POLL_S, Watch

CHUNKS_PER_WORKER = 32
"""Calls that a batch is cut into for each rollout worker: enough to overlap scoring, few enough to be cheap."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Groups on their way, which one engine writes."""

    scored: "Future[ScoredChunk]"
    started_s: float


class RolloutFleet:
    """Rollout workers, each a vLLM engine, with the reward workers that judge what they write."""

    def __init__(
        self,
        model: str,
        config: RolloutConfig,
        *,
        dtype: str,
        seed: int,
        rewards: RewardFleet,
        adapter_rank: int | None = None,
        watchdog: WatchdogConfig | None = None,
    ) -> None:
        """`adapter_rank`: of the LoRA adapters that come in place of whole weights."""
        self._config, self.rewards, self._watch = config, rewards, Watch(watchdog)
        self._num_chunks = 0  # sent so far; engines take turns
        actor = ray.remote(RolloutWorker).options(max_concurrency=10_000, **worker_options(config))
        self.workers: list[ActorHandle] = [actor.remote() for _ in range(config.workers)]
        self._ready = [worker.start.remote(model, config, dtype, seed, adapter_rank) for worker in self.workers]

    def wait_ready(self) -> None:
        self._watch.get("the start of the rollout engines", self._ready, self.workers)

    def submit(
        self,
        prompts: list[PromptTask],
        *,
        num_samples: int,
        temperature: float | None = None,
        with_greedy: bool = False,
    ) -> list[Pending]:
        """Starts a group of `num_samples` for each prompt; each group is scored as soon as it is written.

        with_greedy: the groups have a greedy response beside their samples.
        """
        size = max(1, len(prompts) // (len(self.workers) * CHUNKS_PER_WORKER))
        temperatures = [self._config.temperature if temperature is None else temperature] * num_samples
        temperatures += [0.0] * with_greedy
        started_s, pending = time.monotonic(), []
        for start in range(0, len(prompts), size):
            chunk = prompts[start : start + size]
            worker = self.workers[self._num_chunks % len(self.workers)]
            self._num_chunks += 1
            # Two objects: the driver reads the samples; the arrays stay where they were written.
            calls = worker.generate.options(num_returns=2).remote(chunk, temperatures, self._config.response_tokens)
            written = self._written(calls, worker, size=len(prompts) * len(temperatures))
            pending.append(Pending(self.rewards.submit(chunk, written, with_greedy=with_greedy), started_s))
        return pending

    async def _written(self, calls: Sequence[Any], worker: ActorHandle, size: int) -> list[list[Sample]]:
        """The samples, each with the reference of its arrays. `size`: of the batch, which the chunk may wait for."""
        samples, arrays = calls
        groups = await self._watch.answer("a batch of rollouts", samples, worker, size=size)
        return [[replace(sample, arrays=arrays) for sample in group] for group in groups]

    def distinct_2(self, samples: Sequence[Sample]) -> float:
        """`algorithms.guard.distinct_2` of their token ids, worked out by a rollout worker."""
        rows, chunks = located(samples)
        (found,) = self._watch.get(
            "a figure of the samples", [self.workers[0].distinct_2.remote(rows, *chunks)], self.workers[:1]
        )
        return float(found)

    def wait_any(self, pending: list[Pending]) -> tuple[list[Pending], list[Pending]]:
        """Those that are done, of which there is at least one, and the others."""
        _wait(pending, FIRST_COMPLETED)
        done = [one.scored.done() for one in pending]
        return list(compress(pending, done)), [one for one, is_done in zip(pending, done, strict=True) if not is_done]

    def collect(self, pending: list[Pending]) -> tuple[list[Group], dict[str, float]]:
        """The groups in the order of their prompts, and how long each phase took."""
        _wait(pending, FIRST_EXCEPTION)
        chunks = [one.scored.result() for one in pending]
        sampled_s = max(chunk.sampled_s for chunk in chunks)
        scored_s = max(chunk.scored_s for chunk in chunks)
        groups = list(chain.from_iterable(chunk.groups for chunk in chunks))
        started_s = min(one.started_s for one in pending)
        return groups, {"time/rollout_s": sampled_s - started_s, "time/reward_s": scored_s - sampled_s}

    def restarts(self) -> list[str]:
        """Why reward workers were replaced since the last call."""
        return self.rewards.restarts()

    def reload_scorers(self) -> dict[str, str | None]:
        """See `ScorerFleet.reload`."""
        return self.rewards.scorers.reload() if self.rewards.scorers else {}

    def prompt_logprobs(self, tokens: tuple[int, ...]) -> list[list[float]]:
        """Each engine's logprobs of tokens[1:]."""
        calls = [worker.prompt_logprobs.remote(tokens) for worker in self.workers]
        return self._watch.get("the parity probe", calls, self.workers)

    def shutdown(self, timeout_s: float = 3.0) -> None:
        """Ends vLLM's processes and the reward workers; what does not answer in time is killed with its worker."""
        ray.wait([w.shutdown.remote() for w in self.workers], num_returns=len(self.workers), timeout=timeout_s)
        for worker in self.workers:
            ray.kill(worker)
        self.rewards.shutdown()


def located(samples: Sequence[Sample]) -> tuple[list[tuple[int, int]], list[Any]]:
    """Where the tokens of samples are: number of the chunk and row in it, and the chunks' references."""
    numbers: dict[Any, int] = {}
    rows = [(numbers.setdefault(sample.arrays, len(numbers)), sample.row) for sample in samples]
    return rows, list(numbers)


def _wait(pending: Sequence[Pending], until: str) -> None:
    """Until one or all are scored. Raises what has ended one of them: each has its deadlines, and Ray may end."""
    while True:
        require_ray()
        done, others = wait([one.scored for one in pending], timeout=POLL_S, return_when=until)
        for future in done:
            error = future.exception()
            if isinstance(error, ray.exceptions.RayError):
                raise readable(error) from error
            if error is not None:
                raise error
        if not others or (done and until == FIRST_COMPLETED):
            return
