"""What a run records of judged groups: rows of samples.jsonl, and checks that broke."""

from dataclasses import asdict, dataclass
from typing import Any

from rlreason.config.schema import StageConfig
from rlreason.running.job import Job
from rlreason.types import Group, RunError, ScoreStatus
from rlreason.workers.rollout_fleet import RolloutFleet


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRewards:
    """Checks of one batch that did not work, with the first of them."""

    num_samples: int
    num_broken: int
    reward: str
    status: ScoreStatus
    detail: str
    """The whole traceback, where there is one."""


def broken_rewards(groups: list[Group]) -> BrokenRewards | None:
    """How many samples have a checker that broke, and the first of them; None where all worked."""
    judged = [one for group in groups for one in group.judged]
    found = [one for one in judged if one.broken]
    if not found:
        return None
    name = found[0].broken[0]
    score = found[0].scores[name]
    return BrokenRewards(
        num_samples=len(judged), num_broken=len(found), reward=name, status=score.status, detail=score.detail
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


def report_rewards(groups: list[Group], rollouts: RolloutFleet, config: StageConfig, job: Job, step: int) -> None:
    """Events for reward workers that were replaced and for checks that broke. RunError where there are too many."""
    for reason in rollouts.restarts():
        job.log.event("reward worker replaced", step=step, reason=reason)
    report_broken_rewards(groups, config.reward_workers.max_error_rate, job, step)


def report_broken_rewards(groups: list[Group], max_error_rate: float, job: Job, step: int) -> None:
    """An event with the number and the first traceback of checks that broke. RunError where there are too many."""
    found = broken_rewards(groups)
    if found is not None:
        job.log.event("broken reward", step=step, **asdict(found))
        stop_on_broken_rewards(found, max_error_rate)


def sample_rows(groups: list[Group], step: int, *, split: str) -> list[dict[str, Any]]:
    """Rows of samples.jsonl. Those of an evaluation bear the value of the first reward, which judges there."""
    is_evaluation = split != "train"
    rows = []
    for group in groups:
        for judged in group.judged:
            sample, scores = judged.sample, judged.scores
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
                    "reward": next(iter(scores.values())).value if is_evaluation else judged.reward,
                    "rewards": {name: score.value for name, score in scores.items()},
                    "verdicts": {name: score.status for name, score in scores.items()},
                    "num_tokens": sample.num_response_tokens,
                    "finish_reason": sample.finish_reason,
                    **({"left_out": judged.left_out} if judged.left_out and not is_evaluation else {}),
                }
            )
    return rows
