"""From judged groups to training sequences and metrics. Pure functions; the RL loop calls them.

Notation: G = samples of a group.
"""

import random
import statistics
from collections import Counter
from dataclasses import dataclass
from math import nan

from rlreason.algorithms.advantages import gdpo, group_relative
from rlreason.config.rewards import CombineConfig, RewardConfig
from rlreason.config.schema import AlgorithmConfig
from rlreason.rewards.combine import actions, broken, combine, is_left_out, value_of
from rlreason.types import Group, RunError, ScoreStatus, TrainSequence


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


def train_sequences(
    groups: list[Group],
    totals: list[list[float]],
    rewards: list[RewardConfig],
    rule: CombineConfig,
    algorithm: AlgorithmConfig,
    seed: int,
) -> list[TrainSequence]:
    """Samples with their advantages, shuffled. A sample whose check did not work is left out as `on_status` says."""
    rng = random.Random(seed)
    kept = [kept_places(group, rewards) for group in groups]
    if rule.mode == "gdpo":
        values = [
            {name: [value_of(group.scores[i][name]) for i in places] for name in group.scores[0]}
            for group, places in zip(groups, kept, strict=True)
        ]
        advantages = gdpo(values, {reward.name: reward.weight for reward in rewards})
    else:
        advantages = [[total_G[i] for i in places] for places, total_G in zip(kept, totals, strict=True)]
        if algorithm.shuffle_rewards:
            advantages = shuffled(advantages, rng)
        if algorithm.baseline == "group_mean":
            advantages = [group_relative(total_G, normalize_std=algorithm.normalize_std) for total_G in advantages]
    sequences = []
    for group, places, advantage_G in zip(groups, kept, advantages, strict=True):
        for i, advantage in zip(places, advantage_G, strict=True):
            sample = group.samples[i]
            sequences.append(
                TrainSequence(tokens=sample.tokens, mask=sample.mask, logprobs=sample.logprobs, advantage=advantage)
            )
    rng.shuffle(sequences)
    return sequences


def kept_places(group: Group, rewards: list[RewardConfig]) -> list[int]:
    """Places of the samples that are trained on; none where one of them drops the group."""
    if any("drop_group" in actions(scores, rewards).values() for scores in group.scores):
        return []
    return [i for i, scores in enumerate(group.scores) if not is_left_out(scores, rewards)]


def shuffled(rewards: list[list[float]], rng: random.Random) -> list[list[float]]:
    """The control experiment: the same rewards, dealt out at random."""
    deck = [reward for reward_G in rewards for reward in reward_G]
    rng.shuffle(deck)
    return [[deck.pop() for _ in reward_G] for reward_G in rewards]


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


def num_tokens(groups: list[Group]) -> int:
    return sum(sample.num_response_tokens for group in groups for sample in group.samples)


def rollout_metrics(
    groups: list[Group], totals: list[list[float]], rewards: list[RewardConfig], version: int
) -> dict[str, float]:
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
        means[f"reward/{reward.name}/mean"] = statistics.fmean(values) if values else nan
    return {
        "reward/mean": statistics.fmean(flat) if flat else nan,
        "reward/std": statistics.pstdev(flat) if flat else nan,
        **means,
        "reward/error_rate": num_broken / len(scores),
        **{f"verdict/{status}": float(count) for status, count in statuses.items()},
        "response/tokens_mean": num_tokens(groups) / len(samples),
        "response/truncated_rate": sum(sample.finish_reason == "length" for sample in samples) / len(samples),
        "staleness/mean": statistics.fmean(staleness),
        "staleness/max": float(max(staleness)),
    }
