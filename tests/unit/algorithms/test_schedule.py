"""Learning-rate schedules."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.algorithms.schedule import lr_at

SHAPES = ["constant", "linear", "cosine", "wsd"]


def curve(**settings: Any) -> list[float]:
    return [lr_at(step, **settings) for step in range(settings["total_steps"])]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_step_of_a_warm_up_is_not_zero(shape: Any) -> None:
    found = curve(peak=1.0, total_steps=20, warmup_steps=4, shape=shape)
    assert found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("shape", ["linear", "cosine", "wsd"])
@pytest.mark.parametrize("min_ratio", [0.0, 0.1])
@pytest.mark.parametrize("warmup_steps", [0, 3])
def test_the_last_step_is_at_the_minimum_and_it_stays_there(shape: Any, min_ratio: float, warmup_steps: int) -> None:
    settings = {"total_steps": 12, "warmup_steps": warmup_steps, "shape": shape, "min_ratio": min_ratio}
    assert lr_at(11, peak=2.0, **settings) == pytest.approx(2.0 * min_ratio, abs=1e-12)
    assert lr_at(50, peak=2.0, **settings) == pytest.approx(2.0 * min_ratio, abs=1e-12)


def test_shapes_by_hand() -> None:
    assert curve(peak=1.0, total_steps=5, shape="constant", min_ratio=0.1) == [1.0] * 5
    assert curve(peak=1.0, total_steps=5, shape="linear") == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert curve(peak=1.0, total_steps=5, shape="cosine", min_ratio=0.5) == pytest.approx(
        [1.0, 0.5 + 0.25 * (1 + 0.5**0.5), 0.75, 0.5 + 0.25 * (1 - 0.5**0.5), 0.5]
    )


def test_warm_up_stable_decay_by_hand() -> None:
    """Ten steps: two of warm-up, then the peak, and the last 0.4 x 10 = 4 steps go down in equal parts."""
    found = curve(peak=1.0, total_steps=10, warmup_steps=2, shape="wsd", min_ratio=0.2, decay_share=0.4)
    assert found == pytest.approx([0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2])


def test_a_decay_of_all_steps_is_the_linear_shape() -> None:
    wsd = curve(peak=1.0, total_steps=8, warmup_steps=3, shape="wsd", decay_share=1.0)
    assert wsd == curve(peak=1.0, total_steps=8, warmup_steps=3, shape="linear")


def test_a_decay_share_below_one_step_takes_the_last_step() -> None:
    assert curve(peak=1.0, total_steps=5, shape="wsd", decay_share=0.01) == [1.0, 1.0, 1.0, 1.0, 0.0]


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 40), st.integers(0, 50), st.sampled_from(SHAPES), st.floats(0, 1))
def test_never_zero_before_the_end_never_above_the_peak_never_rising_after_the_warm_up(
    total_steps: int, warmup_steps: int, shape: Any, min_ratio: float
) -> None:
    found = curve(peak=3e-4, total_steps=total_steps, warmup_steps=warmup_steps, shape=shape, min_ratio=min_ratio)
    assert all(0 < lr <= 3e-4 * (1 + 1e-12) for lr in found[:-1]) and found[-1] >= 0
    after = found[warmup_steps:]
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(after))
