"""Advantages of sampled responses. Pure Python: rewards are scalars, groups are lists.

Notation: G = samples of one group (one prompt), K = rewards.
"""

from collections.abc import Mapping, Sequence
from math import sqrt


def group_relative(reward_G: list[float], *, normalize_std: bool = False, epsilon: float = 1e-6) -> list[float]:
    """Reward minus the group's mean, as in GRPO (Shao et al. 2024, arXiv 2402.03300, section 4.1.2).

    `normalize_std` divides by the group's (population) standard deviation plus `epsilon`; without it this is the
    unbiased form that Dr.GRPO argues for (Liu et al. 2025, arXiv 2503.20783). A group in which all rewards are
    equal, or that has one member, gets zeros. Groups may differ in size.

    Example: group_relative([1.0, 0.0, 0.0, 1.0]) == [0.5, -0.5, -0.5, 0.5]
    """
    if not reward_G:
        return []
    mean = sum(reward_G) / len(reward_G)
    advantage_G = [reward - mean for reward in reward_G]
    if not normalize_std:
        return advantage_G
    std = sqrt(sum(advantage**2 for advantage in advantage_G) / len(reward_G))
    return [advantage / (std + epsilon) for advantage in advantage_G]


def gdpo(
    groups: Sequence[Mapping[str, list[float]]], weights: Mapping[str, float], *, epsilon: float = 1e-6
) -> list[list[float]]:
    """Each reward normalised in its own group, weighted sum, then normalised over the batch.

    GDPO (Liu et al. 2026, arXiv 2601.05242, section 3): where one sum is normalised, different mixes of rewards get
    equal advantages; here each reward keeps its own scale. The last step keeps the size of an update from growing with
    the number of rewards. Standard deviations are the population's, plus `epsilon`.
    groups: of each, reward name to reward_G; the names may differ between groups. Returns: advantage_G of each group.

    Example: gdpo([{"right": [1.0, 0.0], "short": [0.0, 0.0]}], {"right": 1.0, "short": 1.0}) is about [[1.0, -1.0]]
    """
    summed = []
    for reward_KG in groups:
        parts_KG = [
            [weights[name] * part for part in group_relative(reward_G, normalize_std=True, epsilon=epsilon)]
            for name, reward_G in reward_KG.items()
        ]
        summed.append([sum(part_K) for part_K in zip(*parts_KG, strict=True)])
    # The batch as one group: its mean and its standard deviation.
    flat = iter(group_relative([a for advantage_G in summed for a in advantage_G], normalize_std=True, epsilon=epsilon))
    return [[next(flat) for _ in advantage_G] for advantage_G in summed]
