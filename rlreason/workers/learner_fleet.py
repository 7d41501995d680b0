"""The learner fleet: the ranks of one learner, which always do the same thing at the same time.

Ids and scalars pass through; weights go from the ranks to the rollout workers without the driver. Does not: restart a
rank that has died (the run ends with one line and can be resumed).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.actor import ActorHandle

from rlreason.config.algorithm import OffPolicyConfig
from rlreason.config.base import WatchdogConfig
from rlreason.config.schema import LearnerConfig, RolloutConfig
from rlreason.data.batch import Plan, balanced, evenly, plan_micro_batches, with_equal_counts
from rlreason.types import (
    BatchSize,
    Head,
    Loss,
    Moments,
    NotFinite,
    Sample,
    Scored,
    TokenCredit,
    TrainSequence,
    UpdateStats,
)
from rlreason.workers.cluster import worker_options
from rlreason.workers.learner import LearnerWorker
from rlreason.workers.rollout_fleet import RolloutFleet, located
from rlreason.workers.watchdog import Watch

if TYPE_CHECKING:
    from rlreason.algorithms.off_policy import MismatchSums
    from rlreason.engines.shard import ColumnName

T = TypeVar("T")
NO_MOMENTS = Moments(count=0, mean=0.0, squares=0.0)
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
    origins: list[str]
    """Of the batch's sequences, for messages."""
    num_tokens: int
    """Prompts included."""
    stats: Any
    """Object references of each rank's UpdateStats."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The batch of samples that the ranks hold."""

    lengths: list[int]
    """Tokens of each sample."""
    response_lengths: list[int]
    origins: list[str]
    ranks: list[int]
    """Which rank holds it."""
    places: list[int]
    """Its place there."""

    def of_rank(self, rank: int) -> list[int]:
        """Its samples, in their order there."""
        return [index for index, owner in enumerate(self.ranks) if owner == rank]


@dataclass(frozen=True, slots=True)
class TokenColumn:
    """Numbers of all tokens of a batch, on the nodes of the ranks that computed them."""

    name: "ColumnName"
    parts: list[Any]
    """Object references, one a rank."""
    batch: Loaded


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
        self._probe: Callable[[], None] = lambda: None
        """A pass over a few sequences of the last update."""
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
        shortest = sorted(sequences, key=lambda sequence: len(sequence.tokens))[:PROBED]
        self._probe = lambda: self._require_numbers(shortest)
        self._last = PendingUpdate(
            step, [one.origin for one in sequences], sum(len(one.tokens) for one in sequences), stats
        )
        return self._last

    def finish_update(self, pending: PendingUpdate) -> dict[str, float]:
        """Metrics of the step, over all ranks; loss, gradient norm and learning rate under `prefix`.

        Raises NotFinite where the loss, the gradient or a trained weight is.
        """
        ranks = self._watch.get("an update", pending.stats, self.workers, size=pending.num_tokens)
        require_finite(ranks, self.prefix, pending.step, pending.origins)
        self.num_finished += 1
        return merge_stats(ranks, self.prefix)

    def load(self, samples: Sequence[Sample], *, num_parts: int = 1) -> None:
        """Each rank fetches its share of a batch from where it was written. The other methods on a batch follow.

        num_parts: optimizer steps that go once through the batch, each of which is shared out evenly.
        """
        lengths = [sample.num_tokens for sample in samples]
        ranks, places = [0] * len(samples), [0] * len(samples)
        taken = [0] * len(self.workers)
        for part in evenly(range(len(samples)), num_parts):
            share = balanced([lengths[index] for index in part], len(self.workers))
            owners = {part[at]: rank for rank, members in enumerate(share) for of in members for at in of}
            for index in part:
                ranks[index] = owners[index]
                places[index] = taken[owners[index]]
                taken[owners[index]] += 1
        self._batch = Loaded(
            lengths, [one.num_response_tokens for one in samples], [one.origin for one in samples], ranks, places
        )
        calls = []
        for rank, worker in enumerate(self.workers):
            mine = [samples[index] for index in self._batch.of_rank(rank)]
            rows, chunks = located(mine)
            named = [(*row, sample.origin) for row, sample in zip(rows, mine, strict=True)]
            calls.append(worker.load.remote(named, *chunks))
        self._watch.get("loading a batch", calls, self.workers, size=sum(lengths))

    def compute(self, what: Scored, temperature: float = 1.0) -> None:
        """A pass over the batch, whose numbers stay with the ranks. Raises NotFinite where one is NaN or infinite."""
        self._pass(range(len(self._batch.lengths)), what, temperature, is_kept=True)

    def penalties(self) -> list[float]:
        """`Shard.penalties` of each sample."""
        return self._gathered(self._on_shards("penalties"))

    def set_advantages(self, advantage_S: Sequence[float]) -> None:
        """One advantage a sample."""
        self._on_shards("broadcast", self._scattered(advantage_S))

    def credit(self, credit: TokenCredit, reward_S: Sequence[float]) -> dict[str, Moments]:
        """Sets an advantage for each token, normalised over the batch. Returns the moments from before that."""
        parts: list[dict[str, Moments]] = self._on_shards(
            "credit", [credit] * len(self.workers), self._scattered(reward_S)
        )
        merged = {name: sum((part[name] for part in parts), start=NO_MOMENTS) for name in parts[0]}
        self._on_shards("normalise", [merged["advantage"]] * len(self.workers))
        return merged

    def beyond(self, limit: float) -> tuple[str, float] | None:
        """Origin and advantage of a sample with one beyond +-limit; None where there is none."""
        for rank, found in enumerate(self._on_shards("beyond", [limit] * len(self.workers))):
            if found is not None:
                return self._batch.origins[self._batch.of_rank(rank)[found[0]]], found[1]
        return None

    def correct(self, config: OffPolicyConfig) -> list["MismatchSums"]:
        """`Shard.correct` on each rank."""
        return self._on_shards("correct", [config] * len(self.workers))

    def column(self, name: "ColumnName") -> TokenColumn:
        """Numbers that the ranks hold, for another fleet; they do not pass the driver."""
        return TokenColumn(name, [worker.on_shard.remote("column", name) for worker in self.workers], self._batch)

    def take(self, column: TokenColumn) -> None:
        """The same batch's numbers from another fleet."""
        theirs, starts = column.batch, [0] * len(column.batch.lengths)
        for rank in range(len(column.parts)):
            at = 0
            for index in theirs.of_rank(rank):
                starts[index] = at
                at += theirs.response_lengths[index]
        calls = []
        for rank, worker in enumerate(self.workers):
            mine = self._batch.of_rank(rank)
            needed = sorted({theirs.ranks[index] for index in mine})
            picks = [(needed.index(theirs.ranks[index]), starts[index]) for index in mine]
            calls.append(worker.take.remote(column.name, picks, *(column.parts[one] for one in needed)))
        self._watch.get("an exchange of columns", calls, self.workers)

    def settle(self, *, is_on_policy: bool) -> list[int]:
        """Ends the preparation of the batch. Returns the tokens of each sample that are trained on."""
        calls = [worker.settle.remote(is_on_policy) for worker in self.workers]
        return self._gathered(self._watch.get("the end of the preparation", calls, self.workers))

    def submit_batch_update(self, indices: Sequence[int], loss: Loss, size: BatchSize, *, step: int) -> PendingUpdate:
        """`submit_update` on some samples of the batch that is loaded."""
        self.num_submitted += 1
        stats = [
            worker.update_batch.remote(micros, loss, size)
            for worker, micros in zip(self.workers, self._batch_plan(indices), strict=True)
        ]
        self._probe = self._require_batch_numbers
        origins = [self._batch.origins[index] for index in indices]
        self._last = PendingUpdate(step, origins, sum(self._batch.lengths[index] for index in indices), stats)
        return self._last

    def _pass(self, indices: Sequence[int], what: Scored, temperature: float, *, is_kept: bool) -> None:
        calls = [
            worker.compute.remote(micros, what, temperature, is_kept)
            for worker, micros in zip(self.workers, self._batch_plan(indices), strict=True)
        ]
        size = sum(self._batch.lengths[index] for index in indices)
        bad = list(chain.from_iterable(self._watch.get(f"a pass of the {what}", calls, self.workers, size=size)))
        if bad:
            raise self._not_finite(bad, what)

    def _batch_plan(self, indices: Sequence[int]) -> Plan:
        """Micro-batches of each rank, by places there."""
        batch, config, plan = self._batch, self.config, []
        for rank in range(len(self.workers)):
            mine = [index for index in indices if batch.ranks[index] == rank]
            lengths = [batch.lengths[index] for index in mine]
            (micros,) = plan_micro_batches(lengths, 1, config.micro_batch_tokens, config.pack_tokens)
            plan.append([[batch.places[mine[at]] for at in micro] for micro in micros])
        return with_equal_counts(plan)

    def _on_shards(self, method: str, *args: Sequence[Any]) -> list[Any]:
        """`args`: of each, one a rank."""
        calls = [worker.on_shard.remote(method, *(of[rank] for of in args)) for rank, worker in enumerate(self.workers)]
        return self._watch.get(f"work on a batch ({method})", calls, self.workers)

    def _scattered(self, values: Sequence[T]) -> list[list[T]]:
        """Numbers of the batch's samples, as the ranks hold them."""
        return [[values[index] for index in self._batch.of_rank(rank)] for rank in range(len(self.workers))]

    def _gathered(self, parts: Sequence[Sequence[T]]) -> list[T]:
        return [parts[rank][place] for rank, place in zip(self._batch.ranks, self._batch.places, strict=True)]

    def skip_updates(self, count: int) -> None:
        """Tells the schedule of the learning rate of updates that were planned and are not made."""
        if count:
            self._all("a step of the schedule", "skip_updates", count)

    def require_finite_output(self) -> None:
        """Raises NotFinite where the present weights, finite or not, make no numbers of the last batch's shortest
        sequences: such weights must not replace better ones on the disk.
        """
        self._probe()

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
        bad = [one.origin for one, found in zip(sequences, scores, strict=True) if not all(map(math.isfinite, found))]
        if bad:
            raise self._not_finite(bad, what)
        return scores

    def _not_finite(self, origins: list[str], what: Scored) -> NotFinite:
        model = "reference" if what == "reference" else self.prefix.replace("_", " ")
        said = f"{'values' if what == 'value' else 'logprobs'} of the {model} are not finite on {named(origins)}"
        if self._last is None:
            return NotFinite(f"before the first update {said}; try another dtype or model", known(origins))
        return NotFinite(f"after step {self._last.step} {said}; {advice(self.prefix, self.config.lr)}", known(origins))

    @property
    def _output(self) -> Scored:
        """What the model's head says."""
        return "policy" if self._head == "language" else "value"

    def _require_numbers(self, sequences: list[TrainSequence]) -> None:
        self.score(sequences, self._output)

    def _require_batch_numbers(self) -> None:
        """Of the batch that is loaded now: it may be a later one than that of the last update."""
        lengths = self._batch.lengths
        shortest = sorted(range(len(lengths)), key=lengths.__getitem__)[:PROBED]
        self._pass(shortest, self._output, 1.0, is_kept=False)

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


def require_finite(ranks: list[UpdateStats], model: str, step: int, origins: Sequence[str]) -> None:
    """Raises NotFinite where one update's loss, gradient norm or trained weights are; `origins`: of its batch."""
    figures = {f"{model}/loss": sum(rank.loss for rank in ranks), f"{model}/grad_norm": ranks[0].grad_norm}
    figures["a trained weight"] = next((w for rank in ranks if not math.isfinite(w := rank.largest_weight)), 0.0)
    bad = [f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value)]
    if bad:
        suspects = {origin for rank in ranks for origin in rank.suspects}
        blamed = [one for one in origins if one in suspects] or origins
        raise NotFinite(
            f"step {step}: {', '.join(bad)}; trained on {named(blamed)}; {advice(model, ranks[0].lr)}", known(blamed)
        )


def advice(model: str, lr: float) -> str:
    """What to try where a learner's numbers are not finite."""
    key = "critic" if model == "critic" else "learner"
    return f"lower {key}.lr ({lr:g}) or raise {key}.warmup_steps, and look at these rows"


def known(origins: Sequence[str]) -> tuple[str, ...]:
    """Each once, without those that have no name."""
    return tuple(dict.fromkeys(one for one in origins if one))


def named(origins: Sequence[str]) -> str:
    """A few of the origins, and how many more there are."""
    found = known(origins)
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(found[:NAMED]) + more if found else f"{len(origins)} sequences"


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
