"""From judged groups to training sequences and metrics. Pure functions; the RL loop calls them.

Notation: G = samples of a group.
"""

import random
import statistics
from collections import Counter
from collections.abc import Mapping
from math import nan

from rlreason.algorithms.advantages import group_relative
from rlreason.config.schema import AlgorithmConfig
from rlreason.types import FAILED_STATUSES, Group, RunError, Score, TrainSequence


def total_rewards(groups: list[Group], weights: dict[str, float]) -> list[list[float]]:
    """Weighted sum of each sample's scores."""
    return [
        [sum(weights[name] * score.value for name, score in scores.items()) for scores in group.scores]
        for group in groups
    ]


def train_sequences(
    groups: list[Group], rewards: list[list[float]], algorithm: AlgorithmConfig, seed: int
) -> list[TrainSequence]:
    """Samples with their advantages, shuffled. A sample whose check broke is left out of its group."""
    rng = random.Random(seed)
    kept = [working(group) for group in groups]
    kept_rewards = [[reward_G[i] for i in places] for places, reward_G in zip(kept, rewards, strict=True)]
    if algorithm.shuffle_rewards:
        kept_rewards = shuffled(kept_rewards, rng)
    sequences = []
    for group, places, reward_G in zip(groups, kept, kept_rewards, strict=True):
        advantage_G = reward_G
        if algorithm.baseline == "group_mean":
            advantage_G = group_relative(reward_G, normalize_std=algorithm.normalize_std)
        for i, advantage in zip(places, advantage_G, strict=True):
            sample = group.samples[i]
            sequences.append(
                TrainSequence(tokens=sample.tokens, mask=sample.mask, logprobs=sample.logprobs, advantage=advantage)
            )
    rng.shuffle(sequences)
    return sequences


def working(group: Group) -> list[int]:
    """Places of the samples whose checks all worked."""
    return [i for i, scores in enumerate(group.scores) if not is_broken(scores)]


def shuffled(rewards: list[list[float]], rng: random.Random) -> list[list[float]]:
    """The control experiment: the same rewards, dealt out at random."""
    deck = [reward for reward_G in rewards for reward in reward_G]
    rng.shuffle(deck)
    return [[deck.pop() for _ in reward_G] for reward_G in rewards]


def is_broken(scores: Mapping[str, Score]) -> bool:
    return any(score.status in FAILED_STATUSES for score in scores.values())


def first_broken(groups: list[Group]) -> dict[str, str] | None:
    """The first check that did not work: reward, status, detail (its traceback)."""
    for group in groups:
        for scores in group.scores:
            for name, score in scores.items():
                if score.status in FAILED_STATUSES:
                    return {"reward": name, "status": score.status, "detail": score.detail}
    return None


def stop_on_broken_rewards(groups: list[Group], max_error_rate: float) -> None:
    """Raises RunError with the first broken verdict where too many checks broke to learn from the others."""
    verdicts = [scores for group in groups for scores in group.scores]
    share = sum(map(is_broken, verdicts)) / len(verdicts)
    broken = first_broken(groups)
    if broken is not None and share > max_error_rate:
        lines = broken["detail"].strip().splitlines() or [broken["status"]]
        raise RunError(
            f"reward `{broken['reward']}` broke on {share:.0%} of the samples ({broken['status']}): {lines[-1]}; "
            f"mend it and add --resume, or raise reward_workers.max_error_rate above {max_error_rate:g}"
        )


def num_tokens(groups: list[Group]) -> int:
    return sum(sample.num_response_tokens for group in groups for sample in group.samples)


def rollout_metrics(groups: list[Group], rewards: list[list[float]], version: int) -> dict[str, float]:
    samples = [sample for group in groups for sample in group.samples]
    scores = [found for group in groups for found in group.scores]
    # A broken check says nothing about the answer: it counts in error_rate and verdict/, not in the means.
    flat = [reward_G[i] for group, reward_G in zip(groups, rewards, strict=True) for i in working(group)]
    values = {name: [s[name].value for s in scores if s[name].status not in FAILED_STATUSES] for name in scores[0]}
    staleness = [version - sample.policy_version for sample in samples]
    statuses = Counter(score.status for found in scores for score in found.values())
    return {
        "reward/mean": statistics.fmean(flat) if flat else nan,
        "reward/std": statistics.pstdev(flat) if flat else nan,
        **{f"reward/{name}/mean": statistics.fmean(found) if found else nan for name, found in values.items()},
        "reward/error_rate": sum(map(is_broken, scores)) / len(scores),
        **{f"verdict/{status}": float(count) for status, count in statuses.items()},
        "response/tokens_mean": num_tokens(groups) / len(samples),
        "response/truncated_rate": sum(sample.finish_reason == "length" for sample in samples) / len(samples),
        "staleness/mean": statistics.fmean(staleness),
        "staleness/max": float(max(staleness)),
    }
