"""From judged groups to training sequences and metrics. Pure functions; the RL loop calls them.

Notation: G = samples of a group.
"""

import random
import statistics
from collections import Counter
from collections.abc import Mapping

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
    if algorithm.shuffle_rewards:
        rewards = shuffled(rewards, rng)
    sequences = []
    for group, reward_G in zip(groups, rewards, strict=True):
        kept = [i for i, scores in enumerate(group.scores) if not is_broken(scores)]
        kept_reward_G = [reward_G[i] for i in kept]
        if algorithm.baseline == "group_mean":
            kept_reward_G = group_relative(kept_reward_G, normalize_std=algorithm.normalize_std)
        for i, advantage in zip(kept, kept_reward_G, strict=True):
            sample = group.samples[i]
            sequences.append(
                TrainSequence(tokens=sample.tokens, mask=sample.mask, logprobs=sample.logprobs, advantage=advantage)
            )
    rng.shuffle(sequences)
    return sequences


def shuffled(rewards: list[list[float]], rng: random.Random) -> list[list[float]]:
    """The control experiment: the same rewards, dealt out at random."""
    deck = [reward for reward_G in rewards for reward in reward_G]
    rng.shuffle(deck)
    return [[deck.pop() for _ in reward_G] for reward_G in rewards]


def is_broken(scores: Mapping[str, Score]) -> bool:
    return any(score.status in FAILED_STATUSES for score in scores.values())


def stop_on_broken_rewards(groups: list[Group], max_error_rate: float) -> None:
    """Raises RunError with the first broken verdict where too many checks broke to learn from the others."""
    verdicts = [scores for group in groups for scores in group.scores]
    broken = [(name, s) for scores in verdicts for name, s in scores.items() if s.status in FAILED_STATUSES]
    share = sum(is_broken(scores) for scores in verdicts) / len(verdicts)
    if share > max_error_rate:
        name, score = broken[0]
        detail = score.detail.strip().splitlines()[-1] if score.detail.strip() else score.status
        raise RunError(f"reward `{name}` broke on {share:.0%} of the samples ({score.status}): {detail}")


def num_tokens(groups: list[Group]) -> int:
    return sum(sample.num_response_tokens for group in groups for sample in group.samples)


def rollout_metrics(groups: list[Group], rewards: list[list[float]], version: int) -> dict[str, float]:
    samples = [sample for group in groups for sample in group.samples]
    scores = [found for group in groups for found in group.scores]
    flat = [reward for reward_G in rewards for reward in reward_G]
    staleness = [version - sample.policy_version for sample in samples]
    statuses = Counter(score.status for found in scores for score in found.values())
    return {
        "reward/mean": statistics.fmean(flat),
        "reward/std": statistics.pstdev(flat),
        **{f"reward/{name}/mean": statistics.fmean(found[name].value for found in scores) for name in scores[0]},
        "reward/error_rate": sum(map(is_broken, scores)) / len(scores),
        **{f"verdict/{status}": float(count) for status, count in statuses.items()},
        "response/tokens_mean": num_tokens(groups) / len(samples),
        "response/truncated_rate": sum(sample.finish_reason == "length" for sample in samples) / len(samples),
        "staleness/mean": statistics.fmean(staleness),
        "staleness/max": float(max(staleness)),
    }
