"""What a configuration leaves to the model and to the machine: contexts, and the CPU cores of each worker.

A file that says nothing of them runs: a context is as long as the model allows, up to 2048 tokens, and workers share
the cores where they would not fit with one each. Does not: choose the number of workers, or GPUs.
"""

import math
from collections.abc import Iterator
from typing import Any

from rlreason.config.base import WorkerConfig
from rlreason.config.corpus import CorpusConfig, TokenizerConfig
from rlreason.config.schema import (
    AnyStage,
    DataStageConfig,
    EvaluateConfig,
    ModelStage,
    PretrainConfig,
    RLConfig,
    SFTConfig,
    StageConfig,
)
from rlreason.running.job import require_model
from rlreason.types import UserError

Workers = dict[str, WorkerConfig]


def evaluation_workers(config: StageConfig) -> Workers:
    """What runs at the same time when answers are written and judged."""
    scorers = {"scorers": config.scorers} if any(reward.model for reward in config.rewards) else {}
    return {"rollout": config.rollout, **scorers, "reward_workers": config.reward_workers}


def worker_groups(config: ModelStage) -> Iterator[Workers]:
    """The stage's workers by their key; those of a group run at the same time."""
    if isinstance(config, RLConfig):
        critic: Workers = {"critic": config.critic} if config.critic else {}
        yield {"learner": config.learner, **critic, **evaluation_workers(config)}
        return
    if not isinstance(config, EvaluateConfig):
        yield {"learner": config.learner}
    if config.eval is not None or (isinstance(config, SFTConfig) and config.knowledge is not None):
        yield evaluation_workers(config)


def placed(config: AnyStage, num_cpus: float) -> AnyStage:
    """With the cores of each worker written out: one, or an equal share of what the others leave where that is less."""
    if isinstance(config, CorpusConfig | TokenizerConfig):
        return config
    changed: dict[str, Any] = {}
    for workers in worker_groups(config):
        free = num_cpus - sum(one.workers * one.cpus for one in workers.values() if one.cpus is not None)
        num_open = sum(one.workers for one in workers.values() if one.cpus is None)
        # Rounded down, so that the sum fits. Where nothing is left, the check of the whole tells so.
        share = math.floor(100 * free / num_open + 1e-6) / 100 if num_open else 1.0
        each = min(1.0, share) if share > 0 else 1.0
        changed |= {key: one.model_copy(update={"cpus": each}) for key, one in workers.items() if one.cpus is None}
    return config.model_copy(update=changed)


def within_model(config: AnyStage, num_positions: int | None) -> AnyStage:
    """With contexts written out, for a model of so many positions (None: no limit). UserError where they do not fit."""
    if isinstance(config, CorpusConfig | TokenizerConfig):
        return config
    rollout = config.rollout.within(num_positions)
    if rollout.response_tokens >= rollout.context_tokens:
        raise UserError(
            f"rollout.max_response_tokens: {rollout.response_tokens} leaves no room for a prompt in the model's "
            f"context of {rollout.context_tokens}; lower it"
        )
    changed: dict[str, Any] = {"rollout": rollout}
    if isinstance(config, DataStageConfig):
        limit = num_positions or config.sequence_tokens
        changed["context_tokens"] = config.context_tokens or min(config.sequence_tokens, limit)
    return config.model_copy(update=changed)


def fitted(config: AnyStage) -> AnyStage:
    """`within_model` for the stage's model. UserError where there is none."""
    if isinstance(config, CorpusConfig | TokenizerConfig):
        return config
    from rlreason.engines.learner_setup import num_positions

    if config.model is not None:
        require_model(config.model)
    architecture = config.architecture if isinstance(config, PretrainConfig) else None
    return within_model(config, num_positions(config.model, architecture))
