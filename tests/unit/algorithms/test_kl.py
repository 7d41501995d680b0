"""KL estimators: exact expectations over a small vocabulary, so that no sampling noise can hide a bias."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlreason.algorithms.kl import k1, k2, k3

LOGITS = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=6)


def both(logits: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    logp_V, logq_V = torch.tensor(logits, dtype=torch.float64).log_softmax(0).T
    return logp_V, logq_V


@settings(deadline=None, max_examples=50)
@given(LOGITS)
def test_the_expectation_of_k1_and_of_k3_is_the_divergence(logits: list[tuple[float, float]]) -> None:
    logp_V, logq_V = both(logits)
    p_V = logp_V.exp()
    exact = torch.nn.functional.kl_div(logq_V, logp_V, log_target=True, reduction="sum").item()
    assert (p_V * k1(logp_V, logq_V)).sum().item() == pytest.approx(exact, abs=1e-10)
    assert (p_V * k3(logp_V, logq_V)).sum().item() == pytest.approx(exact, abs=1e-10)


@settings(deadline=None, max_examples=50)
@given(LOGITS)
def test_k3_is_never_negative(logits: list[tuple[float, float]]) -> None:
    logp_V, logq_V = both(logits)
    assert (k3(logp_V, logq_V) >= 0).all()
    assert (k3(logp_V, logp_V) == 0).all()


def test_by_hand() -> None:
    # p twice q: k1 = ln 2, k2 = (ln 2)**2 / 2, k3 = 1/2 - 1 + ln 2; and the other way round
    logp_N = torch.tensor([0.5, 0.25], dtype=torch.float64).log()
    logq_N = torch.tensor([0.25, 0.5], dtype=torch.float64).log()
    assert k1(logp_N, logq_N).tolist() == pytest.approx([0.693147, -0.693147], abs=1e-6)
    assert k2(logp_N, logq_N).tolist() == pytest.approx([0.240227, 0.240227], abs=1e-6)
    assert k3(logp_N, logq_N).tolist() == pytest.approx([0.193147, 0.306853], abs=1e-6)


def test_k3_of_nearly_equal_logprobs_keeps_its_digits_in_float32() -> None:
    # log-ratio x = 2**-13: k3 = x**2 / 2; exp(x) - 1 in float32 would lose most of it
    found = k3(torch.tensor([-1.0]), torch.tensor([-1.0 + 2**-13])).item()
    assert found == pytest.approx(2**-27, rel=1e-2)


LOGIT_V = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
LOGQ_V = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64).log_softmax(0)


def gradient_of(loss: Callable[[Tensor], Tensor]) -> list[float]:
    """With respect to the policy's logits; `loss` maps logp_V to a scalar."""
    logits_V = LOGIT_V.clone().requires_grad_()
    loss(logits_V.log_softmax(0)).backward()
    return logits_V.grad.tolist()


def test_which_estimator_may_be_a_loss() -> None:
    """Trap 9. Expected gradients when the samples come from the policy, as on-policy training has it."""
    exact = gradient_of(lambda logp_V: (logp_V.exp() * (logp_V - LOGQ_V)).sum())
    expected = {
        k: gradient_of(lambda logp_V, k=k: (logp_V.detach().exp() * k(logp_V, LOGQ_V)).sum()) for k in (k1, k2, k3)
    }
    assert expected[k2] == pytest.approx(exact, abs=1e-12)
    assert expected[k1] == pytest.approx([0.0] * 3, abs=1e-12)  # pushes nowhere: it belongs into the reward
    assert expected[k3] != pytest.approx(exact, abs=1e-2)  # pushes elsewhere: for monitoring
