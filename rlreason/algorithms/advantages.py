"""Advantages of sampled responses: how much better than expected a sample, or a token, was.

Pure functions of tensors, on rewards of float32 or float64; statistics in float64, the result in the dtype that came
in. Nothing depends on the order of the samples, on their number in a group, or on a group having kept all of its
members. Standard deviations are the population's; where all values are equal the result is exactly 0, also for
values such as 0.1 whose mean is rounded. A reward that is not finite is an AssertionError.

Notation: S = samples of the batch, K = rewards, N = trained tokens of all samples, flat, sample after sample;
`group_S` int64: the group (prompt) of each sample, any ids; `length_S` int64: trained tokens of each sample, may be 0,
together N.
"""

import torch
from torch import Tensor

from rlreason.algorithms.segments import reduce_parts

EPSILON = 1e-6
"""Added to a standard deviation before the division by it: differences far below it are rounding, not rewards."""


def grpo(reward_S: Tensor, group_S: Tensor, *, normalize_std: bool = True, epsilon: float = EPSILON) -> Tensor:
    """Reward minus the group's mean, over the group's standard deviation (Shao et al. 2024, arXiv 2402.03300, 4.1.2).

    A group in which all rewards are equal, or that has one member, gets zeros. Returns: advantage_S.

    Example: rewards [1, 0, 0, 1] of one group give [1, -1, -1, 1], without `normalize_std` half of that.
    """
    deviation_S = _deviation(reward_S, group_S)
    if normalize_std:
        deviation_S = _over_std(deviation_S, group_S, epsilon)
    return deviation_S.to(reward_S.dtype)


def dr_grpo(reward_S: Tensor, group_S: Tensor) -> Tensor:
    """Reward minus the group's mean, undivided (Liu et al. 2025, arXiv 2503.20783).

    Dividing by the standard deviation would favour questions that are too easy or too hard. Returns: advantage_S.
    """
    return grpo(reward_S, group_S, normalize_std=False)


def rloo(reward_S: Tensor, group_S: Tensor) -> Tensor:
    """Reward minus the mean of the *others* of its group (Ahmadian et al. 2024, arXiv 2402.14740).

    For n samples n / (n - 1) times the reward minus the group's mean. A group of one has no others and gets 0: it
    teaches nothing. Returns: advantage_S.
    """
    size_S = reduce_parts(torch.ones_like(reward_S, dtype=torch.float64), _places(group_S), "sum")
    return (_deviation(reward_S, group_S) * size_S / (size_S - 1).clamp_min(1)).to(reward_S.dtype)


def reinforce_pp_baseline(reward_S: Tensor, group_S: Tensor, *, epsilon: float = EPSILON) -> Tensor:
    """REINFORCE++ with baseline: minus the group's mean, then normalised over the whole batch (arXiv 2501.03262).

    One standard deviation for all groups, each sample counted once: a group whose rewards hardly differ is not blown
    up, as in GRPO. Returns: advantage_S.
    """
    return normalize(_deviation(reward_S, group_S), epsilon).to(reward_S.dtype)


def remax(reward_S: Tensor, greedy_reward_S: Tensor) -> Tensor:
    """Reward minus that of the same prompt's greedy response (Li et al. 2023, arXiv 2310.10505).

    Returns: advantage_S.
    """
    assert reward_S.shape == greedy_reward_S.shape
    return (_finite(reward_S) - _finite(greedy_reward_S)).to(reward_S.dtype)


def gdpo(reward_SK: Tensor, weight_K: Tensor, group_S: Tensor, *, epsilon: float = EPSILON) -> Tensor:
    """Each reward normalised in its own group, weighted sum, then normalised over the batch.

    GDPO (Liu et al. 2026, arXiv 2601.05242, section 3): where one sum is normalised, different mixes of rewards get
    equal advantages; here each reward keeps its own scale. The last step keeps the size of an update from growing with
    the number of rewards. A NaN in reward_SK is a reward that does not apply to the sample: it enters no mean and no
    standard deviation of that reward, and adds 0 to the sample's sum. Returns: advantage_S.

    Example: rewards [[1, 0], [0, 0]] of one group, both of weight 1, give [1, -1].
    """
    summed_S = torch.zeros_like(group_S, dtype=torch.float64)
    for reward_S, weight in zip(reward_SK.unbind(1), weight_K.tolist(), strict=True):
        applies_S = ~reward_S.isnan()
        part_S = grpo(reward_S[applies_S].double(), group_S[applies_S], epsilon=epsilon)
        summed_S[applies_S] += weight * part_S
    return normalize(summed_S, epsilon).to(reward_SK.dtype)


def token_rewards(reward_S: Tensor, length_S: Tensor, penalty_N: Tensor | None = None) -> Tensor:
    """The reward on each sample's last trained token, minus the penalty of every token (a KL estimate, weighted).

    The reward of a sample without trained tokens is nowhere. Returns: token_reward_N.
    """
    token_reward_N = reward_S.new_zeros(int(length_S.sum()), dtype=torch.float64)
    has_S = length_S > 0
    token_reward_N[length_S.cumsum(0)[has_S] - 1] = _finite(reward_S)[has_S]
    if penalty_N is not None:
        assert penalty_N.shape == token_reward_N.shape
        token_reward_N -= _finite(penalty_N)
    return token_reward_N.to(reward_S.dtype)


def reinforce_pp(token_reward_N: Tensor, length_S: Tensor, *, gamma: float = 1.0, epsilon: float = EPSILON) -> Tensor:
    """REINFORCE++ (Hu et al. 2025, arXiv 2501.03262): returns-to-go, normalised over all tokens of the batch.

    No groups and no critic: the batch is the baseline. `gamma`: discount of a token's reward for each token before it.
    Returns: advantage_N.
    """
    return normalize(returns_to_go(token_reward_N, length_S, gamma=gamma), epsilon).to(token_reward_N.dtype)


def returns_to_go(token_reward_N: Tensor, length_S: Tensor, *, gamma: float) -> Tensor:
    """At each token the discounted rewards from it to the end of its sample, float64. Returns: return_N."""
    return _discounted_sum(_finite(token_reward_N), length_S, gamma)


def gae(
    token_reward_N: Tensor, value_N: Tensor, length_S: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438, eq. 16).

    A_t = sum over l of (gamma lam)^l d_{t+l}, with d_t = r_t + gamma V_{t+1} - V_t within the sample; after its last
    token the value is 0. value_N: the critic's value before each token, without gradient. Not normalised.

    Returns: advantage_N; return_N = advantage_N + value_N, the critic's target.
    """
    old_value_N = _finite(value_N)
    next_value_N = old_value_N.roll(-1).masked_fill(_tokens_left(length_S) == 0, 0.0)
    delta_N = _finite(token_reward_N) + gamma * next_value_N - old_value_N
    advantage_N = _discounted_sum(delta_N, length_S, gamma * lam)
    return advantage_N.to(token_reward_N.dtype), (advantage_N + old_value_N).to(token_reward_N.dtype)


def normalize(value_N: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Mean 0 and population standard deviation 1; equal values give zeros."""
    return grpo(value_N, torch.zeros_like(value_N, dtype=torch.int64), epsilon=epsilon)


def _finite(value_N: Tensor) -> Tensor:
    assert value_N.isfinite().all(), "rewards, penalties and values must be finite"
    return value_N.detach().double()


def _places(group_S: Tensor) -> Tensor:
    """Group ids as 0, 1, ..."""
    return group_S.unique(return_inverse=True)[1]


def _deviation(reward_S: Tensor, group_S: Tensor) -> Tensor:
    """Reward minus the group's mean, float64. From the group's least reward on, so that equal ones give exactly 0."""
    assert reward_S.shape == group_S.shape
    place_S = _places(group_S)
    reward_S = _finite(reward_S)
    above_S = reward_S - reduce_parts(reward_S, place_S, "amin")
    return above_S - reduce_parts(above_S, place_S, "mean")


def _over_std(deviation_S: Tensor, group_S: Tensor, epsilon: float) -> Tensor:
    std_S = reduce_parts(deviation_S.square(), _places(group_S), "mean").sqrt()
    return torch.where(std_S > 0, deviation_S / (std_S + epsilon), 0.0)


def _tokens_left(length_S: Tensor) -> Tensor:
    """How many tokens of its sample come after each token: shape [N]."""
    end_N = length_S.cumsum(0).repeat_interleave(length_S)
    return end_N - 1 - torch.arange(len(end_N), device=end_N.device)


def _discounted_sum(value_N: Tensor, length_S: Tensor, discount: float) -> Tensor:
    """At each token the sum over l of discount^l * value_{t+l}, to the end of its sample.

    By doubling: after a round each place holds the sum of twice as many values. O(N log longest), without padding.
    """
    left_N = _tokens_left(length_S)
    assert value_N.shape == left_N.shape
    span = 1
    while (left_N >= span).any():
        value_N = value_N + discount**span * value_N.roll(-span).masked_fill(left_N < span, 0.0)
        span *= 2
    return value_N
