"""Judged groups: whether they teach, mini-batches, metrics. Pure functions; the RL loop calls them."""

import random
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from rlreason.data.batch import evenly
from rlreason.types import Group


def teaches(group: Group, *, by_reward: bool = False) -> bool:
    """The rewards of its samples are not all equal, so that they can be told apart. by_reward: any one reward's are."""
    kept = group.kept
    if by_reward:
        return any(len({one.values[name] for one in kept}) > 1 for name in (kept[0].values if kept else {}))
    return len({one.reward for one in kept}) > 1


def minibatches(indices: list[int], *, epochs: int, count: int, rng: random.Random) -> Iterator[Sequence[int]]:
    """What each optimizer step trains on: `epochs` times the whole batch in `count` parts of nearly one size, at most
    one part per sample; from the second epoch on in a new order."""
    order = list(indices)
    for _ in range(epochs):
        yield from evenly(tuple(order), count)
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


def rollout_metrics(groups: list[Group], version: int) -> dict[str, float]:
    """Figures of what was sampled and of its verdicts. A mean over no sample is left out."""
    judged = [one for group in groups for one in group.judged]
    samples = [one.sample for one in judged]
    # A check that broke says nothing about the answer: it counts in error_rate and verdict/, not in the means.
    rewards = [one.reward for one in judged if one.reward is not None]
    staleness = [version - sample.policy_version for sample in samples]
    statuses = Counter(score.status for one in judged for score in one.scores.values())
    values: dict[str, list[float]] = {}
    for one in judged:
        for name, value in one.values.items():
            values.setdefault(name, []).append(value)
    return {
        **({"reward/mean": statistics.fmean(rewards), "reward/std": statistics.pstdev(rewards)} if rewards else {}),
        **{f"reward/{name}/mean": statistics.fmean(found) for name, found in values.items()},
        "reward/error_rate": sum(bool(one.broken) for one in judged) / len(judged),
        **{f"verdict/{status}": float(count) for status, count in statuses.items()},
        "response/tokens_mean": num_tokens(groups) / len(samples),
        "response/truncated_rate": sum(sample.finish_reason == "length" for sample in samples) / len(samples),
        "staleness/mean": statistics.fmean(staleness),
        "staleness/max": float(max(staleness)),
    }
