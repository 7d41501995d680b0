"""The learner fleet: the ranks of one learner, which always do the same thing at the same time.

Ids and scalars pass through; weights go from the ranks to the rollout workers without the driver. Does not: restart a
rank that has died (the run ends with one line and can be resumed).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle

from rlreason.config.base import WatchdogConfig
from rlreason.config.schema import LearnerConfig, RolloutConfig
from rlreason.data.batch import Plan, plan_micro_batches
from rlreason.types import BatchSize, Head, Loss, NotFinite, Scored, TrainSequence, UpdateStats
from rlreason.workers.cluster import worker_options
from rlreason.workers.learner import LearnerWorker
from rlreason.workers.rollout_fleet import RolloutFleet
from rlreason.workers.watchdog import Watch

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
