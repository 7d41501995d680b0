"""Intervals by hand."""

import pytest

from rlreason.algorithms.intervals import bootstrap_mean, wilson


def test_wilson_by_hand() -> None:
    # n = 10, 8 right, z = 2: z²/n = 0.4; centre = (0.8 + 0.2) / 1.4 = 0.714286;
    # half = 2 / 1.4 * sqrt(0.16 / 10 + 4 / 400) = 1.428571 * 0.161245 = 0.230350.
    assert wilson(0.8, 10, z=2.0) == pytest.approx((0.483936, 0.944636), abs=1e-6)


def test_wilson_keeps_a_width_at_the_ends() -> None:
    # All right: centre + half = 1 exactly, and the lower end is n / (n + z²) = 1000 / 1003.8415.
    assert wilson(1.0, 1000) == pytest.approx((0.996173, 1.0), abs=1e-6)
    # None right: the mirror image.
    assert wilson(0.0, 1000) == pytest.approx((0.0, 0.003827), abs=1e-6)


def test_wilson_of_a_published_example() -> None:
    # Newcombe 1998 (doi 10.1002/(SICI)1097-0258(19980430)17:8<857), table I: 81 of 263 gives 0.2553 to 0.3662.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_narrows_with_more_prompts_and_holds_its_figure() -> None:
    for share in (0.0, 0.013, 0.5, 1.0):
        widths = []
        for n in (1, 10, 100, 10_000):
            low, high = wilson(share, n)
            assert 0.0 <= low <= share <= high <= 1.0
            widths.append(high - low)
        assert widths == sorted(widths, reverse=True)


def test_the_bootstrap_agrees_with_the_normal_interval_of_a_large_sample() -> None:
    # 500 zeros and 500 ones: standard error sqrt(0.25 / 1000) = 0.015811, times 1.96 = 0.030990.
    low, high = bootstrap_mean([0.0, 1.0] * 500)
    assert (low, high) == pytest.approx((0.46901, 0.53099), abs=2e-3)
    assert bootstrap_mean([0.0, 1.0] * 500) == (low, high)


def test_the_bootstrap_of_a_constant_has_no_width() -> None:
    assert bootstrap_mean([7.0] * 5) == (7.0, 7.0)
    assert bootstrap_mean([3.0]) == (3.0, 3.0)
