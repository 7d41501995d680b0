"""Advantages within a group and, for GDPO, over the batch, with numbers worked out by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.algorithms.advantages import gdpo, group_relative


def test_the_mean_is_taken_off() -> None:
    assert group_relative([1.0, 0.0, 0.0, 1.0]) == [0.5, -0.5, -0.5, 0.5]
    assert group_relative([1.0, 0.0, 0.0, 0.0]) == [0.75, -0.25, -0.25, -0.25]


def test_the_standard_deviation_is_the_population_one() -> None:
    # mean 2, deviations -1 and 1, population std 1 (the sample std would be 1.414...)
    assert group_relative([1.0, 3.0], normalize_std=True, epsilon=0.0) == [-1.0, 1.0]
    # std sqrt(3) / 4: 0.75 / 0.4330127 = 1.7320508
    assert group_relative([1.0, 0.0, 0.0, 0.0], normalize_std=True) == pytest.approx(
        [3**0.5, -(3**-0.5), -(3**-0.5), -(3**-0.5)], rel=1e-5
    )
    assert group_relative([1.0, 3.0], normalize_std=True, epsilon=1.0) == [-0.5, 0.5]


def test_a_group_that_lost_a_member_takes_the_mean_of_the_rest() -> None:
    groups = [[1.0, 0.0, 0.0], [1.0, 0.0], [1.0]]
    expected = [[2 / 3, -1 / 3, -1 / 3], [0.5, -0.5], [0.0]]
    for group, advantages in zip(groups, expected, strict=True):
        assert group_relative(group) == pytest.approx(advantages)


@pytest.mark.parametrize("normalize_std", [False, True])
@pytest.mark.parametrize("group", [[0.0], [0.7], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0], [-2.5] * 8])
def test_one_member_or_no_variance_gives_zeros(group: list[float], normalize_std: bool) -> None:
    assert group_relative(group, normalize_std=normalize_std) == [0.0] * len(group)


@pytest.mark.parametrize("normalize_std", [False, True])
def test_equal_rewards_that_floats_cannot_hold_exactly_give_nearly_zero(normalize_std: bool) -> None:
    # 0.1 + 0.1 + 0.1 is not 0.3: the rounding of the mean must not be blown up to a full-size advantage.
    assert group_relative([0.1, 0.1, 0.1], normalize_std=normalize_std) == pytest.approx([0.0] * 3, abs=1e-9)


@pytest.mark.parametrize("normalize_std", [False, True])
def test_an_empty_group_is_empty(normalize_std: bool) -> None:
    assert group_relative([], normalize_std=normalize_std) == []


REWARDS = st.lists(st.floats(-100, 100), min_size=1, max_size=16)


@settings(deadline=None, max_examples=50)
@given(REWARDS, st.floats(-10, 10))
def test_the_sum_is_zero_and_a_shift_of_all_rewards_changes_nothing(rewards: list[float], shift: float) -> None:
    advantages = group_relative(rewards)
    assert sum(advantages) == pytest.approx(0.0, abs=1e-9)
    assert group_relative([reward + shift for reward in rewards]) == pytest.approx(advantages, abs=1e-9)


ONE = {"a": 1.0, "b": 1.0}


def test_gdpo_tells_apart_what_one_sum_does_not() -> None:
    """The paper's example: totals (0, 1) and (0, 2) give the same advantages where the sum is normalised."""
    assert group_relative([0.0, 1.0], normalize_std=True, epsilon=0.0) == [-1.0, 1.0]
    assert group_relative([0.0, 2.0], normalize_std=True, epsilon=0.0) == [-1.0, 1.0]
    groups = [{"a": [0.0, 1.0], "b": [0.0, 0.0]}, {"a": [0.0, 1.0], "b": [0.0, 1.0]}]
    # Each reward in its group: a gives -1 and 1, a constant b 0 and 0. Sums: -1, 1 and -2, 2.
    # Over the batch: mean 0, variance (1 + 1 + 4 + 4) / 4 = 2.5.
    std = 2.5**0.5
    first, second = gdpo(groups, ONE)
    assert first == pytest.approx([-1 / std, 1 / std], rel=1e-5)
    assert second == pytest.approx([-2 / std, 2 / std], rel=1e-5)


def test_gdpo_weighs_rewards_by_their_weights_and_not_by_their_scales() -> None:
    # a: -1, 1, -1, 1; b (a hundred times larger): -1, -1, 1, 1. With 3a + b: -4, 2, -2, 4; variance 40 / 4 = 10.
    groups = [{"a": [0.0, 0.01, 0.0, 0.01], "b": [0.0, 0.0, 1.0, 1.0]}]
    std = 10**0.5
    expected = [-4 / std, 2 / std, -2 / std, 4 / std]
    assert gdpo(groups, {"a": 3.0, "b": 1.0}, epsilon=1e-9)[0] == pytest.approx(expected, rel=1e-5)


def test_gdpo_takes_groups_with_other_rewards_other_sizes_or_nothing_in_them() -> None:
    # a: -1, 1. b: std sqrt(2) / 3, so sqrt(2), -1 / sqrt(2) twice. Variance of all five: (2 + 2 + 1) / 5 = 1.
    half = 2**-0.5
    first, second, third = gdpo([{"a": [0.0, 1.0]}, {"b": [1.0, 0.0, 0.0]}, {"a": []}], ONE)
    assert first == pytest.approx([-1.0, 1.0], rel=1e-4)
    assert second == pytest.approx([2**0.5, -half, -half], rel=1e-4)
    assert third == []
    assert gdpo([], ONE) == [] and gdpo([{"a": []}], ONE) == [[]]


@pytest.mark.parametrize("values", [[0.1, 0.1, 0.1], [0.7], [0.0, 0.0]])
def test_gdpo_makes_nothing_out_of_equal_rewards(values: list[float]) -> None:
    (found,) = gdpo([{"a": values, "b": values}], ONE)
    assert found == pytest.approx([0.0] * len(values), abs=1e-4)
