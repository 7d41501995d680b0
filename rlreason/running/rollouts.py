"""Rollout and reward workers, started and checked for one stage."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rlreason.config.base import WorkerConfig
from rlreason.config.schema import ModelStage, RLConfig, RolloutConfig, StageConfig
from rlreason.running.checks import require_positions
from rlreason.running.console import counted, say
from rlreason.running.job import Job
from rlreason.running.placement import evaluation_workers
from rlreason.types import (
    UserError,
)
from rlreason.workers.cluster import require_resources
from rlreason.workers.reward import LoadFailure
from rlreason.workers.reward_fleet import RewardFleet
from rlreason.workers.rollout_fleet import RolloutFleet


@contextmanager
def checked_rewards(config: StageConfig, job: Job) -> Iterator[RewardFleet]:
    """Reward workers that have loaded their functions."""
    rewards = _reward_fleet(config)
    try:
        check_rewards(rewards, job)
        yield rewards
    finally:
        rewards.shutdown()


@contextmanager
def rollout_fleet(
    config: ModelStage,
    job: Job,
    model: str,
    *,
    rollout: RolloutConfig | None = None,
    beside: Mapping[str, WorkerConfig] | None = None,
) -> Iterator[RolloutFleet]:
    """Rollout workers with their reward workers, which may all be loading yet: see `wait_ready`. `beside`: others that
    are started at the same time.
    """
    rollout = rollout or config.rollout
    require_positions(model, None, rollout.context_tokens, "rollout.max_context_tokens")
    require_resources({**(beside or {}), **evaluation_workers(config), "rollout": rollout})
    others = "".join(f", {counted(one.workers, name)}" for name, one in (beside or {}).items())
    say(f"{job.name}: starting {counted(rollout.workers, 'rollout engine')} (vLLM){others} and the reward workers")
    rollouts = RolloutFleet(
        model,
        rollout,
        dtype=config.dtype,
        seed=config.seed,
        rewards=_reward_fleet(config),
        adapter_rank=config.adapter_rank,
        watchdog=config.watchdog,
    )
    try:
        yield rollouts
    finally:
        rollouts.shutdown()


def _reward_fleet(config: StageConfig) -> RewardFleet:
    combine = config.combine if isinstance(config, RLConfig) else None
    return RewardFleet(config.rewards, config.reward_workers, config.scorers, config.watchdog, combine=combine)


def wait_ready(rollouts: RolloutFleet, job: Job) -> None:
    """Until engines and rewards are there. UserError as in `check_rewards`."""
    check_rewards(rollouts.rewards, job)
    rollouts.wait_ready()


def check_rewards(rewards: RewardFleet, job: Job) -> None:
    """UserError for a reward that does not load on a worker; its traceback goes to events.jsonl, as do reports such
    as the sandbox's level."""
    found = rewards.check()
    if isinstance(found, LoadFailure):
        job.log.event("broken reward", detail=found.traceback)
        raise UserError(found.message)
    for name, report in found.items():
        job.log.event("reward ready", reward=name, report=report)
