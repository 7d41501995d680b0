"""Reinforcement learning with verifiable rewards: the whole stage on one page.

    tasks -> rollout workers (vLLM) -> reward workers -> advantages -> learner workers (DeepSpeed) -> weights -> vLLM

One loop for synchronous and asynchronous training: 1 + max_staleness batches of rollouts are in flight, so at
staleness 0 each batch is written by the newest weights. The loop knows no backend, placement or algorithm.

Notation: G = samples of a group.
"""

import statistics
import time
from collections import deque
from dataclasses import replace
from itertools import chain

from rlreason.config.schema import RLConfig
from rlreason.data.chat import load_tokenizer
from rlreason.data.order import rows_between
from rlreason.stages.console import Progress
from rlreason.stages.evaluate import (
    evaluate,
    prepare,
    report_rewards,
    require_reward,
    require_tasks,
    rollout_fleet,
    sample_rows,
    task_sets,
)
from rlreason.stages.job import Checkpointer, Job, require_model, save_final
from rlreason.stages.rl_batch import num_tokens, rollout_metrics, total_rewards, train_sequences
from rlreason.types import Group, LossSpec, PromptTask, RunError, TrainSequence, UserError
from rlreason.workers.fleet import LearnerFleet, Pending, RolloutFleet

PROBE_TOKENS = 256
"""The parity probe after each sync is about so long."""


def run(config: RLConfig, job: Job) -> dict[str, float]:
    """Trains, writes final/. Returns the last evaluation's figures."""
    require_model(config.model)
    tokenizer = load_tokenizer(config.model)
    prompts = list(chain(*task_sets(config.tasks, config.rollout, tokenizer).values()))
    sets = prepare(config, tokenizer, config.model)
    everything = [*prompts, *chain(*sets.values())]
    require_reward(config.rewards, everything)
    require_tasks(config.rewards, everything)
    with rollout_fleet(config, job, config.model, beside={"learner": config.learner}) as rollouts:
        learners = LearnerFleet(
            config.learner,
            total_steps=config.steps * config.algorithm.minibatches,
            seed=config.seed,
            model=config.model,
            keep_reference=config.algorithm.kl_coef > 0,
        )
        try:
            learners.wait_ready()
            job.log.event("learners ready")
            rollouts.wait_ready()
            job.log.event("rollouts ready")
            learners.connect(rollouts, config.rollout)
            figures = train(config, job, prompts, sets, rollouts, learners)
            save_final(job, learners, tokenizer, kind="rl", config=config.model_dump(mode="json"))
            return figures
        finally:
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
    if step > config.steps:
        raise UserError(f"steps: {config.steps}, but {step} are done; raise it, or start anew with another --run-dir")
    sync(config, learners, rollouts, prompts, version=step)
    evaluate_every = (config.eval and config.eval.every) or config.steps
    in_flight: deque[Pending] = deque()
    try:
        with Progress(job.name, total=config.steps, done=step) as bar:
            while True:
                if step % evaluate_every == 0 or step == config.steps:
                    figures = evaluate(config, rollouts, sets, job, step=step)
                if step == config.steps:
                    return figures
                while len(in_flight) <= config.max_staleness and submitted < config.steps:
                    in_flight.append(
                        rollouts.submit(batch_of(config, prompts, submitted), num_samples=config.samples_per_prompt)
                    )
                    submitted += 1
                groups, metrics = rollouts.collect(in_flight.popleft())
                report_rewards(groups, rollouts, config, job, step + 1)
                rewards = total_rewards(groups, config.rewards, config.combine)
                metrics |= rollout_metrics(groups, rewards, config.rewards, version=step)
                with job.interrupts.shield():
                    metrics |= update(config, learners, groups, rewards, step)
                    step += 1
                    if "policy/loss" not in metrics:
                        job.log.event("no update", step=step, reason="every sample was left out, as on_status says")
                    metrics |= sync(config, learners, rollouts, prompts, version=step)
                    metrics["throughput/rollout_tokens_per_s"] = num_tokens(groups) / metrics["time/rollout_s"]
                    job.log.metrics(step, {"policy_version": step, **metrics})
                    job.log.samples(sample_rows(groups, step, split="train", rewards=rewards))
                    if checkpointer.is_due(step) or step == config.steps:
                        checkpointer.save({"step": step})
                bar.step(step, f"reward {metrics['reward/mean']:.3f}  tokens {metrics['response/tokens_mean']:.1f}")
    except KeyboardInterrupt:
        if not job.interrupts.is_broken:
            checkpointer.save({"step": step})
        raise


def batch_of(config: RLConfig, prompts: list[PromptTask], step: int) -> list[PromptTask]:
    """The prompts of one step: a pure function of the seed, so the data cursor is the step itself.

    From the second epoch on, ids carry the epoch: request seeds come from them, and where two epochs meet one
    prompt may be in a batch twice.
    """
    start = step * config.prompts_per_step
    rows = rows_between(start, start + config.prompts_per_step, len(prompts), config.seed)
    batch = []
    for place, row in enumerate(rows, start):
        prompt, epoch = prompts[row], place // len(prompts)
        task = replace(prompt.task, id=f"{prompt.task.id}#{epoch + 1}") if epoch else prompt.task
        batch.append(replace(prompt, task=task))
    return batch


def update(
    config: RLConfig, learners: LearnerFleet, groups: list[Group], rewards: list[list[float]], step: int
) -> dict[str, float]:
    """The optimizer steps of one batch; metrics are the mean over them. None where every sample was left out."""
    start_s = time.monotonic()
    sequences = train_sequences(
        groups, rewards, config.rewards, config.combine, config.algorithm, seed=config.seed + step
    )
    if not sequences:
        return {"time/update_s": 0.0}
    count = config.algorithm.minibatches
    loss = LossSpec(
        name="policy_gradient",
        temperature=config.rollout.temperature,
        clip_low=config.algorithm.clip_low,
        clip_high=config.algorithm.clip_high,
        kl_coef=config.algorithm.kl_coef,
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
    took_s = time.monotonic() - start_s
    num_trained = sum(sequence.num_trained_tokens for sequence in sequences)
    return metrics | first | {"time/update_s": took_s, "throughput/train_tokens_per_s": num_trained / took_s}


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
