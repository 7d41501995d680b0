"""Losses: numbers worked out by hand, finite differences, and the traps of traps.md that live here.

Notation: N = trained tokens, B = sequences, T = tokens, V = vocabulary.
"""

from itertools import pairwise
from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlreason.algorithms.losses import clipped_policy_gradient, cross_entropy, token_logprobs


def tensor(*values: float, grad: bool = False) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def surrogate(logprob_N: Tensor, old_N: Tensor, advantage_N: Tensor, denominator: float = 1.0) -> tuple[Tensor, Tensor]:
    return clipped_policy_gradient(logprob_N, old_N, advantage_N, clip_low=0.2, clip_high=0.28, denominator=denominator)


def test_cross_entropy_by_hand() -> None:
    logprob_N = tensor(-1.0, -2.0, -3.0, grad=True)
    loss = cross_entropy(logprob_N, 12.0)
    loss.backward()
    assert loss.item() == 0.5
    assert logprob_N.grad.tolist() == [-1 / 12] * 3


def test_clipped_surrogate_by_hand() -> None:
    #      ratio 1.5     0.5      1.5      0.5      1.0
    #  advantage   1       1       -1       -1        2
    #    clipped 1.28    0.8     1.28      0.8      1.0
    #       gain 1.28    0.5     -1.5     -0.8      2.0     sum 1.48
    old_N = tensor(-1.0, -2.0, -3.0, -0.5, -0.1)
    logprob_N = (old_N + tensor(log(1.5), log(0.5), log(1.5), log(0.5), 0.0)).requires_grad_()
    loss, num_clipped = surrogate(logprob_N, old_N, tensor(1.0, 1.0, -1.0, -1.0, 2.0), 4.0)
    loss.backward()
    assert loss.item() == pytest.approx(-1.48 / 4)
    assert num_clipped.item() == 2
    # Only the tokens that would be pushed further out of the bounds are held back.
    assert logprob_N.grad.tolist() == pytest.approx([0.0, -0.5 / 4, 1.5 / 4, 0.0, -2.0 / 4])


@pytest.mark.parametrize(
    ("ratio", "advantage", "is_clipped"),
    [
        (1.27, 1.0, 0),
        (1.29, 1.0, 1),  # clip-higher: above 1 + 0.28
        (1.29, -1.0, 0),
        (0.81, -1.0, 0),
        (0.79, -1.0, 1),  # below 1 - 0.2
        (0.79, 1.0, 0),
        (9.0, 0.0, 0),
    ],
)
def test_which_tokens_count_as_clipped(ratio: float, advantage: float, is_clipped: int) -> None:
    logprob_N = tensor(log(ratio), grad=True)
    loss, num_clipped = surrogate(logprob_N, tensor(0.0), tensor(advantage))
    loss.backward()
    assert num_clipped.item() == is_clipped
    assert logprob_N.grad.item() == pytest.approx(0.0 if is_clipped else -ratio * advantage)


def test_at_ratio_one_the_surrogate_is_reinforce() -> None:
    advantage_N = tensor(1.0, -2.0, 0.5)
    first_N, second_N = (tensor(-1.0, -2.0, -0.5, grad=True) for _ in range(2))
    loss, num_clipped = surrogate(first_N, first_N.detach(), advantage_N, 3.0)
    loss.backward()
    (-(second_N * advantage_N).sum() / 3.0).backward()
    assert first_N.grad.equal(second_N.grad)
    assert loss.item() == pytest.approx(0.5 / 3.0) and num_clipped.item() == 0


def test_finite_differences_agree() -> None:
    old_N, advantage_N = tensor(-1.0, -2.0, -3.0, -0.5), tensor(1.0, 1.0, -1.0, -1.0)
    # Away from the kinks at 0.8 and 1.28.
    logprob_N = (old_N + tensor(0.6, -0.5, 0.1, -0.6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: surrogate(x, old_N, advantage_N, 7.0)[0], (logprob_N,))
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, 7.0), (logprob_N,))


def test_the_gradient_through_token_logprobs_is_that_of_a_softmax() -> None:
    # d logprob / d logit = (onehot - softmax(logits / T)) / T
    logits_NV = torch.randn(5, 7, generator=torch.manual_seed(0), requires_grad=True)
    target_N = torch.tensor([0, 3, 6, 1, 1])
    logprob_N, _ = token_logprobs(logits_NV, target_N, 0.7)
    cross_entropy(logprob_N, 5.0).backward()
    onehot_NV = torch.nn.functional.one_hot(target_N, 7)
    expected_NV = -(onehot_NV - (logits_NV.detach() / 0.7).softmax(-1)) / 0.7 / 5.0
    torch.testing.assert_close(logits_NV.grad, expected_NV)


TOKEN = st.tuples(st.floats(-8, 0), st.floats(-8, 0), st.floats(-3, 3))


@settings(deadline=None, max_examples=50)
@given(st.lists(TOKEN, min_size=1, max_size=24), st.sets(st.integers(1, 23)), st.sampled_from(["ce", "pg"]))
def test_any_split_into_micro_batches_gives_the_same_loss_and_gradient(
    tokens: list[tuple[float, float, float]], cuts: set[int], name: str
) -> None:
    whole_N, old_N, advantage_N = torch.tensor(tokens, dtype=torch.float64).T
    parts_N = whole_N.clone().requires_grad_()
    whole_N = whole_N.clone().requires_grad_()

    def loss(logprob_N: Tensor, place: slice) -> Tensor:
        if name == "ce":
            return cross_entropy(logprob_N[place], len(tokens))
        return surrogate(logprob_N[place], old_N[place], advantage_N[place], len(tokens))[0]

    total = loss(whole_N, slice(None))
    total.backward()
    edges = [0, *sorted(cut for cut in cuts if cut < len(tokens)), len(tokens)]
    summed = 0.0
    for start, stop in pairwise(edges):
        part = loss(parts_N, slice(start, stop))
        part.backward()
        summed += part.item()
    assert summed == pytest.approx(total.item(), rel=1e-9, abs=1e-12)
    torch.testing.assert_close(parts_N.grad, whole_N.grad, rtol=1e-12, atol=0.0)


def test_a_nan_outside_the_mask_reaches_neither_loss_nor_gradient() -> None:
    logits_BTV = torch.randn(2, 4, 5, generator=torch.manual_seed(0))
    mask_BT = torch.tensor([[True, True, False, False], [True, False, True, False]])
    logits_BTV[~mask_BT] = float("nan")
    logits_BTV.requires_grad_()
    target_BT = torch.tensor([[0, 1, 2, 3], [4, 0, 1, 2]])
    logprob_N, entropy_N = token_logprobs(logits_BTV[mask_BT], target_BT[mask_BT], 1.0)
    loss, _ = surrogate(logprob_N, logprob_N.detach() - 0.1, torch.ones(4), 4.0)
    loss.backward()
    assert loss.isfinite() and entropy_N.isfinite().all()
    assert logits_BTV.grad.isfinite().all() and (logits_BTV.grad[~mask_BT] == 0).all()
    assert (logits_BTV.grad[mask_BT] != 0).any(-1).all()


def test_logprobs_and_entropy_at_temperature_by_hand() -> None:
    # logits 0 and 0.7 ln 3 at temperature 0.7 are the odds 1 : 3
    logits_NV = torch.tensor([[0.0, 0.7 * log(3.0)]] * 2)
    logprob_N, entropy_N = token_logprobs(logits_NV, torch.tensor([0, 1]), 0.7)
    assert logprob_N.tolist() == pytest.approx([log(0.25), log(0.75)])
    assert entropy_N.tolist() == pytest.approx([-0.25 * log(0.25) - 0.75 * log(0.75)] * 2)


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 1.6])
def test_entropy_and_loss_see_the_same_temperature(temperature: float) -> None:
    logits_NV = 3 * torch.randn(6, 11, generator=torch.manual_seed(1))
    target_N = torch.arange(6)
    logprob_N, entropy_N = token_logprobs(logits_NV, target_N, temperature)
    sampled_from = torch.distributions.Categorical(logits=logits_NV / temperature)
    torch.testing.assert_close(entropy_N, sampled_from.entropy())
    torch.testing.assert_close(logprob_N, sampled_from.log_prob(target_N))


def test_a_token_that_cannot_be_sampled_leaves_the_entropy_finite() -> None:
    logprob_N, entropy_N = token_logprobs(torch.tensor([[0.0, 0.0, float("-inf")]]), torch.tensor([0]), 1.0)
    assert entropy_N.item() == pytest.approx(log(2.0)) and logprob_N.item() == pytest.approx(-log(2.0))


def test_bfloat16_logits_are_worked_in_float32_and_entropy_carries_no_gradient() -> None:
    logits_NV = torch.randn(3, 50, generator=torch.manual_seed(2)).bfloat16().requires_grad_()
    logprob_N, entropy_N = token_logprobs(logits_NV, torch.tensor([1, 2, 3]), 1.0)
    expected_N = logits_NV.detach().double().log_softmax(-1)[range(3), [1, 2, 3]]
    assert logprob_N.dtype == entropy_N.dtype == torch.float32
    torch.testing.assert_close(logprob_N.double(), expected_N, rtol=1e-5, atol=1e-6, check_dtype=True)
    assert not entropy_N.requires_grad and logprob_N.requires_grad
