"""Losses: numbers worked out by hand, finite differences, and the traps of traps.md that live here.

Notation: N = trained tokens, B = sequences, T = tokens, V = vocabulary.
"""

from collections.abc import Callable
from itertools import pairwise
from math import exp, inf, log, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlreason.algorithms.losses import (
    cispo,
    gmpo,
    gspo,
    ppo_clip,
    reinforce,
    token_logprobs,
    token_weights,
    value_loss,
)

BOUNDS = {"clip_low": 0.2, "clip_high": 0.28}
LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "ppo_clip": lambda p, old, a, s: ppo_clip(p, old, a, **BOUNDS),
    "dual clip": lambda p, old, a, s: ppo_clip(p, old, a, **BOUNDS, dual_clip=3.0),
    "gspo": lambda p, old, a, s: gspo(p, old, a, s, **BOUNDS),
    "cispo": lambda p, old, a, s: cispo(p, old, a, **BOUNDS),
    "gmpo": lambda p, old, a, s: gmpo(p, old, a, s, clip_low=0.4, clip_high=0.4),
    "reinforce": lambda p, old, a, s: reinforce(p, a),
    "value": lambda v, old, r, s: value_loss(v, old, r, clip=0.2),
    "cross_entropy": lambda p, old, a, s: (-p, torch.zeros_like(p, dtype=torch.bool)),
}


def tensor(*values: float, grad: bool = False) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def ids(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def test_ppo_clip_by_hand() -> None:
    #      ratio 1.5     0.5      1.5      0.5      1.0
    #  advantage   1       1       -1       -1        2
    #    clipped 1.28    0.8     1.28      0.8      1.0
    #       gain 1.28    0.5     -1.5     -0.8      2.0
    old_N = tensor(-1.0, -2.0, -3.0, -0.5, -0.1)
    logprob_N = (old_N + tensor(log(1.5), log(0.5), log(1.5), log(0.5), 0.0)).requires_grad_()
    loss_N, is_clipped_N = ppo_clip(logprob_N, old_N, tensor(1.0, 1.0, -1.0, -1.0, 2.0), **BOUNDS)
    loss_N.sum().backward()
    assert loss_N.tolist() == pytest.approx([-1.28, -0.5, 1.5, 0.8, -2.0])
    assert is_clipped_N.tolist() == [True, False, False, True, False]
    # Only the tokens that would be pushed further out of the bounds are held back.
    assert logprob_N.grad.tolist() == pytest.approx([0.0, -0.5, 1.5, 0.0, -2.0])


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual_clip", "is_clipped", "loss"),
    [
        (1.27, 1.0, None, False, -1.27),
        (1.29, 1.0, None, True, -1.28),  # clip-higher: above 1 + 0.28
        (1.29, -1.0, None, False, 1.29),
        (0.81, -1.0, None, False, 0.81),
        (0.79, -1.0, None, True, 0.8),  # below 1 - 0.2
        (0.79, 1.0, None, False, -0.79),
        (9.0, 0.0, None, False, 0.0),
        (9.0, -1.0, None, False, 9.0),  # unbounded, unless by the dual clip
        (9.0, -1.0, 3.0, True, 3.0),
        (2.9, -1.0, 3.0, False, 2.9),
        (9.0, -2.0, 3.0, True, 6.0),
        (0.79, -1.0, 3.0, True, 0.8),
        (9.0, 1.0, 3.0, True, -1.28),  # a positive advantage has its bound already
        (0.1, 1.0, 3.0, False, -0.1),
        (9.0, 0.0, 3.0, False, 0.0),
    ],
)
def test_which_tokens_count_as_clipped(
    ratio: float, advantage: float, dual_clip: float | None, is_clipped: bool, loss: float
) -> None:
    logprob_N = tensor(log(ratio), grad=True)
    loss_N, is_clipped_N = ppo_clip(logprob_N, tensor(0.0), tensor(advantage), **BOUNDS, dual_clip=dual_clip)
    loss_N.sum().backward()
    assert is_clipped_N.tolist() == [is_clipped] and loss_N.item() == pytest.approx(loss)
    assert logprob_N.grad.item() == pytest.approx(0.0 if is_clipped else -ratio * advantage)


def test_a_dual_clip_of_one_or_less_is_refused() -> None:
    with pytest.raises(AssertionError):
        ppo_clip(tensor(0.0), tensor(0.0), tensor(1.0), **BOUNDS, dual_clip=1.0)


@pytest.mark.parametrize("name", ["ppo_clip", "dual clip", "gspo", "cispo", "gmpo", "reinforce"])
def test_at_ratio_one_every_loss_has_the_gradient_of_reinforce(name: str) -> None:
    logprob_N, sequence_N = tensor(-1.0, -2.0, -0.5, grad=True), ids(0, 0, 1)
    # Each token weighs the same within its sequence, so that a sequence's loss on each of its tokens comes to the same.
    weight_N = tensor(0.5, 0.5, 1.0)
    loss_N, is_clipped_N = LOSSES[name](logprob_N, logprob_N.detach(), tensor(-2.0, -2.0, 0.5), sequence_N)
    (loss_N * weight_N).sum().backward()
    assert logprob_N.grad.tolist() == pytest.approx([1.0, 1.0, -0.5])
    assert not is_clipped_N.any()


def test_gspo_by_hand() -> None:
    # Ratios of tokens 2, 1 and 4, 1/4 and 0.9; of sequences sqrt(2) = 1.414, 1 and 0.9; bounds 0.8 and 1.28.
    log_ratio_N, sequence_N = tensor(log(2), 0.0, log(4), -log(4), log(0.9)), ids(0, 0, 1, 1, 2)
    old_N = tensor(-1.0, -2.0, -3.0, -0.5, -0.1)
    logprob_N = (old_N + log_ratio_N).requires_grad_()
    loss_N, is_clipped_N = gspo(logprob_N, old_N, tensor(1.0, 1.0, 1.0, 1.0, -1.0), sequence_N, **BOUNDS)
    loss_N.sum().backward()
    assert loss_N.tolist() == pytest.approx([-1.28, -1.28, -1.0, -1.0, 0.9])
    # The whole of the first sequence is clipped, and nothing of the second, whose tokens are far out of the bounds.
    assert is_clipped_N.tolist() == [True, True, False, False, False]
    assert logprob_N.grad.tolist() == pytest.approx([0.0, 0.0, -1.0, -1.0, 0.9])
    loss_N, is_clipped_N = gspo(logprob_N, old_N, tensor(-1.0, -1.0, 0.0, 0.0, 0.0), sequence_N, **BOUNDS)
    assert loss_N[:2].tolist() == pytest.approx([sqrt(2), sqrt(2)]) and not is_clipped_N.any()


def test_gspo_takes_advantages_that_differ_within_a_sequence() -> None:
    # Token ratios 4 and 1, the sequence's 2, above 1.28: the token with a gain is clipped, the one with a loss is not.
    logprob_N = tensor(log(4), 0.0, grad=True)
    loss_N, is_clipped_N = gspo(logprob_N, tensor(0.0, 0.0), tensor(3.0, -1.0), ids(0, 0), **BOUNDS)
    loss_N.sum().backward()
    assert loss_N.tolist() == pytest.approx([-1.28 * 3, 2.0]) and is_clipped_N.tolist() == [True, False]
    assert logprob_N.grad.tolist() == pytest.approx([0.0, 2.0]), "each token has its own advantage's gradient"


def test_cispo_by_hand() -> None:
    # ratio 1.5, 0.5, 1.1; the weight 1.28, 0.8, 1.1; the loss is minus weight, advantage and logprob
    old_N = tensor(-1.0, -2.0, -3.0)
    logprob_N = (old_N + tensor(log(1.5), log(0.5), log(1.1))).requires_grad_()
    advantage_N = tensor(1.0, -2.0, 1.0)
    loss_N, is_clipped_N = cispo(logprob_N, old_N, advantage_N, **BOUNDS)
    loss_N.sum().backward()
    assert loss_N.tolist() == pytest.approx([1.28 * (1 - log(1.5)), -1.6 * (2 - log(0.5)), 1.1 * (3 - log(1.1))])
    assert is_clipped_N.tolist() == [True, True, False]
    assert logprob_N.grad.tolist() == pytest.approx([-1.28, 1.6, -1.1])  # no token loses its gradient
    loss_N, is_clipped_N = cispo(logprob_N, old_N, advantage_N, clip_high=0.28, clip_low=None)
    assert loss_N[1].item() == pytest.approx(-0.5 * 2 * (2 - log(0.5))) and is_clipped_N.tolist() == [
        True,
        False,
        False,
    ]


def test_gmpo_by_hand() -> None:
    # Clipped to +-0.4 where the advantage pushes: 0.6, -0.5 is 0.4, -0.5 for a positive one, mean -0.05; and
    # 0.6, -0.5 is 0.6, -0.4 for a negative one, mean 0.1. The third has no advantage.
    log_ratio_N, sequence_N = tensor(0.6, -0.5, 0.6, -0.5, 0.3), ids(0, 0, 1, 1, 2)
    logprob_N = log_ratio_N.clone().requires_grad_()
    advantage_N = tensor(2.0, 2.0, -1.0, -1.0, 0.0)
    loss_N, is_clipped_N = gmpo(logprob_N, torch.zeros(5), advantage_N, sequence_N, clip_low=0.4, clip_high=0.4)
    (loss_N * tensor(0.5, 0.5, 0.5, 0.5, 1.0)).sum().backward()
    first, second = -2 * exp(-0.05), exp(0.1)
    assert loss_N.tolist() == pytest.approx([first, first, second, second, 0.0])
    assert is_clipped_N.tolist() == [True, False, False, True, False]
    assert logprob_N.grad.tolist() == pytest.approx([0.0, first / 2, second / 2, 0.0, 0.0])


def test_gmpo_bounds_need_not_be_the_same() -> None:
    sequence_N, zero_N = ids(0, 1), torch.zeros(2)
    loss_N, _ = gmpo(tensor(9.0, -9.0), zero_N, tensor(1.0, -1.0), sequence_N, clip_low=0.3, clip_high=0.5)
    assert loss_N.tolist() == pytest.approx([-exp(0.5), exp(-0.3)])


def test_reinforce_by_hand() -> None:
    loss_N, is_clipped_N = reinforce(tensor(-1.0, -2.0), tensor(3.0, -0.5))
    assert loss_N.tolist() == [3.0, -1.0] and is_clipped_N.tolist() == [False, False]


@pytest.mark.parametrize(
    ("value", "target", "clip", "loss", "gradient"),
    [
        (1.0, 2.0, None, 0.5, -1.0),
        (1.0, 2.0, 0.2, 0.845, None),  # clamped to 0.7: 1.3**2 / 2
        (1.0, 0.0, 0.2, 0.5, 1.0),  # 0.7**2 / 2 would be less
        (0.6, 2.0, 0.2, 0.98, -1.4),  # within 0.2 of the old value of 0.5
        (0.0, -1.0, 0.2, 0.845, None),  # clamped to 0.3
    ],
)
def test_value_loss_by_hand(
    value: float, target: float, clip: float | None, loss: float, gradient: float | None
) -> None:
    value_N = tensor(value, grad=True)
    loss_N, is_clipped_N = value_loss(value_N, tensor(0.5), tensor(target), clip=clip)
    loss_N.sum().backward()
    assert loss_N.item() == pytest.approx(loss) and is_clipped_N.item() == (gradient is None)
    assert value_N.grad.item() == pytest.approx(gradient or 0.0)


@pytest.mark.parametrize("name", LOSSES)
def test_finite_differences_agree(name: str) -> None:
    """Away from the kinks. Advantages and weights are equal within a sequence, as gspo's gradient wants them."""
    old_N, sequence_N = tensor(-1.0, -2.0, -3.0, -0.5, -0.7), ids(0, 0, 1, 1, 2)
    advantage_N, weight_N = tensor(1.0, 1.0, -1.0, -1.0, -2.0), tensor(0.2, 0.2, 0.3, 0.3, 0.5)
    logprob_N = (old_N + tensor(0.6, -0.5, 0.1, -0.7, 1.2)).requires_grad_()
    ratio_N = (logprob_N - old_N).detach().exp()

    def loss(x_N: Tensor) -> Tensor:
        if name == "cispo":  # its weight has no gradient: frozen for the differences
            return -(ratio_N.clamp(0.8, 1.28) * advantage_N * x_N * weight_N).sum()
        return (LOSSES[name](x_N, old_N, advantage_N, sequence_N)[0] * weight_N).sum()

    step = 1e-6 * torch.eye(5, dtype=torch.float64)
    differences = [(loss(logprob_N + d_N) - loss(logprob_N - d_N)).item() / 2e-6 for d_N in step]
    (LOSSES[name](logprob_N, old_N, advantage_N, sequence_N)[0] * weight_N).sum().backward()
    assert logprob_N.grad.tolist() == pytest.approx(differences, abs=1e-8)
    assert any(differences)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_flows_through_the_policy_alone(name: str) -> None:
    logprob_N, old_N, advantage_N = tensor(-1.0, -2.0, grad=True), tensor(-1.1, -1.9), tensor(1.0, -1.0)
    loss_N, is_clipped_N = LOSSES[name](logprob_N, old_N, advantage_N, ids(0, 1))
    assert loss_N.requires_grad and not is_clipped_N.requires_grad
    assert loss_N.shape == is_clipped_N.shape == (2,) and is_clipped_N.dtype == torch.bool


@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_micro_batch_has_a_loss_of_zero_with_a_gradient(name: str) -> None:
    logprob_N = tensor(grad=True)
    loss_N, is_clipped_N = LOSSES[name](logprob_N, tensor(), tensor(), ids())
    weight_N = token_weights(ids(), "sequence_mean", num_tokens=0, num_sequences=0, divisor=1.0)
    loss = (loss_N * weight_N).sum()
    loss.backward()
    assert loss.item() == 0.0 and is_clipped_N.shape == logprob_N.grad.shape == (0,)


def test_token_weights_by_hand() -> None:
    # Three tokens and one, of a batch with 8 tokens in 4 sequences. A number that no token bears lost all its tokens.
    sequence_N, size = ids(0, 0, 0, 2), {"num_tokens": 8, "num_sequences": 4, "divisor": 10.0}
    assert token_weights(sequence_N, "token_mean", **size).tolist() == [1 / 8] * 4
    assert token_weights(sequence_N, "sequence_mean", **size).tolist() == pytest.approx([1 / 12] * 3 + [1 / 4])
    assert token_weights(sequence_N, "sequence_sum", **size).tolist() == pytest.approx([1 / 40] * 4)


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "sequence_sum"])
def test_token_weights_of_nothing_are_nothing(aggregation: str) -> None:
    assert token_weights(ids(), aggregation, num_tokens=0, num_sequences=0, divisor=0.0).shape == (0,)


TOKEN = st.tuples(st.floats(-8, 0), st.floats(-8, 0))
SEQUENCE = st.tuples(st.lists(TOKEN, min_size=1, max_size=6), st.floats(-3, 3))


@pytest.mark.parametrize("name", LOSSES)
@settings(deadline=None, max_examples=30)
@given(
    st.lists(SEQUENCE, min_size=1, max_size=8),
    st.sets(st.integers(1, 7)),
    st.sampled_from(["token_mean", "sequence_mean", "sequence_sum"]),
)
def test_any_split_into_micro_batches_gives_the_same_loss_and_gradient(
    name: str, sequences: list[tuple[list[tuple[float, float]], float]], cuts: set[int], aggregation: str
) -> None:
    """Traps 1 and 3: split between sequences, each micro-batch numbers its own from 0."""
    num_tokens = sum(len(tokens) for tokens, _ in sequences)

    def run(edges: list[int]) -> tuple[float, Tensor]:
        summed, gradients = 0.0, []
        for start, stop in pairwise(edges):
            part = sequences[start:stop]
            logprob_N, old_N = tensor(*(t for tokens, _ in part for token in tokens for t in token)).view(-1, 2).T
            logprob_N = logprob_N.clone().requires_grad_()
            length_S = ids(*(len(tokens) for tokens, _ in part))
            sequence_N = torch.arange(len(part)).repeat_interleave(length_S)
            advantage_N = tensor(*(advantage for _, advantage in part)).repeat_interleave(length_S)
            weight_N = token_weights(
                sequence_N, aggregation, num_tokens=num_tokens, num_sequences=len(sequences), divisor=16.0
            )
            loss = (LOSSES[name](logprob_N, old_N, advantage_N, sequence_N)[0] * weight_N).sum()
            loss.backward()
            summed += loss.item()
            gradients.append(logprob_N.grad)
        return summed, torch.cat(gradients)

    whole, whole_N = run([0, len(sequences)])
    parts, parts_N = run([0, *sorted(cut for cut in cuts if cut < len(sequences)), len(sequences)])
    assert parts == pytest.approx(whole, rel=1e-9, abs=1e-12)
    torch.testing.assert_close(parts_N, whole_N, rtol=1e-9, atol=1e-12)


def test_a_nan_outside_the_mask_reaches_neither_loss_nor_gradient() -> None:
    logits_BTV = torch.randn(2, 4, 5, generator=torch.manual_seed(0))
    mask_BT = torch.tensor([[True, True, False, False], [True, False, True, False]])
    logits_BTV[~mask_BT] = float("nan")
    logits_BTV.requires_grad_()
    target_BT = torch.tensor([[0, 1, 2, 3], [4, 0, 1, 2]])
    logprob_N, entropy_N = token_logprobs(logits_BTV[mask_BT], target_BT[mask_BT], 1.0, entropy_gradient=True)
    loss_N, _ = ppo_clip(logprob_N, logprob_N.detach() - 0.1, torch.ones(4), **BOUNDS)
    loss = (loss_N - entropy_N).sum()
    loss.backward()
    assert loss.isfinite() and logits_BTV.grad.isfinite().all() and (logits_BTV.grad[~mask_BT] == 0).all()
    assert (logits_BTV.grad[mask_BT] != 0).any(-1).all()


def test_the_gradient_through_token_logprobs_is_that_of_a_softmax() -> None:
    # d logprob / d logit = (onehot - softmax(logits / T)) / T
    logits_NV = torch.randn(5, 7, generator=torch.manual_seed(0), requires_grad=True)
    target_N = torch.tensor([0, 3, 6, 1, 1])
    logprob_N, _ = token_logprobs(logits_NV, target_N, 0.7)
    logprob_N.sum().backward()
    onehot_NV = torch.nn.functional.one_hot(target_N, 7)
    torch.testing.assert_close(logits_NV.grad, (onehot_NV - (logits_NV.detach() / 0.7).softmax(-1)) / 0.7)


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


def test_the_gradient_of_the_entropy_by_hand() -> None:
    # H = -sum p log p, d H / d logit = -p (log p + H) / T. The third logit cannot be sampled.
    logits_NV = torch.tensor([[0.0, 0.7 * log(3.0), -inf]], requires_grad=True)
    logprob_N, entropy_N = token_logprobs(logits_NV, torch.tensor([0]), 0.7, entropy_gradient=True)
    entropy_N.sum().backward()
    entropy = -0.25 * log(0.25) - 0.75 * log(0.75)
    expected = [-0.25 * (log(0.25) + entropy) / 0.7, -0.75 * (log(0.75) + entropy) / 0.7, 0.0]
    assert entropy_N.item() == pytest.approx(entropy) and logprob_N.item() == pytest.approx(log(0.25))
    assert logits_NV.grad.squeeze().tolist() == pytest.approx(expected, rel=1e-5)
    with torch.no_grad():
        assert not token_logprobs(logits_NV, torch.tensor([0]), 0.7, entropy_gradient=True)[1].requires_grad


def test_bfloat16_logits_are_worked_in_float32_and_entropy_carries_no_gradient_unasked() -> None:
    logits_NV = torch.randn(3, 50, generator=torch.manual_seed(2)).bfloat16().requires_grad_()
    logprob_N, entropy_N = token_logprobs(logits_NV, torch.tensor([1, 2, 3]), 1.0)
    expected_N = logits_NV.detach().double().log_softmax(-1)[range(3), [1, 2, 3]]
    assert logprob_N.dtype == entropy_N.dtype == torch.float32
    torch.testing.assert_close(logprob_N.double(), expected_N, rtol=1e-5, atol=1e-6, check_dtype=True)
    assert not entropy_N.requires_grad and logprob_N.requires_grad


@pytest.mark.parametrize("name", ["ppo_clip", "dual clip", "gspo", "cispo", "gmpo", "reinforce"])
def test_no_ratio_makes_a_loss_or_a_gradient_that_is_no_number(name: str) -> None:
    """exp(200) is infinite in float32, and times an advantage of 0 it would be NaN."""
    for advantage in (0.0, 1.0, -1.0):
        logprob_N, old_N = tensor(-1.0, -201.0, grad=True), tensor(-201.0, -1.0)
        for sequence_N in (torch.tensor([0, 1]), torch.tensor([0, 0])):
            loss_N, _ = LOSSES[name](logprob_N, old_N, tensor(advantage, advantage), sequence_N)
            (gradient_N,) = torch.autograd.grad(loss_N.sum(), logprob_N)
            assert loss_N.isfinite().all() and gradient_N.isfinite().all()
            assert advantage or not loss_N.any()
