"""Judged groups: their rewards, which samples count, mini-batches, metrics. Pure functions; the RL loop calls them.

Notation: G = samples of a group.
"""

import random
import statistics
from collections import Counter
from collections.abc import Iterator

from rlreason.config.rewards import CombineConfig, RewardConfig
from rlreason.rewards.runtime.combine import actions, broken, combine, is_left_out, value_of
from rlreason.types import Group, TrainSequence


def total_rewards(groups: list[Group], rewards: list[RewardConfig], rule: CombineConfig) -> list[list[float]]:
    """One number for each sample."""
    return [[combine(scores, rewards, rule) for scores in group.scores] for group in groups]


def kept_places(group: Group, rewards: list[RewardConfig]) -> list[int]:
    """Places of the samples that are trained on; none where one of them drops the group."""
    if any("drop_group" in actions(scores, rewards).values() for scores in group.scores):
        return []
    return [i for i, scores in enumerate(group.scores) if not is_left_out(scores, rewards)]


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
