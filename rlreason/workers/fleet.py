"""Fleets: all workers of a kind, started together and spoken to as one.

Where workers run is decided here and nowhere else. Text, ids and scalars pass through; weights do not.
Does not: restart a dead rollout or learner worker (the run ends with one line and can be resumed).
"""

import math
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass
from itertools import chain, compress
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle

from rlreason.config.base import WatchdogConfig
from rlreason.config.schema import LearnerConfig, RolloutConfig
from rlreason.data.batch import Plan, plan_micro_batches
from rlreason.types import (
    BatchSize,
    Group,
    Head,
    Loss,
    NotFinite,
    PromptTask,
    Scored,
    TrainSequence,
    UpdateStats,
)
from rlreason.workers.cluster import readable, require_ray, worker_options
from rlreason.workers.learner import LearnerWorker
from rlreason.workers.reward_fleet import RewardFleet, ScoredChunk
from rlreason.workers.rollout import RolloutWorker
from rlreason.workers.watchdog import POLL_S, Watch

CHUNKS_PER_WORKER = 32
"""Calls that a batch is cut into for each rollout worker: enough to overlap scoring, few enough to be cheap."""


PLACING = "placing the learners"
PROBED = 8
"""Sequences that a model's output is tried on before it is written."""
NAMED = 4
"""Sequences that an error names; the event has all of them."""


@dataclass(frozen=True, slots=True)
class PendingUpdate:
    """An optimizer step on its way."""

    step: int
    """Of the stage."""
    sequences: list[TrainSequence]
    stats: Any
    """Object references of each rank's UpdateStats."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Groups on their way, which one engine writes."""

    prompts: list[PromptTask]
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

    def submit(self, prompts: list[PromptTask], *, num_samples: int, temperature: float | None = None) -> list[Pending]:
        """Starts a group of `num_samples` for each prompt; each group is scored as soon as it is written."""
        size = max(1, len(prompts) // (len(self.workers) * CHUNKS_PER_WORKER))
        at = self._config.temperature if temperature is None else temperature
        started_s, pending = time.monotonic(), []
        for start in range(0, len(prompts), size):
            chunk = prompts[start : start + size]
            worker = self.workers[self._num_chunks % len(self.workers)]
            self._num_chunks += 1
            call = worker.generate.remote(chunk, num_samples, at, self._config.response_tokens)
            # A chunk may have to wait for all the others.
            sampled = self._watch.answer("a batch of rollouts", call, worker, size=len(prompts) * num_samples)
            pending.append(Pending(chunk, self.rewards.submit(chunk, sampled), started_s))
        return pending

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
        prompts = chain.from_iterable(one.prompts for one in pending)
        samples = chain.from_iterable(chunk.samples for chunk in chunks)
        scores = chain.from_iterable(chunk.scores for chunk in chunks)
        groups = [
            Group(task=prompt.task, samples=tuple(group), scores=tuple(verdicts))
            for prompt, group, verdicts in zip(prompts, samples, scores, strict=True)
        ]
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
        head: Head = "language",
        keep_reference: bool = False,
        watchdog: WatchdogConfig | None = None,
    ) -> None:
        self.config, self._watch = config, Watch(watchdog)
        self.prefix = {"language": "policy", "value": "critic", "score": "reward_model"}[head]
        """Of its metrics' keys."""
        self._head = head
        self._last: PendingUpdate | None = None
        self.num_submitted = self.num_finished = 0
        """Updates so far. Between the two the weights are those of no step."""
        actor = ray.remote(LearnerWorker).options(**worker_options(config))
        self.workers: list[ActorHandle] = [actor.remote() for _ in range(config.workers)]
        address = self._free_address(is_local=len(set(self._all(PLACING, "node"))) == 1)
        self._ready = [
            worker.start.remote(rank, config, address, total_steps, seed, model, architecture, head, keep_reference)
            for rank, worker in enumerate(self.workers)
        ]

    def wait_ready(self) -> None:
        self._watch.get("the start of the learners", self._ready, self.workers)

    def submit_update(self, sequences: list[TrainSequence], loss: Loss, *, step: int) -> PendingUpdate:
        """Starts one optimizer step on the batch; `finish_update` waits for it. `step`: the stage's, from 1."""
        size = BatchSize.of(sequences)
        self.num_submitted += 1
        stats = [
            worker.update.remote([[sequences[i] for i in micro] for micro in micros], loss, size)
            for worker, micros in zip(self.workers, self._plan(sequences), strict=True)
        ]
        self._last = PendingUpdate(step, sequences, stats)
        return self._last

    def finish_update(self, pending: PendingUpdate) -> dict[str, float]:
        """Metrics of the step, over all ranks; loss, gradient norm and learning rate under `prefix`.

        Raises NotFinite where the loss, the gradient or a trained weight is.
        """
        size = sum(len(sequence.tokens) for sequence in pending.sequences)
        ranks = self._watch.get("an update", pending.stats, self.workers, size=size)
        require_finite(ranks, self.prefix, pending.step, pending.sequences)
        self.num_finished += 1
        return merge_stats(ranks, self.prefix)

    def skip_updates(self, count: int) -> None:
        """Tells the schedule of the learning rate of updates that were planned and are not made."""
        if count:
            self._all("a step of the schedule", "skip_updates", count)

    def require_finite_output(self) -> None:
        """Raises NotFinite where the present weights, finite or not, make no numbers of the last batch's shortest
        sequences: such weights must not replace better ones on the disk.
        """
        if self._last is not None:
            shortest = sorted(self._last.sequences, key=lambda sequence: len(sequence.tokens))[:PROBED]
            self.score(shortest, "policy" if self._head == "language" else "value")

    def score(
        self, sequences: list[TrainSequence], what: Scored = "policy", temperature: float = 1.0
    ) -> list[list[float]]:
        """Of each sequence's masked tokens: logprobs or values. The ranks share the work.

        Raises NotFinite where one of them is NaN or infinite.
        """
        plan = self._plan(sequences)
        calls = [
            worker.score.remote([[sequences[i] for i in micro] for micro in micros], what, temperature)
            for worker, micros in zip(self.workers, plan, strict=True)
        ]
        size = sum(len(sequence.tokens) for sequence in sequences)
        found = self._watch.get(f"a pass of the {what}", calls, self.workers, size=size)
        scores: list[list[float]] = [[]] * len(sequences)
        for micros, of_rank in zip(plan, found, strict=True):
            for index, of_sequence in zip(chain(*micros), of_rank, strict=True):
                scores[index] = of_sequence
        bad = [one for one, found in zip(sequences, scores, strict=True) if not all(map(math.isfinite, found))]
        if bad:
            model = "reference" if what == "reference" else self.prefix.replace("_", " ")
            said = f"{'values' if what == 'value' else 'logprobs'} of the {model} are not finite on {named(bad)}"
            if self._last is None:
                raise NotFinite(f"before the first update {said}; try another dtype or model", origins(bad))
            raise NotFinite(f"after step {self._last.step} {said}; {advice(self.prefix, self.config.lr)}", origins(bad))
        return scores

    def refresh_reference(self) -> None:
        """The reference policy becomes the present one."""
        self._all("a refresh of the reference", "refresh_reference")

    def continue_greedily(self, prompts: list[tuple[int, ...]], num_tokens: int) -> list[tuple[int, ...]]:
        """The likeliest tokens after each prompt. All ranks compute it."""
        found: list[list[tuple[int, ...]]] = self._all("greedy continuations", "continue_greedily", prompts, num_tokens)
        return found[0]

    def _plan(self, sequences: list[TrainSequence]) -> Plan:
        lengths = [len(sequence.tokens) for sequence in sequences]
        groups = [sequence.group for sequence in sequences]
        return plan_micro_batches(
            lengths, len(self.workers), self.config.micro_batch_tokens, self.config.pack_tokens, groups
        )

    def connect(self, rollouts: RolloutFleet, config: RolloutConfig) -> None:
        self._receivers = rollouts.workers
        address = self._free_address()
        self._all("the way for weights", "connect", rollouts.workers, config, address, beyond=rollouts.workers)

    def send_weights(self, version: int) -> None:
        """Brings every engine to the present weights and calls them `version`."""
        self._all("a sync of the weights", "send_weights", version, beyond=self._receivers)

    def save_model(self, path: Path) -> None:
        self._all("writing the model", "save_model", path)

    def save_checkpoint(self, path: Path) -> None:
        self._all("writing a checkpoint", "save_checkpoint", path)

    def load_checkpoint(self, path: Path) -> None:
        self._all("loading a checkpoint", "load_checkpoint", path)

    def _all(self, what: str, method: str, *args: Any, beyond: Sequence[ActorHandle] = ()) -> list[Any]:
        """The answers of all ranks to the same call."""
        calls = [getattr(worker, method).remote(*args) for worker in self.workers]
        return self._watch.get(what, calls, self.workers, beyond=beyond)

    def _free_address(self, *, is_local: bool = False) -> tuple[str, int]:
        first = self.workers[:1]
        found: list[tuple[str, int]] = self._watch.get(PLACING, [first[0].address.remote(is_local=is_local)], first)
        return found[0]

    def shutdown(self) -> None:
        for worker in self.workers:
            ray.kill(worker)


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


def require_finite(ranks: list[UpdateStats], model: str, step: int, sequences: list[TrainSequence]) -> None:
    """Raises NotFinite where one update's loss, gradient norm or trained weights are; `sequences`: its batch."""
    figures = {f"{model}/loss": sum(rank.loss for rank in ranks), f"{model}/grad_norm": ranks[0].grad_norm}
    figures["a trained weight"] = next((w for rank in ranks if not math.isfinite(w := rank.largest_weight)), 0.0)
    bad = [f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value)]
    if bad:
        suspects = {origin for rank in ranks for origin in rank.suspects}
        batch = [one for one in sequences if one.origin in suspects] or sequences
        raise NotFinite(
            f"step {step}: {', '.join(bad)}; trained on {named(batch)}; {advice(model, ranks[0].lr)}", origins(batch)
        )


def advice(model: str, lr: float) -> str:
    """What to try where a learner's numbers are not finite."""
    key = "critic" if model == "critic" else "learner"
    return f"lower {key}.lr ({lr:g}) or raise {key}.warmup_steps, and look at these rows"


def origins(sequences: list[TrainSequence]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.origin for one in sequences if one.origin))


def named(sequences: list[TrainSequence]) -> str:
    """A few of the sequences' origins, and how many more there are."""
    known = origins(sequences)
    more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
    return ", ".join(known[:NAMED]) + more if known else f"{len(sequences)} sequences"


def merge_stats(ranks: list[UpdateStats], model: str) -> dict[str, float]:
    """Metrics of one update from its ranks' sums."""
    count = max(1, sum(rank.num_tokens for rank in ranks))
    keys = dict.fromkeys(chain.from_iterable(rank.sums for rank in ranks))
    return {
        f"{model}/loss": sum(rank.loss for rank in ranks),
        f"{model}/grad_norm": ranks[0].grad_norm,
        f"{model}/lr": ranks[0].lr,
        **{key: sum(rank.sums.get(key, 0.0) for rank in ranks) / count for key in keys},
    }
