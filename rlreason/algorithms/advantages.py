"""Advantages of sampled responses. Pure Python: rewards are scalars, groups are lists.

Notation: G = samples of one group (one prompt).
"""

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
