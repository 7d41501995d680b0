"""Takes one batch from the rollout workers to the first micro-batch of the learner ranks, without an engine; prints
seconds, bytes in transit a token and bytes that the driver holds a sample, as JSON.

Runs on the package that PYTHONPATH names: on the commit before samples became references it takes the path of then.
"""

import json
import pickle
import random
import sys
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import ray

from rlreason.config.algorithm import AlgorithmConfig
from rlreason.config.learner import LearnerConfig
from rlreason.config.rewards import CombineConfig, RewardConfig, RewardWorkerConfig
from rlreason.config.schema import RolloutConfig
from rlreason.types import BatchSize, PolicyLoss, PromptTask, Score, Task, UpdateStats
from rlreason.workers import learner, learner_fleet, reward_fleet, rollout, rollout_fleet

NUM_PROMPTS, NUM_SAMPLES, PROMPT_TOKENS = 16, 16, 256
REWARDS = [RewardConfig(name="math", path="rlreason.rewards.math:reward")]
LOSS = PolicyLoss(name="ppo_clip", constants={"clip_low": 0.2, "clip_high": 0.28})


class Writer:
    """In place of vLLM: the same few completions of random ids over and over, which are there before the time runs."""

    version = 0

    def __init__(self, num_tokens: int) -> None:
        numbers = np.random.default_rng(0)
        tokens = numbers.integers(3, 150_000, (NUM_SAMPLES, num_tokens)).tolist()
        logprobs = (-numbers.random((NUM_SAMPLES, num_tokens))).tolist()
        self._written = [
            SimpleNamespace(tokens=tuple(of), logprobs=tuple(said), finish_reason="length")
            for of, said in zip(tokens, logprobs, strict=True)
        ]

    async def generate(self, requests: Sequence[Any], stop_ids: list[int]) -> list[Any]:
        return [self._written[number % NUM_SAMPLES] for number in range(len(requests))]


class RolloutWorker(rollout.RolloutWorker):
    async def start(self, model: str, *rest: Any) -> None:
        self._seed, self._stop_ids, self._engine = 0, [], Writer(int(model))
        self._tokenizer = SimpleNamespace(decode=lambda ids, **options: f"text {ids[0]}")


class Rows:
    """In place of DeepSpeed: builds the tensors of the first micro-batch and no more."""

    def update(self, micro_batches: list[list[Any]], loss: Any, size: Any) -> UpdateStats:
        from rlreason.engines import objective
        from rlreason.engines.learner import LearnerEngine

        first = micro_batches[0]
        LearnerEngine._rows(SimpleNamespace(device="cpu"), first, None)  # type: ignore[arg-type]
        for name in objective.COLUMNS:
            objective.column(first, name, "cpu")  # type: ignore[arg-type]
        return UpdateStats(loss=0.0, sums={}, num_tokens=1, grad_norm=1.0, lr=1.0, largest_weight=time.monotonic())


class LearnerWorker(learner.LearnerWorker):
    def start(self, *args: Any) -> None:
        self._engine = Rows()  # type: ignore[assignment]


def main(num_tokens: int) -> None:
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    rollout_fleet.RolloutWorker, learner_fleet.LearnerWorker = RolloutWorker, LearnerWorker  # type: ignore[misc]
    rewards = reward_fleet.RewardFleet([], RewardWorkerConfig(cpus=0.1))

    async def score(attempts: Sequence[Any], *rest: Any, **options: Any) -> list[dict[str, Score]]:
        return [{"math": Score(float(number % 2))} for number, _ in enumerate(attempts)]

    rewards._score, rewards._names = score, ["math"]  # type: ignore[assignment, method-assign]
    is_after = hasattr(rewards, "_judge")
    if is_after:
        from rlreason.rewards.runtime.combine import Judge

        rewards._judge = Judge(REWARDS)
    config = RolloutConfig(workers=2, cpus=0.1, max_context_tokens=2 * num_tokens, max_response_tokens=num_tokens)
    rollouts = rollout_fleet.RolloutFleet(str(num_tokens), config, dtype="float32", seed=0, rewards=rewards)
    policy = learner_fleet.LearnerFleet(
        LearnerConfig(workers=2, cpus=0.1, lr=1.0, micro_batch_tokens=4 * num_tokens), total_steps=1, seed=0, model="m"
    )
    rollouts.wait_ready()
    policy.wait_ready()
    prompts = [
        PromptTask(task=Task(id=str(i), prompt="p", answer="7"), text=f"p{i}", tokens=(5,) * PROMPT_TOKENS)
        for i in range(NUM_PROMPTS)
    ]
    prepare(rollouts, policy, prompts[:1], is_after)  # imports, pools
    seconds, groups, transit = prepare(rollouts, policy, prompts, is_after)
    samples = [sample for group in groups for sample in group.samples]
    text = sum(sys.getsizeof(sample.response) for sample in samples)
    tokens = sum(sample.num_response_tokens for sample in samples) + PROMPT_TOKENS * len(samples)
    figures = {
        "seconds": seconds,
        "transit_bytes_per_token": transit / tokens,
        "driver_bytes_per_sample": (held(list(groups), {id(p.task) for p in prompts}) - text) / len(samples),
        "num_tokens": tokens,
    }
    print(json.dumps(figures), flush=True)
    ray.shutdown()


def prepare(rollouts: Any, policy: Any, prompts: list[PromptTask], is_after: bool) -> tuple[float, Any, int]:
    """Seconds from what the engines wrote to the first micro-batch, the driver's groups, bytes between processes."""
    algorithm, rng = AlgorithmConfig(), random.Random(0)
    begun_s = time.monotonic()
    pending = rollouts.submit(prompts, num_samples=NUM_SAMPLES)
    groups, _ = rollouts.collect(pending)
    if is_after:
        from rlreason.rl.experience import Experience, credit, score

        experience = Experience.of(groups, rng)
        score(experience, policy, None, algorithm, wants_reference=False, temperature=1.0)
        counts, _ = credit(
            experience, policy, None, algorithm, None, kl_coef=0.0, max_response_tokens=1, on_policy=False, rng=rng
        )
        update = policy.submit_batch_update(range(len(counts)), LOSS, BatchSize.of_counts(counts), step=1)
        chunks = {sample.arrays for sample in experience.samples}
        transit = sum(map(stored_bytes, ray.get(list(chunks))))
        transit += sum(len(pickle.dumps((sample.num_tokens, sample.row, 0.5))) for sample in experience.samples)
    else:
        from rlreason.stages.rl_credit import Kept, Scores, train_sequences

        kept = Kept.of(groups, REWARDS, rng)
        sequences, _ = train_sequences(
            kept, Scores(), algorithm, REWARDS, CombineConfig(), kl_coef=0.0, max_response_tokens=1, on_policy=False,
            rng=rng,
        )  # fmt: skip
        update = policy.submit_update(sequences, LOSS, step=1)
        transit = len(pickle.dumps([g.samples for g in groups])) + len(pickle.dumps(sequences))
    seconds = max(ray.get(update.stats), key=lambda one: one.largest_weight).largest_weight - begun_s
    return seconds, groups, transit


def stored_bytes(arrays: Any) -> int:
    return sum(column.nbytes for column in (arrays.tokens, arrays.mask, arrays.logprobs, arrays.starts))


def held(value: Any, seen: set[int]) -> int:
    """Bytes of all that is reachable, each object once; object references are one number of the driver's."""
    if id(value) in seen or value is None or isinstance(value, type):
        return 0
    seen.add(id(value))
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        parts = [*value, *value.values()]
    elif isinstance(value, list | tuple):
        parts = list(value)
    elif hasattr(type(value), "__slots__") and not isinstance(value, ray.ObjectRef):
        parts = [getattr(value, name) for name in type(value).__slots__]
    else:
        parts = []
    return size + sum(held(part, seen) for part in parts)


if __name__ == "__main__":
    main(int(sys.argv[1]))
