"""Reinforcement learning with verifiable rewards: the whole stage on one page.

    tasks -> rollout workers (vLLM) -> reward workers -> advantages -> learner workers (DeepSpeed) -> weights -> vLLM

One loop for synchronous and asynchronous training: 1 + max_staleness batches of rollouts are in flight, so at
staleness 0 each batch is written by the newest weights. The loop knows no backend, placement or algorithm.

Notation: G = samples of a group.
"""

import random
import statistics
import time
from collections import Counter, deque
from typing import Any

from rlreason.algorithms.advantages import group_relative
from rlreason.config.schema import AlgorithmConfig, RLConfig
from rlreason.data.chat import load_tokenizer
from rlreason.data.order import rows_between
from rlreason.stages.console import Progress
from rlreason.stages.evaluate import eval_sets, evaluate, prompt_tasks, sample_rows
from rlreason.stages.job import Checkpointer, Job, require_model, save_final
from rlreason.types import FAILED_STATUSES, Group, LossSpec, PromptTask, RunError, TrainSequence
from rlreason.workers.cluster import require_resources
from rlreason.workers.fleet import LearnerFleet, Pending, RewardFleet, RolloutFleet

PROBE_TOKENS = 256
"""The parity probe after each sync is about so long."""


def run(config: RLConfig, job: Job) -> dict[str, float]:
    """Trains, writes final/. Returns the last evaluation's figures."""
    assert job.model is not None
    require_model(job.model)
    tokenizer = load_tokenizer(job.model)
    prompts = prompt_tasks(config.tasks, config.rollout, tokenizer)
    sets = eval_sets(config.eval, config.rollout, tokenizer) if config.eval else {}
    fleet = {"rollout": config.rollout, "learner": config.learner, "reward_workers": config.reward_workers}
    require_resources(fleet)
    rewards = RewardFleet(config.rewards, config.reward_workers)
    rewards.check()
    rollouts = RolloutFleet(job.model, config.rollout, dtype=config.learner.dtype, seed=config.seed, rewards=rewards)
    num_updates = config.steps * config.algorithm.minibatches
    learners = LearnerFleet(config.learner, total_steps=num_updates, seed=config.seed, model=job.model)
    try:
        learners.wait_ready()
        rollouts.wait_ready()
        learners.connect(rollouts, config.rollout)
        figures = train(config, job, prompts, sets, rollouts, learners)
        save_final(job, learners, tokenizer, kind="rl", config=config.model_dump(mode="json"))
        return figures
    finally:
        rollouts.shutdown()
        learners.shutdown()


def train(
    config: RLConfig,
    job: Job,
    prompts: list[PromptTask],
    sets: dict[str, list[PromptTask]],
    rollouts: RolloutFleet,
    learners: LearnerFleet,
) -> dict[str, float]:
    """The loop. Returns the last evaluation's figures."""
    checkpointer = Checkpointer(config.checkpoints, job.log, learners)
    step = submitted = checkpointer.resume()["step"]
    sync(config, learners, rollouts, prompts, version=step)
    figures = evaluate_now(config, job, rollouts, sets, step)
    in_flight: deque[Pending] = deque()
    try:
        with Progress(job.name, total=config.steps, done=step) as bar:
            while step < config.steps:
                while len(in_flight) <= config.max_staleness and submitted < config.steps:
                    in_flight.append(
                        rollouts.submit(batch_of(config, prompts, submitted), num_samples=config.samples_per_prompt)
                    )
                    submitted += 1
                groups, metrics = rollouts.collect(in_flight.popleft())
                rewards = total_rewards(groups, {r.name: r.weight for r in config.rewards})
                stop_on_broken_rewards(groups, config.reward_workers.max_error_rate)
                metrics |= rollout_metrics(groups, rewards, version=step)
                with job.interrupts.shield():
                    metrics |= update(config, learners, groups, rewards, step)
                    step += 1
                    metrics |= sync(config, learners, rollouts, prompts, version=step)
                    metrics["throughput/rollout_tokens_per_s"] = num_tokens(groups) / metrics["time/rollout_s"]
                    metrics["throughput/train_tokens_per_s"] = num_tokens(groups) / metrics["time/update_s"]
                    job.log.metrics(step, {"policy_version": step, **metrics})
                    job.log.samples(sample_rows(groups, step, split="train", rewards=rewards))
                bar.step(step, f"reward {metrics['reward/mean']:.3f}  tokens {metrics['response/tokens_mean']:.1f}")
                if checkpointer.is_due(step):
                    checkpointer.save({"step": step})
                if config.eval and config.eval.every and step % config.eval.every == 0 and step < config.steps:
                    figures = evaluate_now(config, job, rollouts, sets, step)
        return evaluate_now(config, job, rollouts, sets, step) or figures
    except KeyboardInterrupt:
        checkpointer.save({"step": step})
        raise


def batch_of(config: RLConfig, prompts: list[PromptTask], step: int) -> list[PromptTask]:
    """The prompts of one step: a pure function of the seed, so the data cursor is the step itself."""
    start = step * config.prompts_per_step
    rows = rows_between(start, start + config.prompts_per_step, len(prompts), config.seed)
    return [prompts[row] for row in rows]


def total_rewards(groups: list[Group], weights: dict[str, float]) -> list[list[float]]:
    """Weighted sum of each sample's scores."""
    return [
        [sum(weights[name] * score.value for name, score in scores.items()) for scores in group.scores]
        for group in groups
    ]


def update(
    config: RLConfig, learners: LearnerFleet, groups: list[Group], rewards: list[list[float]], step: int
) -> dict[str, float]:
    """The optimizer steps of one batch; metrics are the mean over them."""
    start_s = time.monotonic()
    sequences = train_sequences(groups, rewards, config.algorithm, seed=config.seed + step)
    count = config.algorithm.minibatches
    loss = LossSpec(
        name="policy_gradient",
        temperature=config.rollout.temperature,
        clip_low=config.algorithm.clip_low,
        clip_high=config.algorithm.clip_high,
        on_policy=count == 1 and config.max_staleness == 0,
    )
    size = -(-len(sequences) // count)
    parts = [
        learners.finish_update(learners.submit_update(sequences[start : start + size], loss))
        for start in range(0, len(sequences), size)
    ]
    metrics = {key: statistics.fmean(part[key] for part in parts) for key in parts[0]}
    # Only before the first optimizer step do learner and engine hold the same weights.
    first = {key: parts[0][key] for key in ("mismatch/logprob_gap_mean", "mismatch/kl")}
    return metrics | first | {"time/update_s": time.monotonic() - start_s}


def train_sequences(
    groups: list[Group], rewards: list[list[float]], algorithm: AlgorithmConfig, seed: int
) -> list[TrainSequence]:
    """Samples with their advantages, shuffled. A sample whose check broke is left out of its group."""
    rng = random.Random(seed)
    if algorithm.shuffle_rewards:
        rewards = shuffled(rewards, rng)
    sequences = []
    for group, reward_G in zip(groups, rewards, strict=True):
        kept = [i for i, scores in enumerate(group.scores) if not is_broken(scores)]
        kept_reward_G = [reward_G[i] for i in kept]
        if algorithm.baseline == "group_mean":
            kept_reward_G = group_relative(kept_reward_G, normalize_std=algorithm.normalize_std)
        for i, advantage in zip(kept, kept_reward_G, strict=True):
            sample = group.samples[i]
            sequences.append(
                TrainSequence(tokens=sample.tokens, mask=sample.mask, logprobs=sample.logprobs, advantage=advantage)
            )
    rng.shuffle(sequences)
    return sequences


def shuffled(rewards: list[list[float]], rng: random.Random) -> list[list[float]]:
    """The control experiment: the same rewards, dealt out at random."""
    deck = [reward for reward_G in rewards for reward in reward_G]
    rng.shuffle(deck)
    return [[deck.pop() for _ in reward_G] for reward_G in rewards]


def sync(
    config: RLConfig, learners: LearnerFleet, rollouts: RolloutFleet, prompts: list[PromptTask], version: int
) -> dict[str, float]:
    """Brings the engines to the learners' weights and proves it on a probe: a stale tensor is an error."""
    start_s = time.monotonic()
    learners.send_weights(version)
    tokens = tuple(token for prompt in prompts[:16] for token in prompt.tokens)[:PROBE_TOKENS]
    gap = probe_gap(learners, rollouts, tokens[: config.rollout.max_context_tokens - 1])
    limit = config.parity_tolerance or (1e-4 if config.learner.dtype == "float32" else 0.1)
    if not gap <= limit:
        raise RunError(
            f"after sync {version} learner and engine disagree: mean |logprob gap| {gap:.2e} on the probe, "
            f"above {limit:g}; a weight is stale or loaded wrongly (parity_tolerance sets the limit)"
        )
    return {"mismatch/probe_gap_mean": gap, "time/sync_s": time.monotonic() - start_s}


def probe_gap(learners: LearnerFleet, rollouts: RolloutFleet, tokens: tuple[int, ...]) -> float:
    """Largest over engines of the mean |learner - engine| logprob, in nats."""
    ours = learners.logprobs(TrainSequence(tokens=tokens, mask=(1,) * len(tokens)))
    gaps = [
        statistics.fmean(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        for theirs in rollouts.prompt_logprobs(tokens)
    ]
    return max(gaps)


def evaluate_now(
    config: RLConfig, job: Job, rollouts: RolloutFleet, sets: dict[str, list[PromptTask]], step: int
) -> dict[str, float]:
    if config.eval is None:
        return {}
    return evaluate(config.eval, rollouts, sets, job, reward=config.rewards[0].name, step=step)


def is_broken(scores: Any) -> bool:
    return any(score.status in FAILED_STATUSES for score in scores.values())


def stop_on_broken_rewards(groups: list[Group], max_error_rate: float) -> None:
    """Raises RunError with the first broken verdict where too many checks broke to learn from the others."""
    verdicts = [scores for group in groups for scores in group.scores]
    broken = [(name, s) for scores in verdicts for name, s in scores.items() if s.status in FAILED_STATUSES]
    share = sum(is_broken(scores) for scores in verdicts) / len(verdicts)
    if share > max_error_rate:
        name, score = broken[0]
        detail = score.detail.strip().splitlines()[-1] if score.detail.strip() else score.status
        raise RunError(f"reward `{name}` broke on {share:.0%} of the samples ({score.status}): {detail}")


def num_tokens(groups: list[Group]) -> int:
    return sum(sample.num_response_tokens for group in groups for sample in group.samples)


def rollout_metrics(groups: list[Group], rewards: list[list[float]], version: int) -> dict[str, float]:
    samples = [sample for group in groups for sample in group.samples]
    scores = [found for group in groups for found in group.scores]
    flat = [reward for reward_G in rewards for reward in reward_G]
    staleness = [version - sample.policy_version for sample in samples]
    statuses = Counter(score.status for found in scores for score in found.values())
    return {
        "reward/mean": statistics.fmean(flat),
        "reward/std": statistics.pstdev(flat),
        **{f"reward/{name}/mean": statistics.fmean(found[name].value for found in scores) for name in scores[0]},
        "reward/error_rate": sum(map(is_broken, scores)) / len(scores),
        **{f"verdict/{status}": float(count) for status, count in statuses.items()},
        "response/tokens_mean": num_tokens(groups) / len(samples),
        "response/truncated_rate": sum(sample.finish_reason == "length" for sample in samples) / len(samples),
        "staleness/mean": statistics.fmean(staleness),
        "staleness/max": float(max(staleness)),
    }
