"""Reinforcement learning with verifiable rewards: the whole stage on one page.

    tasks -> rollout workers (vLLM) -> reward workers -> advantages -> learner workers (DeepSpeed) -> weights -> vLLM

One loop for synchronous and asynchronous training: 1 + max_staleness batches of rollouts are under way, so at
staleness 0 each batch is written by the newest weights. The loop knows no backend, placement or algorithm.
"""

import math
import random
import statistics
import time
from itertools import chain
from pathlib import Path
from typing import Any

from rlreason.algorithms.guard import KL
from rlreason.algorithms.kl import next_coef
from rlreason.config.algorithm import AlgorithmConfig
from rlreason.config.schema import RLConfig
from rlreason.data.chat import load_tokenizer
from rlreason.data.prompts import task_sets
from rlreason.paths import find_function, require_arguments
from rlreason.rl.batch import minibatches, num_tokens, rollout_metrics, update_metrics
from rlreason.rl.buffer import Batch, RolloutBuffer
from rlreason.rl.experience import Experience, credit, policy_loss, score
from rlreason.rl.guard import Watch, require_gold
from rlreason.rl.signal import Signal
from rlreason.running.checks import require_reward
from rlreason.running.console import Progress, starting
from rlreason.running.evaluation import evaluate, evaluate_model, prepare
from rlreason.running.job import Checkpointer, Job, require_model, save_final
from rlreason.running.rollouts import rollout_fleet, wait_ready
from rlreason.running.verdicts import report_rewards, sample_rows
from rlreason.types import (
    BatchSize,
    Group,
    Loss,
    NotFinite,
    PromptTask,
    RunError,
    TrainSequence,
    ValueLoss,
)
from rlreason.workers.learner_fleet import LearnerFleet
from rlreason.workers.rollout_fleet import RolloutFleet

PROBE_TOKENS = 256
"""The parity probe after each sync is about so long."""
DIVERGED_NATS = -100.0
"""Mean logprob below which a policy is broken: a guess among 100,000 tokens has -11.5."""


def run(config: RLConfig, job: Job) -> dict[str, float]:
    """Trains, writes final/. Returns the last evaluation's figures."""
    require_model(config.model)
    tokenizer = load_tokenizer(config.model)
    prompts = list(chain(*task_sets(config.tasks, config.rollout, tokenizer).values()))
    sets = prepare(config, tokenizer, config.model)
    everything = [*prompts, *chain(*sets.values())]
    require_reward(config.rewards, everything)
    require_gold(config, sets)
    require_functions(config.algorithm)
    beside = {"learner": config.learner} | ({"critic": config.critic} if config.critic else {})
    with rollout_fleet(config, job, config.model, beside=beside) as rollouts:
        common: dict[str, Any] = {"model": config.model, "seed": config.seed, "watchdog": config.watchdog}
        updates, wanted = config.policy_updates, config.wants_reference
        policy = LearnerFleet(config.learner, total_steps=updates, keep_reference=wanted, **common)
        updates = config.steps * config.algorithm.updates_per_step
        critic = LearnerFleet(config.critic, total_steps=updates, head="value", **common) if config.critic else None
        fleets = [policy, critic] if critic else [policy]
        try:
            with starting(job.name, "the learners (DeepSpeed)"):
                for fleet in fleets:
                    fleet.wait_ready()
            job.log.event("learners ready")
            with starting(job.name, "the rollout engines (vLLM)"):
                wait_ready(rollouts, job)
            job.log.event("rollouts ready")
            policy.connect(rollouts, config.rollout)
            step, best = train(config, job, prompts, sets, rollouts, policy, critic)
            save_final(job, policy, tokenizer, kind="rl", config=config.model_dump(mode="json"), model=best, step=step)
        finally:
            for fleet in fleets:
                fleet.shutdown()
    return evaluate_model(config, job, str(job.log.final), sets, step=step)  # known, unless the guard chose another


def train(
    config: RLConfig,
    job: Job,
    prompts: list[PromptTask],
    sets: dict[str, list[PromptTask]],
    rollouts: RolloutFleet,
    policy: LearnerFleet,
    critic: LearnerFleet | None,
) -> tuple[int, Path | None]:
    """The loop. Returns the step whose policy the stage ends with, and the folder of one that the guard chose in place
    of the last. `state` is that of the last finished step.
    """
    checkpointer = Checkpointer(config.checkpoints, job, policy, critic)
    coef = config.algorithm.kl and config.algorithm.kl.coef
    state = {"sampler": None, "kl_coef": coef, "watch": None, "signal": None} | checkpointer.resume()
    step: int = state["step"]
    buffer, watch = (
        RolloutBuffer(config, prompts, rollouts, state["sampler"]),
        Watch(config, job, rollouts, policy, state["watch"]),
    )
    signal = Signal(config, job, state["signal"])
    evaluate_every = (config.eval and config.eval.every) or config.steps
    with checkpointer.rescue(state), Progress(job.name, total=config.steps, done=step) as bar:
        sync(config, policy, rollouts, prompts, version=step)
        while True:
            if step % evaluate_every == 0 or step == config.steps or watch.has_ended:
                watch.observe(step, evaluate(config, rollouts, sets, job, step=step))
            if step == config.steps or watch.has_ended:
                with job.interrupts.shield():
                    checkpointer.save(state | {"watch": watch.state(step)})
                signal.end()
                return watch.end(step)
            watch.reload(step)
            while buffer.num_under_way <= config.max_staleness and step + buffer.num_under_way < config.steps:
                buffer.start()
            batch = buffer.collect()
            report_rewards(batch.groups, rollouts, config, job, step + 1)
            batch = watch.scored(batch)
            metrics = batch.metrics | rollout_metrics(batch.groups, version=step)
            metrics |= signal.observe(step + 1, batch.groups)
            watch.observe(step, metrics)  # before the update: these are the weights that wrote the batch
            with job.interrupts.shield():
                # Before the update: what fails here, such as a full disk, costs this step alone.
                job.log.samples(sample_rows(batch.groups, step + 1, split="train"))
                metrics |= update(config, policy, critic, batch.kept, step, state["kl_coef"])
                step += 1
                watch.observe(step, {KL: metrics[KL]} if KL in metrics else {})
                coef = watch.raised(next_kl_coef(config, state, metrics))
                state = {"step": step, "sampler": buffer.state(), "kl_coef": coef}
                state |= {"watch": watch.state(step), "signal": signal.state()}
                checkpointer.keep(state)
                try:
                    report_update(config, job, batch, metrics, step)
                    metrics |= sync(config, policy, rollouts, prompts, version=step)
                finally:  # a step that a checkpoint keeps has its line, whether or not the engines took its weights
                    metrics["throughput/rollout_tokens_per_s"] = num_tokens(batch.groups) / metrics["time/rollout_s"]
                    job.log.metrics(step, {"policy_version": step, **metrics})
                if checkpointer.is_due(step) or step == config.steps or watch.has_ended:
                    checkpointer.save(state)
            reward = metrics.get("reward/mean", math.nan)  # where every check broke there is none
            bar.step(step, f"reward {reward:.3f}  tokens {metrics['response/tokens_mean']:.1f}")


def update(
    config: RLConfig, policy: LearnerFleet, critic: LearnerFleet | None, groups: list[Group], step: int,
    kl_coef: float | None,
) -> dict[str, float]:  # fmt: skip
    """The optimizer steps of one batch; metrics are the mean over them. No `policy/loss` where there was none."""
    algorithm, rng = config.algorithm, random.Random(config.seed + step)
    experience, start_s = Experience.of(groups, rng), time.monotonic()
    counts: list[int] = []
    metrics, score_s = dict[str, float](), 0.0
    if experience.judged:
        temperature = config.rollout.temperature
        score(experience, policy, critic, algorithm, wants_reference=config.wants_reference, temperature=temperature)
        score_s, start_s = time.monotonic() - start_s, time.monotonic()
        counts, metrics = credit(
            experience,
            policy,
            critic,
            algorithm,
            {reward.name: reward.weight for reward in config.rewards} if config.combine.mode == "gdpo" else None,
            kl_coef=kl_coef or 0.0,
            max_response_tokens=config.rollout.response_tokens,
            on_policy=algorithm.updates_per_step == 1 and config.max_staleness == 0,
            rng=rng,
        )
    learners: list[tuple[LearnerFleet, Loss]] = [(critic, ValueLoss(clip=algorithm.value_clip))] if critic else []
    if step >= (algorithm.critic_warmup_steps or 0):
        learners.append((policy, policy_loss(algorithm, config.rollout, kl_coef or 0.0)))
    parts = []
    trained = [index for index, count in enumerate(counts) if count]
    for part in minibatches(trained, epochs=algorithm.epochs, count=algorithm.minibatches, rng=rng):
        size = BatchSize.of_counts(counts[index] for index in part)
        under_way = [(fleet, fleet.submit_batch_update(part, loss, size, step=step + 1)) for fleet, loss in learners]
        parts.append({k: v for fleet, one in under_way for k, v in fleet.finish_update(one).items()})
    for fleet, _ in learners:
        fleet.skip_updates(algorithm.updates_per_step - len(parts))
    metrics |= update_metrics(parts)
    if algorithm.kl is not None and algorithm.kl.refresh_every and (step + 1) % algorithm.kl.refresh_every == 0:
        policy.refresh_reference()
    took_s = time.monotonic() - start_s
    num_trained = sum(counts) * algorithm.epochs
    return metrics | {
        "time/score_s": score_s,
        "time/update_s": took_s,
        "throughput/train_tokens_per_s": num_trained / took_s,
    }


def report_update(config: RLConfig, job: Job, batch: Batch, metrics: dict[str, float], step: int) -> None:
    """Events for a batch that is short or taught nothing."""
    if len(batch.kept) < config.prompts_per_step and config.algorithm.dynamic_sampling is not None:
        reason = f"max_draws is used up: {len(batch.kept)} of {len(batch.groups)} groups have rewards that differ"
        job.log.event("short batch", step=step, reason=reason)
    if "policy/loss" not in metrics:
        waits = step <= (config.algorithm.critic_warmup_steps or 0)
        reason = "only the critic learns yet" if waits else "no sample is left to train on"
        job.log.event("no update", step=step, reason=reason)


def next_kl_coef(config: RLConfig, state: dict[str, Any], metrics: dict[str, float]) -> float | None:
    """The coefficient of the next step, which a controller steers where there is a target."""
    kl, coef = config.algorithm.kl, state["kl_coef"]
    if kl is None or kl.target is None or kl.horizon is None or "policy/kl" not in metrics:
        return coef
    num_samples = config.prompts_per_step * config.samples_per_prompt
    return next_coef(coef, metrics["policy/kl"], target=kl.target, horizon=kl.horizon, num_samples=num_samples)


def require_functions(algorithm: AlgorithmConfig) -> None:
    """Raises UserError for an advantage or a loss of the user's that is not there or does not take its arguments."""
    for key, path, args, num_tensors in (
        ("advantage", algorithm.advantage, algorithm.advantage_args, 2),
        ("loss", algorithm.loss, algorithm.loss_args, 4),
    ):
        if ":" in path:
            require_arguments(find_function(path), f"algorithm.{key} `{path}`", *[None] * num_tensors, **args)


def sync(
    config: RLConfig, learners: LearnerFleet, rollouts: RolloutFleet, prompts: list[PromptTask], version: int
) -> dict[str, float]:
    """Brings the engines to the learners' weights and proves it on a probe: a stale tensor is an error."""
    start_s = time.monotonic()
    learners.send_weights(version)
    tokens = tuple(token for prompt in prompts[:16] for token in prompt.tokens)[:PROBE_TOKENS]
    tokens = tokens[: config.rollout.context_tokens - 1]
    (ours,) = learners.score([TrainSequence(tokens=tokens, mask=(1,) * len(tokens), origin="the parity probe")])
    gap = probe_gap(ours, rollouts.prompt_logprobs(tokens))
    require_parity(gap, statistics.fmean(ours), version, config)
    return {"mismatch/probe_gap_mean": gap, "time/sync_s": time.monotonic() - start_s}


def probe_gap(ours: list[float], engines: list[list[float]]) -> float:
    """Largest over engines of the mean |learner - engine| logprob, in nats."""
    return max(statistics.fmean(abs(a - b) for a, b in zip(ours, theirs, strict=True)) for theirs in engines)


def require_parity(gap: float, mean_logprob: float, version: int, config: RLConfig) -> None:
    """Raises RunError where learner and engine disagree on the probe. `mean_logprob`: the learner's on it, in nats."""
    limit = config.parity_tolerance or (1e-4 if config.learner.dtype == "float32" else 0.1)
    if gap <= limit:
        return
    disagree = f"learner and engine disagree: mean |logprob gap| {gap:.2e} on the probe, above {limit:g}"
    if mean_logprob < DIVERGED_NATS:
        raise NotFinite(
            f"after step {version} the policy has diverged: its mean logprob on the probe is {mean_logprob:.3g} nats, "
            f"which no engine can follow ({disagree}); lower learner.lr ({config.learner.lr:g}) or raise "
            "learner.warmup_steps"
        )
    raise RunError(
        f"after sync {version} {disagree}; a weight is stale or loaded wrongly (parity_tolerance sets the limit)"
    )
