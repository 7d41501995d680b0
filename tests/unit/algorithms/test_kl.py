"""KL estimators: exact expectations over a small vocabulary, so that no sampling noise can hide a bias.

Notation: V = outcomes, N = tokens. p is the policy, q the reference, b the policy that the outcomes are sampled from.
"""

from collections.abc import Callable
from math import inf, nan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlreason.algorithms.kl import corrected_k3, k1, k2, k3, next_coef

LOGITS = st.lists(st.tuples(*[st.floats(-5, 5)] * 3), min_size=2, max_size=6)


@settings(deadline=None, max_examples=50)
@given(LOGITS)
def test_values(logits: list[tuple[float, float, float]]) -> None:
    """k1 and k3 on-policy, corrected k3 from any policy: the divergence. k3 is never negative."""
    logp_V, logq_V, logb_V = torch.tensor(logits, dtype=torch.float64).log_softmax(0).T
    exact = pytest.approx(kl(logp_V, logq_V).item(), abs=1e-10)
    assert (logp_V.exp() * k1(logp_V, logq_V)).sum().item() == exact
    assert (logp_V.exp() * k3(logp_V, logq_V)).sum().item() == exact
    assert (logb_V.exp() * corrected_k3(logp_V, logb_V, logq_V)).sum().item() == exact
    assert (k3(logp_V, logq_V) >= 0).all() and (k3(logp_V, logp_V) == 0).all()


def test_by_hand() -> None:
    # p twice q: k1 = ln 2, k2 = (ln 2)**2 / 2, k3 = 1/2 - 1 + ln 2; and the other way round
    logp_N = torch.tensor([0.5, 0.25], dtype=torch.float64).log()
    logq_N = torch.tensor([0.25, 0.5], dtype=torch.float64).log()
    assert k1(logp_N, logq_N).tolist() == pytest.approx([0.693147, -0.693147], abs=1e-6)
    assert k2(logp_N, logq_N).tolist() == pytest.approx([0.240227, 0.240227], abs=1e-6)
    assert k3(logp_N, logq_N).tolist() == pytest.approx([0.193147, 0.306853], abs=1e-6)
    # p / b = 0.5 / 0.2 and 0.25 / 0.5
    oldp_N = torch.tensor([0.2, 0.5], dtype=torch.float64).log()
    assert corrected_k3(logp_N, oldp_N, logq_N).tolist() == pytest.approx([0.482868, 0.153426], abs=1e-6)


def test_k3_of_nearly_equal_logprobs_keeps_its_digits_in_float32() -> None:
    # log-ratio x = 2**-13: k3 = x**2 / 2; exp(x) - 1 in float32 would lose most of it
    found = k3(torch.tensor([-1.0]), torch.tensor([-1.0 + 2**-13])).item()
    assert found == pytest.approx(2**-27, rel=1e-2)


LOGIT_V = torch.tensor([0.3, -1.0, 2.0, 0.0, -0.4], dtype=torch.float64)
LOGP_V = LOGIT_V.log_softmax(0)
LOGQ_V = torch.tensor([1.0, 0.0, -1.0, 0.5, 0.2], dtype=torch.float64).log_softmax(0)
LOGB_V = torch.tensor([-0.5, 0.8, 1.0, 0.1, 1.3], dtype=torch.float64).log_softmax(0)


def kl(logp_V: Tensor, logq_V: Tensor) -> Tensor:
    return (logp_V.exp() * (logp_V - logq_V)).sum()


def differences(divergence: Callable[[Tensor], Tensor]) -> list[float]:
    """Central differences with respect to the policy's logits."""
    step = 1e-5 * torch.eye(5, dtype=torch.float64)
    values = [[divergence((LOGIT_V + sign * d_V).log_softmax(0)).item() for sign in (1, -1)] for d_V in step]
    return [(above - below) / 2e-5 for above, below in values]


def expected_gradient(logb_V: Tensor, loss: Callable[[Tensor], Tensor]) -> list[float]:
    """With respect to the policy's logits: of each outcome's loss, weighted with b's probability of it."""
    logits_V = LOGIT_V.clone().requires_grad_()
    (logb_V.exp() * loss(logits_V.log_softmax(0))).sum().backward()
    return logits_V.grad.tolist()


EXACT = differences(lambda logp_V: kl(logp_V, LOGQ_V))
RIGHT = pytest.approx(EXACT, abs=1e-8)


@pytest.mark.parametrize("logb_V", [LOGP_V, LOGB_V], ids=["on-policy", "off-policy"])
def test_corrected_k3_may_be_a_loss_from_any_policy(logb_V: Tensor) -> None:
    """Trap 9."""
    assert max(map(abs, EXACT)) > 0.1
    assert expected_gradient(logb_V, lambda logp_V: corrected_k3(logp_V, logb_V, LOGQ_V)) == RIGHT


def test_k2_may_be_a_loss_on_policy_or_with_an_importance_weight() -> None:
    assert expected_gradient(LOGP_V, lambda logp_V: k2(logp_V, LOGQ_V)) == RIGHT
    assert expected_gradient(LOGB_V, lambda logp_V: k2(logp_V, LOGQ_V)) != pytest.approx(EXACT, abs=1e-2)
    weight_V = (LOGP_V - LOGB_V).exp()
    assert expected_gradient(LOGB_V, lambda logp_V: weight_V * k2(logp_V, LOGQ_V)) == RIGHT


def test_k1_as_a_loss_does_not_know_the_reference() -> None:
    assert expected_gradient(LOGP_V, lambda logp_V: k1(logp_V, LOGQ_V)) == pytest.approx([0.0] * 5, abs=1e-12)
    # Off-policy it pushes away from b: minus the gradient of KL(b || p).
    away = differences(lambda logp_V: -kl(LOGB_V, logp_V))
    assert expected_gradient(LOGB_V, lambda logp_V: k1(logp_V, LOGQ_V)) == pytest.approx(away, abs=1e-8)


def test_k1_in_the_reward_is_right() -> None:
    """The score function: the penalty without gradient, times the gradient of log p."""
    assert expected_gradient(LOGP_V, lambda logp_V: k1(logp_V, LOGQ_V).detach() * logp_V) == RIGHT


def test_k3_as_a_loss_has_the_gradient_of_the_other_divergence() -> None:
    found = expected_gradient(LOGP_V, lambda logp_V: k3(logp_V, LOGQ_V))
    assert found != pytest.approx(EXACT, abs=1e-2)
    assert found == pytest.approx(differences(lambda logp_V: kl(LOGQ_V, logp_V)), abs=1e-8)


def test_the_sampling_policy_gets_no_gradient() -> None:
    logp_V, logb_V = LOGP_V.clone().requires_grad_(), LOGB_V.clone().requires_grad_()
    corrected_k3(logp_V, logb_V, LOGQ_V).sum().backward()
    assert logb_V.grad is None and logp_V.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (6.0, 0.1),
        (6.6, 0.1 * (1 + 0.1 * 0.0256)),
        (60.0, 0.1 * (1 + 0.2 * 0.0256)),
        (5.4, 0.1 * (1 - 0.1 * 0.0256)),
        (0.0, 0.1 * (1 - 0.2 * 0.0256)),
        (-1.0, 0.1 * (1 - 0.2 * 0.0256)),
    ],
)
def test_the_coefficient_goes_after_the_target(kl: float, expected: float) -> None:
    # 256 samples of a horizon of 10,000: 0.0256
    assert next_coef(0.1, kl, target=6.0, horizon=10_000, num_samples=256) == pytest.approx(expected, rel=1e-12)


def test_the_coefficient_settles_where_the_divergence_is_the_target() -> None:
    coef = 5.0
    for _ in range(2000):  # a policy whose divergence is 1 / coef
        coef = next_coef(coef, 1 / coef, target=2.0, horizon=100, num_samples=10)
    assert coef == pytest.approx(0.5)


@pytest.mark.parametrize(("target", "horizon"), [(0.0, 100), (-1.0, 100), (1.0, 0), (1.0, 20)])
def test_settings_that_could_end_the_penalty_are_refused(target: float, horizon: float) -> None:
    with pytest.raises(ValueError, match="horizon"):
        next_coef(0.1, 1.0, target=target, horizon=horizon, num_samples=100)


def test_a_divergence_that_is_not_finite_is_refused() -> None:
    with pytest.raises(AssertionError):
        next_coef(0.1, nan, target=1.0, horizon=100, num_samples=10)


def test_an_infinite_divergence_raises_the_coefficient_as_far_as_one_batch_may() -> None:
    assert next_coef(0.1, inf, target=1.0, horizon=100, num_samples=10) == pytest.approx(0.1 * 1.02)
