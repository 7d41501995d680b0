"""Off-policy corrections, by hand and as exact expectations.

Notation: N = trained tokens, V = outcomes.
"""

from collections.abc import Callable
from math import inf, log, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlreason.algorithms.off_policy import (
    MismatchSums,
    mismatch_metrics,
    sequence_rejected,
    sequence_truncated,
    token_masked,
    token_truncated,
)

RATIO_N = torch.tensor([0.5, 1.0, 4.0, 3.0, 2.0], dtype=torch.float64)
SEQUENCE_N = torch.tensor([0, 0, 0, 1, 1])
CORRECTIONS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "token_truncated": lambda r, s: token_truncated(r, cap=2.5),
    "sequence_truncated": lambda r, s: sequence_truncated(r, s, cap=2.5),
    "token_masked": lambda r, s: token_masked(r, low=0.5, high=2.5),
    "sequence_rejected": lambda r, s: sequence_rejected(r, s, low=0.5, high=2.5),
}
every_correction = pytest.mark.parametrize("correct", CORRECTIONS.values(), ids=CORRECTIONS.keys())


def metrics_of(log_ratio_N: Tensor, weight_N: Tensor, keep_N: Tensor) -> dict[str, float]:
    """In two parts, as two ranks have them."""
    half = len(log_ratio_N) // 2
    cuts = (slice(None, half), slice(half, None))
    return mismatch_metrics([MismatchSums.of(log_ratio_N[cut], weight_N[cut], keep_N[cut]) for cut in cuts])


@pytest.mark.parametrize(
    ("name", "weights", "keep"),
    [
        ("token_truncated", [0.5, 1.0, 2.5, 2.5, 2.0], [True] * 5),
        ("sequence_truncated", [2.0, 2.0, 2.0, 2.5, 2.5], [True] * 5),  # products 2 and 6
        ("token_masked", [0.5, 1.0, 0.0, 0.0, 2.0], [True, True, False, False, True]),
        # geometric means 2 ** (1/3) = 1.26 and sqrt(6) = 2.449
        ("sequence_rejected", [1.0] * 5, [True] * 5),
    ],
)
def test_by_hand(name: str, weights: list[float], keep: list[bool]) -> None:
    weight_N, keep_N = CORRECTIONS[name](RATIO_N.log(), SEQUENCE_N)
    assert weight_N.tolist() == pytest.approx(weights) and keep_N.tolist() == keep


@pytest.mark.parametrize(
    ("low", "high", "keep"),
    [
        (0.5, 2.4, [True, False]),
        (1.2, 2.5, [True, True]),
        (1.3, 2.5, [False, True]),
        (1.3, 2.4, [False, False]),
    ],
)
def test_a_sequence_is_rejected_whole_by_its_geometric_mean(low: float, high: float, keep: list[bool]) -> None:
    weight_N, keep_N = sequence_rejected(RATIO_N.log(), SEQUENCE_N, low=low, high=high)
    assert keep_N.tolist() == [keep[0]] * 3 + [keep[1]] * 2
    assert weight_N.tolist() == [float(kept) for kept in keep_N]


def test_bounds_belong_to_the_kept_range() -> None:
    assert token_masked(torch.zeros(1), low=1.0, high=2.0)[1].all()
    assert token_masked(torch.zeros(1), low=0.5, high=1.0)[1].all()


@every_correction
def test_equal_policies_need_no_correction(correct: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    weight_N, keep_N = correct(torch.zeros(5), SEQUENCE_N)
    assert weight_N.tolist() == [1.0] * 5 and keep_N.all()


@every_correction
def test_no_gradient_and_the_dtype_that_came_in(correct: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    for dtype in (torch.float32, torch.float64):
        weight_N, keep_N = correct(RATIO_N.to(dtype).log().requires_grad_(), SEQUENCE_N)
        assert not weight_N.requires_grad and weight_N.dtype == dtype and keep_N.dtype == torch.bool


@every_correction
def test_an_empty_batch_is_empty(correct: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    weight_N, keep_N = correct(torch.zeros(0), SEQUENCE_N[:0])
    assert weight_N.shape == keep_N.shape == (0,) and metrics_of(torch.zeros(0), weight_N, keep_N) == {}


@every_correction
def test_ratios_beyond_the_range_of_floats_give_finite_weights(
    correct: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> None:
    # Products e^1800 and e^-1800; float32 ends at e^88.
    log_ratio_N = torch.tensor([900.0, 900.0, 0.0, -900.0, -900.0])
    weight_N, keep_N = correct(log_ratio_N, SEQUENCE_N)
    assert weight_N.isfinite().all() and (weight_N <= 2.5).all()
    assert (weight_N[~keep_N] == 0).all() and (weight_N[3:] == 0).all()


PROXIMAL_V, BEHAVIOUR_V = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.1, 0.3, 0.2, 0.4]], dtype=torch.float64)
REWARD_V = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)


def test_an_uncapped_weight_turns_an_expectation_under_one_policy_into_that_under_the_other() -> None:
    weight_V, _ = token_truncated((PROXIMAL_V / BEHAVIOUR_V).log(), cap=inf)
    assert (BEHAVIOUR_V * weight_V * REWARD_V).sum().item() == pytest.approx((PROXIMAL_V * REWARD_V).sum().item())
    # A cap of 2 takes 0.1 * (5 - 2) off the first outcome's share.
    weight_V, _ = token_truncated((PROXIMAL_V / BEHAVIOUR_V).log(), cap=2.0)
    assert (BEHAVIOUR_V * weight_V * REWARD_V).sum().item() == pytest.approx((PROXIMAL_V * REWARD_V).sum().item() - 0.3)


def test_a_sequences_weight_does_so_for_sequences() -> None:
    # All pairs of outcomes as sequences of two tokens; the reward is the product of theirs.
    first_P, second_P = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    log_ratio_N = (PROXIMAL_V / BEHAVIOUR_V).log()[torch.stack([first_P, second_P], 1)].flatten()
    weight_N, _ = sequence_truncated(log_ratio_N, torch.arange(16).repeat_interleave(2), cap=inf)
    behaviour_P, reward_P = BEHAVIOUR_V[first_P] * BEHAVIOUR_V[second_P], REWARD_V[first_P] * REWARD_V[second_P]
    expected = (PROXIMAL_V * REWARD_V).sum().item() ** 2
    assert (behaviour_P * weight_N[::2] * reward_P).sum().item() == pytest.approx(expected)


def test_metrics_by_hand() -> None:
    # ratios 0.5, 1, 4, 3, 2; masked to 0.5, 1, 0, 0, 2: sum 3.5, sum of squares 5.25
    log_ratio_N = RATIO_N.log()
    assert metrics_of(log_ratio_N, *token_masked(log_ratio_N, low=0.5, high=2.5)) == pytest.approx(
        {
            "mismatch/weight_mean": 0.7,
            "mismatch/weight_max": 2.0,
            "mismatch/effective_sample_size": 3.5**2 / 5.25 / 5,
            "mismatch/left_out_fraction": 0.4,
            "mismatch/ratio_mean": 2.1,
            "mismatch/ratio_max": 4.0,
        }
    )


def test_metrics_where_all_is_left_out() -> None:
    found = metrics_of(torch.full((2,), log(9.0)), torch.zeros(2), torch.zeros(2, dtype=torch.bool))
    assert found["mismatch/effective_sample_size"] == found["mismatch/weight_max"] == 0.0
    assert found["mismatch/left_out_fraction"] == 1.0 and found["mismatch/ratio_max"] == pytest.approx(9.0)


@every_correction
@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-30, 30), st.integers(0, 4)), min_size=1, max_size=20))
def test_bounds_of_any_correction(
    correct: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], tokens: list[tuple[float, int]]
) -> None:
    log_ratio_N = torch.tensor([token[0] for token in tokens], dtype=torch.float64)
    weight_N, keep_N = correct(log_ratio_N, torch.tensor(sorted(token[1] for token in tokens)))
    assert (weight_N >= 0).all() and (weight_N <= 2.5).all() and (weight_N[~keep_N] == 0).all()
    size = metrics_of(log_ratio_N, weight_N, keep_N)["mismatch/effective_sample_size"]
    assert 0 <= size <= 1 + 1e-9
    assert size <= 1 - (~keep_N).double().mean().item() + 1e-9  # what is left out does not count


def test_a_long_sequence_is_not_rejected_for_its_length() -> None:
    # A thousand ratios of 1.01 have the product 20,959 and the geometric mean 1.01.
    log_ratio_N, sequence_N = torch.full((1000,), log(1.01)), torch.zeros(1000, dtype=torch.int64)
    assert sequence_rejected(log_ratio_N, sequence_N, low=0.99, high=1.02)[1].all()
    assert sequence_truncated(log_ratio_N, sequence_N, cap=sqrt(10))[0].tolist() == pytest.approx([sqrt(10)] * 1000)
