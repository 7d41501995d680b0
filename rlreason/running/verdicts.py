"""What a run records of judged groups: rows of samples.jsonl, checks that broke, rewards that training cannot hold."""

from dataclasses import asdict, dataclass
from typing import Any

from rlreason.config.rewards import RewardConfig
from rlreason.config.schema import StageConfig
from rlreason.rewards.runtime.combine import broken, value_of
from rlreason.running.job import Job
from rlreason.types import Group, RunError, ScoreStatus, UserError
from rlreason.workers.rollout_fleet import RolloutFleet

MAX_REWARD = 1e15
"""Largest reward, times its weight, either way: its square fits float32, in which the learners count, with room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRewards:
    """Checks of one batch that did not work, with the first of them."""

    num_samples: int
    num_broken: int
    reward: str
    status: ScoreStatus
    detail: str
    """The whole traceback, where there is one."""


def broken_rewards(groups: list[Group], rewards: list[RewardConfig]) -> BrokenRewards | None:
    """How many samples have a checker that broke, and the first of them; None where all worked."""
    verdicts = [scores for group in groups for scores in group.scores]
    found = [(scores, names[0]) for scores in verdicts if (names := broken(scores, rewards))]
    if not found:
        return None
    scores, name = found[0]
    return BrokenRewards(
        num_samples=len(verdicts),
        num_broken=len(found),
        reward=name,
        status=scores[name].status,
        detail=scores[name].detail,
    )


def stop_on_broken_rewards(found: BrokenRewards, max_error_rate: float) -> None:
    """Raises RunError with the first broken verdict where too many checks broke to learn from the others."""
    share = found.num_broken / found.num_samples
    if share > max_error_rate:
        lines = found.detail.strip().splitlines() or [found.status]
        raise RunError(
            f"reward `{found.reward}` broke on {share:.0%} of the samples ({found.status}): {lines[-1]}; events.jsonl "
            "has the whole traceback; mend it and add --resume, or raise reward_workers.max_error_rate above "
            f"{max_error_rate:g}"
        )


def require_trainable(groups: list[Group], rewards: list[RewardConfig]) -> None:
    """Raises UserError with the first reward that is too large to be trained on, and whose it is."""
    weights = {reward.name: max(1.0, abs(reward.weight)) for reward in rewards}
    for group in groups:
        judged = [(f"sample {sample.index}", found) for sample, found in zip(group.samples, group.scores, strict=True)]
        for whose, found in [*judged, ("the greedy answer", group.greedy or {})]:
            for name, score in found.items():
                if abs(value_of(score)) * weights[name] > MAX_REWARD:
                    raise UserError(
                        f"reward `{name}`: {score.value:g} for {whose} of task {group.task.id}; with its weight no "
                        f"reward may be beyond +-{MAX_REWARD:g}, which overflows in training; bound what it returns"
                    )


def report_rewards(groups: list[Group], rollouts: RolloutFleet, config: StageConfig, job: Job, step: int) -> None:
    """Events for reward workers that were replaced and for checks that broke. RunError where there are too many."""
    for reason in rollouts.restarts():
        job.log.event("reward worker replaced", step=step, reason=reason)
    report_broken_rewards(groups, config, job, step)


def report_broken_rewards(groups: list[Group], config: StageConfig, job: Job, step: int) -> None:
    """An event with the number and the first traceback of checks that broke. RunError where there are too many,
    UserError for a reward that is too large.
    """
    require_trainable(groups, config.rewards)
    found = broken_rewards(groups, config.rewards)
    if found is not None:
        job.log.event("broken reward", step=step, **asdict(found))
        stop_on_broken_rewards(found, config.reward_workers.max_error_rate)


def sample_rows(
    groups: list[Group], step: int, *, split: str, rewards: list[list[float]] | None = None
) -> list[dict[str, Any]]:
    """Rows of samples.jsonl."""
    rows = []
    for place, group in enumerate(groups):
        for index, (sample, scores) in enumerate(zip(group.samples, group.scores, strict=True)):
            rows.append(
                {
                    "step": step,
                    "split": split,
                    "task_id": sample.task_id,
                    "index": sample.index,
                    "policy_version": sample.policy_version,
                    "prompt": sample.prompt,
                    "response": sample.response,
                    "answer": group.task.answer,
                    "reward": rewards[place][index] if rewards else next(iter(scores.values())).value,
                    "rewards": {name: score.value for name, score in scores.items()},
                    "verdicts": {name: score.status for name, score in scores.items()},
                    "num_tokens": sample.num_response_tokens,
                    "finish_reason": sample.finish_reason,
                }
            )
    return rows
