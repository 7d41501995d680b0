"""What must hold of tasks, rewards and contexts before a stage starts any worker: UserError where it does not."""

from typing import Any

from rlreason.config.rewards import RewardConfig
from rlreason.rewards.runtime.reward_set import check_tasks
from rlreason.types import PromptTask, UserError


def require_reward(rewards: list[RewardConfig], prompts: list[PromptTask]) -> None:
    """Raises UserError where a task has no reward, or one that cannot judge it."""
    for source in sorted({prompt.task.source for prompt in prompts}):
        if not any(reward.applies_to(source) for reward in rewards):
            raise UserError(f"rewards: none is for the tasks of source `{source}`; add it to the `sources` of one")
    check_tasks(rewards, [prompt.task for prompt in prompts])


def require_tasks(rewards: list[RewardConfig], prompts: list[PromptTask]) -> None:
    """Raises UserError where a reward is for a source that no task has."""
    # A recipe's stages share their rewards, and one of them may ask the questions of `knowledge`.
    known = {prompt.task.source for prompt in prompts} | {"knowledge"}
    for reward in rewards:
        unknown = sorted(set(reward.sources) - known)
        if unknown:
            raise UserError(
                f"rewards: `{reward.name}` is for source `{unknown[0]}`, which no task has; "
                f"there are {', '.join(sorted(known))}"
            )


def require_positions(
    model: str | None, architecture: dict[str, Any] | None, context_tokens: int, key: str = "context_tokens"
) -> None:
    """Raises UserError where the context is longer than what the model has positions for."""
    from rlreason.engines.learner_setup import num_positions

    limit = num_positions(model, architecture)
    if limit is not None and context_tokens > limit:
        raise UserError(
            f"{key}: {context_tokens} is more than the model's max_position_embeddings of {limit}; lower it"
        )
