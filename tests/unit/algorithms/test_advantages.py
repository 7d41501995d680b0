"""Group-relative advantages, with numbers worked out by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.algorithms.advantages import group_relative


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
