"""Fleets: all workers of a kind, started together and spoken to as one.

Where workers run is decided here and nowhere else. Text, ids and scalars pass through; weights do not.
Does not: restart a dead rollout or learner worker (the run ends with one line and can be resumed).
"""

import time
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle

from rlreason.config.schema import LearnerConfig, RolloutConfig
from rlreason.data.batch import Plan, plan_micro_batches
from rlreason.types import Group, LossSpec, PromptTask, TrainSequence, UpdateStats
from rlreason.workers.cluster import get, worker_options
from rlreason.workers.learner import LearnerWorker
from rlreason.workers.reward_fleet import RewardFleet, ScoredChunk
from rlreason.workers.rollout import RolloutWorker

CHUNKS_PER_WORKER = 32
"""Calls that a batch is cut into for each rollout worker: enough to overlap scoring, few enough to be cheap."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Groups on their way."""

    prompts: list[PromptTask]
    sampled: list[Any]
    """Object references of lists of groups of samples."""
    scored: "list[Future[ScoredChunk]]"
    started_s: float


class RolloutFleet:
    """Rollout workers, each a vLLM engine, with the reward workers that judge what they write."""

    def __init__(self, model: str, config: RolloutConfig, *, dtype: str, seed: int, rewards: RewardFleet) -> None:
        self._config, self._rewards = config, rewards
        actor = ray.remote(RolloutWorker).options(max_concurrency=10_000, **worker_options(config))
        self.workers: list[ActorHandle] = [actor.remote() for _ in range(config.workers)]
        self._ready = [worker.start.remote(model, config, dtype, seed) for worker in self.workers]

    def wait_ready(self) -> None:
        get(self._ready)

    def submit(self, prompts: list[PromptTask], *, num_samples: int, temperature: float | None = None) -> Pending:
        """Starts a group of `num_samples` for each prompt; each group is scored as soon as it is written."""
        size = max(1, len(prompts) // (len(self.workers) * CHUNKS_PER_WORKER))
        chunks = [prompts[start : start + size] for start in range(0, len(prompts), size)]
        sampled, scored = [], []
        for number, chunk in enumerate(chunks):
            worker = self.workers[number % len(self.workers)]
            at = self._config.temperature if temperature is None else temperature
            sampled.append(worker.generate.remote(chunk, num_samples, at, self._config.max_response_tokens))
            scored.append(self._rewards.submit(chunk, sampled[-1]))
        return Pending(prompts, sampled, scored, time.monotonic())

    def collect(self, pending: Pending) -> tuple[list[Group], dict[str, float]]:
        """The groups in the order of their prompts, and how long each phase took."""
        try:
            chunks = [future.result() for future in pending.scored]
        except ray.exceptions.RayError:
            get(pending.sampled)  # If a rollout worker failed, this says so in one line.
            raise
        sampled_s = max(chunk.sampled_s for chunk in chunks)
        scored_s = max(chunk.scored_s for chunk in chunks)
        samples = [group for chunk in chunks for group in chunk.samples]
        scores = [group for chunk in chunks for group in chunk.scores]
        groups = [
            Group(task=prompt.task, samples=tuple(group), scores=tuple(verdicts))
            for prompt, group, verdicts in zip(pending.prompts, samples, scores, strict=True)
        ]
        return groups, {"time/rollout_s": sampled_s - pending.started_s, "time/reward_s": scored_s - sampled_s}

    def restarts(self) -> list[str]:
        """Why reward workers were replaced since the last call."""
        return self._rewards.restarts()

    def prompt_logprobs(self, tokens: tuple[int, ...]) -> list[list[float]]:
        """Each engine's logprobs of tokens[1:]."""
        return get([worker.prompt_logprobs.remote(tokens) for worker in self.workers])

    def shutdown(self, timeout_s: float = 3.0) -> None:
        """Ends vLLM's processes and the reward workers; what does not answer in time is killed with its worker."""
        ray.wait([w.shutdown.remote() for w in self.workers], num_returns=len(self.workers), timeout=timeout_s)
        for worker in self.workers:
            ray.kill(worker)
        self._rewards.shutdown()


class LearnerFleet:
    """Learner ranks, which always do the same thing at the same time."""

    def __init__(
        self,
        config: LearnerConfig,
        *,
        total_steps: int,
        seed: int,
        model: str | None = None,
        architecture: dict[str, Any] | None = None,
        keep_reference: bool = False,
    ) -> None:
        self.config = config
        actor = ray.remote(LearnerWorker).options(**worker_options(config))
        self.workers: list[ActorHandle] = [actor.remote() for _ in range(config.workers)]
        address = get(self.workers[0].address.remote())
        self._ready = [
            worker.start.remote(rank, config, address, total_steps, seed, model, architecture, keep_reference)
            for rank, worker in enumerate(self.workers)
        ]

    def wait_ready(self) -> None:
        get(self._ready)

    def submit_update(self, sequences: list[TrainSequence], loss: LossSpec) -> Any:
        """Starts one optimizer step on the batch; `finish_update` waits for it."""
        num_trained = sum(sequence.num_trained_tokens for sequence in sequences)
        return [
            worker.update.remote([[sequences[i] for i in micro] for micro in micros], loss, num_trained)
            for worker, micros in zip(self.workers, self._plan(sequences), strict=True)
        ]

    def finish_update(self, pending: Any) -> dict[str, float]:
        """Metrics of the step, over all ranks."""
        return merge_stats(get(pending))

    def logprobs(self, sequence: TrainSequence) -> list[float]:
        """Logprobs of the sequence's masked tokens. All ranks compute it: sharded parameters need them."""
        found = get([worker.logprobs.remote([[sequence]]) for worker in self.workers])
        return found[0][0]

    def total_logprobs(self, sequences: list[TrainSequence]) -> list[float]:
        """Sum of the logprobs of each sequence's masked tokens, in nats; the ranks share the work."""
        plan = self._plan(sequences)
        found = get(
            [
                worker.logprobs.remote([[sequences[i] for i in micro] for micro in micros])
                for worker, micros in zip(self.workers, plan, strict=True)
            ]
        )
        totals = [0.0] * len(sequences)
        for micros, of_rank in zip(plan, found, strict=True):
            for index, logprobs in zip(chain(*micros), of_rank, strict=True):
                totals[index] = sum(logprobs)
        return totals

    def continue_greedily(self, prompts: list[tuple[int, ...]], num_tokens: int) -> list[tuple[int, ...]]:
        """The likeliest tokens after each prompt. All ranks compute it."""
        return get([worker.continue_greedily.remote(prompts, num_tokens) for worker in self.workers])[0]

    def _plan(self, sequences: list[TrainSequence]) -> Plan:
        lengths = [len(sequence.tokens) for sequence in sequences]
        return plan_micro_batches(lengths, len(self.workers), self.config.micro_batch_tokens, self.config.pack_tokens)

    def connect(self, rollouts: RolloutFleet, config: RolloutConfig) -> None:
        address = get(self.workers[0].address.remote())
        get([worker.connect.remote(rollouts.workers, config, address) for worker in self.workers])

    def send_weights(self, version: int) -> None:
        """Brings every engine to the present weights and calls them `version`."""
        get([worker.send_weights.remote(version) for worker in self.workers])

    def save_model(self, path: Path) -> None:
        get([worker.save_model.remote(path) for worker in self.workers])

    def save_checkpoint(self, path: Path) -> None:
        get([worker.save_checkpoint.remote(path) for worker in self.workers])

    def load_checkpoint(self, path: Path) -> None:
        get([worker.load_checkpoint.remote(path) for worker in self.workers])

    def shutdown(self) -> None:
        for worker in self.workers:
            ray.kill(worker)


def merge_stats(ranks: list[UpdateStats]) -> dict[str, float]:
    """Metrics of one update from its ranks' sums."""
    count = max(1, sum(rank.num_tokens for rank in ranks))
    optional = {
        "policy/kl": [rank.kl for rank in ranks if rank.kl is not None],
        "policy/entropy": [rank.entropy for rank in ranks if rank.entropy is not None],
    }
    return {key: sum(values) / count for key, values in optional.items() if values} | {
        "policy/loss": sum(rank.loss for rank in ranks),
        "policy/clip_fraction": sum(rank.num_clipped for rank in ranks) / count,
        "policy/grad_norm": ranks[0].grad_norm,
        "policy/lr": ranks[0].lr,
        "mismatch/logprob_gap_mean": sum(rank.logprob_gap for rank in ranks) / count,
        "mismatch/kl": sum(rank.mismatch_kl for rank in ranks) / count,
    }
