"""Advantages within a group, over the batch and over a sample's tokens, with numbers worked out by hand.

Notation: S = samples, K = rewards, N = trained tokens.
"""

from collections.abc import Callable
from math import inf, nan, sqrt
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlreason.algorithms.advantages import (
    dr_grpo,
    gae,
    gdpo,
    grpo,
    normalize,
    reinforce_pp,
    reinforce_pp_baseline,
    remax,
    rloo,
    token_rewards,
)

OF_GROUPS = {
    "grpo": grpo,
    "grpo without std": lambda reward_S, group_S: grpo(reward_S, group_S, normalize_std=False),
    "grpo, epsilon 0": lambda reward_S, group_S: grpo(reward_S, group_S, epsilon=0.0),
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "reinforce_pp_baseline": reinforce_pp_baseline,
    "gdpo": lambda reward_S, group_S: gdpo(reward_S[:, None], tensor(1.0), group_S),
}
every_function = pytest.mark.parametrize("advantages", OF_GROUPS.values(), ids=OF_GROUPS.keys())


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def ids(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


ONE_GROUP = ids(0, 0, 0, 0)


def test_grpo_by_hand() -> None:
    # mean 1/4, std sqrt(3) / 4: 0.75 / 0.4330127 = 1.7320508
    assert grpo(tensor(1, 0, 0, 0), ONE_GROUP).tolist() == pytest.approx([sqrt(3)] + [-1 / sqrt(3)] * 3, rel=1e-5)
    assert grpo(tensor(1, 0, 0, 0), ONE_GROUP, normalize_std=False).tolist() == [0.75, -0.25, -0.25, -0.25]
    # mean 2, population std 1 (the sample std would be 1.414...)
    assert grpo(tensor(1, 3), ids(5, 5), epsilon=0.0).tolist() == [-1.0, 1.0]
    assert grpo(tensor(1, 3), ids(5, 5), epsilon=1.0).tolist() == [-0.5, 0.5]


def test_groups_may_have_any_ids_any_order_and_any_size() -> None:
    # group 7: 1, 0, 0 (one member lost); group -2: 1, 3; group 10**12: alone
    reward_S, group_S = tensor(1, 1, 0, 0.7, 3, 0), ids(7, -2, 7, 10**12, -2, 7)
    assert dr_grpo(reward_S, group_S).tolist() == pytest.approx([2 / 3, -1, -1 / 3, 0, 1, -1 / 3])
    # std of group 7 is sqrt(2) / 3
    half = 1 / sqrt(2)
    assert grpo(reward_S, group_S, epsilon=0.0).tolist() == pytest.approx([2 * half, -1, -half, 0, 1, -half])
    # the others' means: 0, 3, 1/2, none, 1, 1/2
    assert rloo(reward_S, group_S).tolist() == pytest.approx([1, -2, -0.5, 0, 2, -0.5])


def test_reinforce_pp_baseline_has_one_deviation_for_the_batch() -> None:
    # minus the group's mean: +-1/2, and 3/4 with three times -1/4; variance (2/4 + 9/16 + 3/16) / 6 = 1.25 / 6
    std = sqrt(1.25 / 6)
    found_S = reinforce_pp_baseline(tensor(1, 0, 1, 0, 0, 0), ids(0, 0, 1, 1, 1, 1), epsilon=0.0)
    assert found_S.tolist() == pytest.approx([v / std for v in (0.5, -0.5, 0.75, -0.25, -0.25, -0.25)])


def test_remax_by_hand() -> None:
    assert remax(tensor(1, 0, 0.5), tensor(0, 1, 0.5)).tolist() == [1, -1, 0]


def test_normalize_by_hand() -> None:
    # mean 3, variance (4 + 0 + 4) / 3
    std = sqrt(8 / 3)
    assert normalize(tensor(1, 3, 5)).tolist() == pytest.approx([-2 / std, 0, 2 / std], rel=1e-6)
    assert normalize(tensor(1, 3, 5), 1.0).tolist() == pytest.approx([-2 / (std + 1), 0, 2 / (std + 1)])
    assert normalize(tensor(0.1, 0.1, 0.1), 0.0).tolist() == [0, 0, 0]


@every_function
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rewards", [[0.7], [0.1] * 3, [0.1] * 7, [-2.5] * 8, [1e8 + 0.1] * 3])
def test_one_member_or_no_variance_gives_exactly_zero(
    advantages: Callable[..., Tensor], dtype: torch.dtype, rewards: list[float]
) -> None:
    """0.1 + 0.1 + 0.1 is not 0.3: the rounding of a mean must not be blown up to an advantage."""
    found_S = advantages(torch.tensor(rewards, dtype=dtype), torch.full((len(rewards),), 4))
    assert found_S.tolist() == [0.0] * len(rewards)
    assert found_S.dtype == dtype


@every_function
def test_a_constant_group_beside_others_stays_zero(advantages: Callable[..., Tensor]) -> None:
    found_S = advantages(tensor(1, 0.1, 0, 0.1, 0.1, 5), ids(0, 1, 0, 1, 1, 2))
    assert found_S[[1, 3, 4, 5]].tolist() == [0, 0, 0, 0] and found_S[0] > 0 > found_S[2]


@every_function
def test_an_empty_batch_is_empty(advantages: Callable[..., Tensor]) -> None:
    assert advantages(tensor(), ids()).shape == (0,)


@every_function
@pytest.mark.parametrize("reward", [inf, -inf])
def test_an_infinite_reward_is_refused(advantages: Callable[..., Tensor], reward: float) -> None:
    with pytest.raises(AssertionError):
        advantages(tensor(1, reward), ids(0, 0))


@pytest.mark.parametrize(
    "call",
    [
        lambda: grpo(tensor(1, nan), ids(0, 0)),
        lambda: rloo(tensor(1, nan), ids(0, 0)),
        lambda: remax(tensor(1, 0), tensor(1, nan)),
        lambda: token_rewards(tensor(nan), ids(2)),
        lambda: token_rewards(tensor(1), ids(2), tensor(0, nan)),
        lambda: reinforce_pp(tensor(1, inf), ids(2)),
        lambda: gae(tensor(1, 0), tensor(0, nan), ids(2), gamma=1.0, lam=1.0),
    ],
)
def test_nan_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(AssertionError):
        call()


def test_statistics_are_in_float64() -> None:
    # The mean of 2**24 and 2**24 + 2 is odd, and float32 has no odd numbers there.
    reward_S = torch.tensor([2.0**24, 2.0**24 + 2])
    assert dr_grpo(reward_S, ids(0, 0)).tolist() == [-1.0, 1.0]
    assert dr_grpo(reward_S, ids(0, 0)).dtype == torch.float32
    # 2**24 + 1 + 1, where float32 would stay at 2**24 twice
    _, return_N = gae(torch.tensor([2.0**24, 1, 1]), torch.zeros(3), ids(3), gamma=1.0, lam=1.0)
    assert return_N.tolist() == [2.0**24 + 2, 2, 1]


SAMPLES = st.lists(st.tuples(st.floats(-100, 100), st.integers(0, 3)), min_size=1, max_size=16)


@every_function
@settings(deadline=None, max_examples=25)
@given(SAMPLES, st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(
    advantages: Callable[..., Tensor], samples: list[tuple[float, int]], rng: Random
) -> None:
    reward_S, group_S = tensor(*(s[0] for s in samples)), ids(*(s[1] for s in samples))
    order_S = torch.tensor(rng.sample(range(len(samples)), len(samples)))
    torch.testing.assert_close(
        advantages(reward_S[order_S], group_S[order_S]), advantages(reward_S, group_S)[order_S], rtol=1e-6, atol=1e-6
    )


@every_function
@settings(deadline=None, max_examples=25)
@given(SAMPLES, st.floats(-10, 10))
def test_a_groups_sum_is_zero_and_a_shift_of_its_rewards_changes_nothing(
    advantages: Callable[..., Tensor], samples: list[tuple[float, int]], shift: float
) -> None:
    # A step of 1/16: no two rewards are equal but for rounding.
    reward_S, group_S = tensor(*(round(s[0] * 16) / 16 for s in samples)), ids(*(s[1] for s in samples))
    found_S = advantages(reward_S, group_S)
    assert torch.zeros(4, dtype=torch.float64).index_add(0, group_S, found_S).abs().max() < 1e-9
    torch.testing.assert_close(advantages(reward_S + shift * group_S, group_S), found_S, rtol=1e-6, atol=1e-6)


def test_gdpo_tells_apart_what_one_sum_does_not() -> None:
    """The paper's example: totals (0, 1) and (0, 2) give the same advantages where the sum is normalised."""
    group_S = ids(0, 0, 1, 1)
    assert grpo(tensor(0, 1, 0, 2), group_S, epsilon=0.0).tolist() == [-1, 1, -1, 1]
    reward_SK = torch.stack([tensor(0, 1, 0, 1), tensor(0, 0, 0, 1)], 1)
    # Each reward in its group: the first gives -1 and 1, a constant one 0 and 0. Sums: -1, 1 and -2, 2.
    # Over the batch: mean 0, variance (1 + 1 + 4 + 4) / 4 = 2.5.
    std = sqrt(2.5)
    expected = [-1 / std, 1 / std, -2 / std, 2 / std]
    assert gdpo(reward_SK, tensor(1, 1), group_S).tolist() == pytest.approx(expected, rel=1e-5)


def test_gdpo_weighs_rewards_by_their_weights_and_not_by_their_scales() -> None:
    # a: -1, 1, -1, 1; b (a hundred times larger): -1, -1, 1, 1. With 3a + b: -4, 2, -2, 4; variance 40 / 4 = 10.
    reward_SK = torch.stack([tensor(0, 0.01, 0, 0.01), tensor(0, 0, 1, 1)], 1)
    expected = [v / sqrt(10) for v in (-4, 2, -2, 4)]
    assert gdpo(reward_SK, tensor(3, 1), ONE_GROUP, epsilon=1e-9).tolist() == pytest.approx(expected, rel=1e-5)


def test_gdpo_leaves_out_a_reward_that_does_not_apply() -> None:
    # a: group 0 has 0, 1 and one that it does not apply to: -1, 1, 0. It does not apply to group 1 at all.
    # b applies to group 1 alone: 1, 0, 0 with std sqrt(2) / 3, so sqrt(2), -1 / sqrt(2) twice.
    # Variance of all six: (1 + 1 + 0 + 2 + 1/2 + 1/2) / 6 = 5/6.
    reward_SK = torch.stack([tensor(0, 1, nan, nan, nan, nan), tensor(nan, nan, nan, 1, 0, 0)], 1)
    found_S = gdpo(reward_SK, tensor(1, 1), ids(0, 0, 0, 1, 1, 1))
    half = 1 / sqrt(2)
    expected = [v / sqrt(5 / 6) for v in (-1, 1, 0, 2 * half, -half, -half)]
    assert found_S.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-12)


def test_gdpo_of_rewards_that_apply_to_nothing_is_zero() -> None:
    assert gdpo(torch.full((3, 2), nan), tensor(1, 1), ids(0, 0, 1)).tolist() == [0, 0, 0]


def test_token_rewards_are_on_the_last_trained_token() -> None:
    # The second sample has no trained token, so its reward of 9 is nowhere.
    reward_S, length_S = tensor(1, 9, 2), ids(3, 0, 2)
    assert token_rewards(reward_S, length_S).tolist() == [0, 0, 1, 0, 2]
    penalty_N = tensor(0.5, 0, -0.5, 1, 1)
    assert token_rewards(reward_S, length_S, penalty_N).tolist() == [-0.5, 0, 1.5, -1, 1]
    assert token_rewards(tensor(5), ids(0)).shape == (0,)


def test_reinforce_pp_by_hand() -> None:
    # Returns with gamma 1/2: 0 + 1/2 and 1; 2. Mean 7/6, variance (4/9 + 1/36 + 25/36) / 3 = 7/18.
    std = sqrt(7 / 18)
    found_N = reinforce_pp(tensor(0, 1, 2), ids(2, 0, 1), gamma=0.5, epsilon=0.0)
    assert found_N.tolist() == pytest.approx([-2 / 3 / std, -1 / 6 / std, 5 / 6 / std])
    # Without discount and penalty each token of a sample has the sample's reward: 1, 1, 1, -3 has std sqrt(3).
    found_N = reinforce_pp(tensor(0, 0, 1, -3), ids(3, 1))
    assert found_N.tolist() == pytest.approx([v / sqrt(3) for v in (1, 1, 1, -3)], rel=1e-5)


def test_gae_by_hand() -> None:
    # gamma 0.9, lam 0.5, product 0.45; first sample:
    #   d3 = 1 - 0.2 = 0.8           A3 = 0.8
    #   d2 = 0.9 * 0.2 - 0.4 = -0.22 A2 = -0.22 + 0.45 * 0.8 = 0.14
    #   d1 = 0.9 * 0.4 - 0.5 = -0.14 A1 = -0.14 + 0.45 * 0.14 = -0.077
    # second: empty; third: 2 - 0.5 = 1.5, and nothing of it reaches the first
    advantage_N, return_N = gae(tensor(0, 0, 1, 2), tensor(0.5, 0.4, 0.2, 0.5), ids(3, 0, 1), gamma=0.9, lam=0.5)
    assert advantage_N.tolist() == pytest.approx([-0.077, 0.14, 0.8, 1.5])
    assert return_N.tolist() == pytest.approx([0.423, 0.54, 1.0, 2.0])


SEQUENCES = st.lists(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), max_size=9), max_size=5)


@settings(deadline=None, max_examples=50)
@given(SEQUENCES, st.floats(0, 1), st.floats(0, 1))
def test_gae_is_the_recursion(sequences: list[list[tuple[float, float]]], gamma: float, lam: float) -> None:
    expected = []
    for tokens in sequences:
        advantage, next_value, backwards = 0.0, 0.0, []
        for reward, value in reversed(tokens):
            advantage = reward + gamma * next_value - value + gamma * lam * advantage
            next_value = value
            backwards.append(advantage)
        expected += backwards[::-1]
    flat = [token for tokens in sequences for token in tokens]
    reward_N, value_N = tensor(*(token[0] for token in flat)), tensor(*(token[1] for token in flat))
    advantage_N, return_N = gae(reward_N, value_N, ids(*map(len, sequences)), gamma=gamma, lam=lam)
    assert advantage_N.tolist() == pytest.approx(expected, abs=1e-12)
    assert return_N.tolist() == pytest.approx((advantage_N + value_N).tolist())


def test_gae_with_lam_one_has_the_returns_to_go_whatever_the_values() -> None:
    _, return_N = gae(tensor(1, 2, 3, 4), tensor(9, -9, 5, 7), ids(3, 1), gamma=1.0, lam=1.0)
    assert return_N.tolist() == pytest.approx([6, 5, 3, 4])


def test_token_advantages_of_an_empty_batch_and_their_dtype() -> None:
    assert reinforce_pp(tensor(), ids()).shape == (0,) and reinforce_pp(tensor(), ids(0, 0)).shape == (0,)
    assert gae(tensor(), tensor(), ids(0), gamma=1.0, lam=1.0)[0].shape == (0,)
    one_N = torch.ones(2)
    assert {t.dtype for t in (*gae(one_N, one_N, ids(2), gamma=1.0, lam=1.0), reinforce_pp(one_N, ids(2)))} == {
        torch.float32
    }
    with pytest.raises(AssertionError):
        reinforce_pp(one_N, ids(3))


def test_the_order_of_the_samples_does_not_matter_to_their_tokens() -> None:
    first_N, second_N = tensor(0, 1, -1), tensor(2, 0.5)
    found_N = reinforce_pp(torch.cat([first_N, second_N]), ids(3, 2), gamma=0.9)
    swapped_N = reinforce_pp(torch.cat([second_N, first_N]), ids(2, 3), gamma=0.9)
    assert found_N.tolist() == pytest.approx([*swapped_N[2:].tolist(), *swapped_N[:2].tolist()])
