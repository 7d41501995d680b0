"""Judged groups: their rewards, which samples count, mini-batches, metrics. Pure functions; the RL loop calls them.

Notation: G = samples of a group.
"""

import random
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rlreason.config.rewards import CombineConfig, RewardConfig
from rlreason.rewards.combine import actions, broken, combine, is_left_out, value_of
from rlreason.types import Group, RunError, ScoreStatus, TrainSequence, UserError

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


def total_rewards(groups: list[Group], rewards: list[RewardConfig], rule: CombineConfig) -> list[list[float]]:
    """One number for each sample."""
    return [[combine(scores, rewards, rule) for scores in group.scores] for group in groups]


def kept_places(group: Group, rewards: list[RewardConfig]) -> list[int]:
    """Places of the samples that are trained on; none where one of them drops the group."""
    if any("drop_group" in actions(scores, rewards).values() for scores in group.scores):
        return []
    return [i for i, scores in enumerate(group.scores) if not is_left_out(scores, rewards)]


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


def minibatches(
    sequences: list[TrainSequence], *, epochs: int, count: int, rng: random.Random
) -> Iterator[list[TrainSequence]]:
    """What each optimizer step trains on: `epochs` times the whole batch in `count` parts of nearly one size, at most
    one part per sequence; from the second epoch on in a new order."""
    order = list(sequences)
    count = min(count, len(order))
    for _ in range(epochs):
        for i in range(count):
            yield order[len(order) * i // count : len(order) * (i + 1) // count]
        rng.shuffle(order)


def update_metrics(parts: list[dict[str, float]]) -> dict[str, float]:
    """Means over a batch's optimizer steps. `mismatch/*` is that of the first: only before it do learner and engine
    hold the same weights. Nothing where there was no step."""
    if not parts:
        return {}
    first = {key: value for key, value in parts[0].items() if key.startswith("mismatch/")}
    return {key: statistics.fmean(part[key] for part in parts) for key in parts[0]} | first


def num_tokens(groups: list[Group]) -> int:
    return sum(sample.num_response_tokens for group in groups for sample in group.samples)


def rollout_metrics(
    groups: list[Group], totals: list[list[float]], rewards: list[RewardConfig], version: int
) -> dict[str, float]:
    """Figures of what was sampled and of its verdicts. A mean over no sample is left out."""
    samples = [sample for group in groups for sample in group.samples]
    scores = [found for group in groups for found in group.scores]
    # A check that broke says nothing about the answer: it counts in error_rate and verdict/, not in the means.
    flat = [
        total
        for group, total_G in zip(groups, totals, strict=True)
        for found, total in zip(group.scores, total_G, strict=True)
        if not is_left_out(found, rewards)
    ]
    staleness = [version - sample.policy_version for sample in samples]
    statuses = Counter(score.status for found in scores for score in found.values())
    num_broken = sum(bool(broken(found, rewards)) for found in scores)
    means = {}
    for reward in rewards:
        judged = [found[reward.name] for found in scores if reward.name in found]
        values = [value_of(score) for score in judged if reward.action(score.status) in (None, "zero")]
        if values:
            means[f"reward/{reward.name}/mean"] = statistics.fmean(values)
    return {
        **({"reward/mean": statistics.fmean(flat), "reward/std": statistics.pstdev(flat)} if flat else {}),
        **means,
        "reward/error_rate": num_broken / len(scores),
        **{f"verdict/{status}": float(count) for status, count in statuses.items()},
        "response/tokens_mean": num_tokens(groups) / len(samples),
        "response/truncated_rate": sum(sample.finish_reason == "length" for sample in samples) / len(samples),
        "staleness/mean": statistics.fmean(staleness),
        "staleness/max": float(max(staleness)),
    }
