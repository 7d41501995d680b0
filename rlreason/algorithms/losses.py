"""Losses on flat trained tokens. Pure functions of tensors.

Each policy loss returns loss_N, one value a token and not yet weighted, and is_clipped_N, bool: the tokens whose
gradient was clipped away. The caller sums loss_N * token_weights(...), times a weight of `off_policy` where there is
one. Token weights count over the *whole* batch, all micro-batches and ranks: the sum over micro-batches is then the
same for any split. Masked tokens are not in the tensors at all, so that a NaN outside the mask cannot reach the loss.
The gradient flows through `logprob_N` only; `old_logprob_N` are the proximal policy's, before the batch's first step.
Cross-entropy is `-logprob_N`.

Notation: N = trained tokens of a micro-batch, sequence after sequence; `sequence_N` int64: the sequence of each token,
numbered within the micro-batch, a sequence never split over two; V = vocabulary. Logprobs in nats.
"""

from typing import Literal

import torch
from torch import Tensor

from rlreason.algorithms.segments import reduce_parts

Aggregation = Literal["token_mean", "sequence_mean", "sequence_sum"]


MAX_LOG_RATIO = 20.0
"""A ratio stops at e^20, 5e8, where its gradient ends: an infinite one times an advantage of 0 would be NaN."""


def _ratio(log_ratio_N: Tensor) -> Tensor:
    return log_ratio_N.clamp(max=MAX_LOG_RATIO).exp()


def ppo_clip(
    logprob_N: Tensor,
    old_logprob_N: Tensor,
    advantage_N: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate (Schulman et al. 2017, arXiv 1707.06347, eq. 7): -min(r A, clip(r, 1 - low, 1 + high) A).

    Asymmetric bounds are DAPO's clip-higher (arXiv 2503.14476, section 3.1). `dual_clip` c > 1 bounds the loss of a
    token with a negative advantage to c |A|, however likely it has become (Ye et al. 2020, arXiv 1912.09729).
    With `old_logprob_N = logprob_N.detach()` the ratio r is exactly 1 and the gradient that of REINFORCE.

    Returns: loss_N, is_clipped_N.
    """
    ratio_N = _ratio(logprob_N - old_logprob_N)
    return _clipped(ratio_N, advantage_N, clip_low=clip_low, clip_high=clip_high, dual_clip=dual_clip)


def _clipped(
    ratio_N: Tensor, advantage_N: Tensor, *, clip_low: float, clip_high: float, dual_clip: float | None = None
) -> tuple[Tensor, Tensor]:
    gain_N = ratio_N * advantage_N
    bound_N = ratio_N.clamp(1.0 - clip_low, 1.0 + clip_high) * advantage_N
    is_clipped_N = gain_N > bound_N
    if dual_clip is None:
        return -torch.minimum(gain_N, bound_N), is_clipped_N
    assert dual_clip > 1.0, dual_clip
    floor_N = torch.where(advantage_N < 0, dual_clip * advantage_N, -torch.inf)
    return -torch.minimum(gain_N, bound_N).maximum(floor_N), is_clipped_N | (gain_N < floor_N)


def gspo(
    logprob_N: Tensor,
    old_logprob_N: Tensor,
    advantage_N: Tensor,
    sequence_N: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Tensor, Tensor]:
    """GSPO-token (Zheng et al. 2025, arXiv 2507.18071, eq. 13 to 15): the ratio is the sequence's, not the token's.

    The ratio of a sequence is exp(mean log ratio of its tokens); a token's has that value and the gradient of its own
    logprob. Its bounds are far narrower than PPO's (the paper: 3e-4 and 4e-4). The paper's mean over tokens and
    sequences is `sequence_mean`.

    Returns: loss_N; is_clipped_N, the same for all tokens of a sequence that has one advantage.
    """
    log_ratio_N = (logprob_N - old_logprob_N).detach()
    sequence_ratio_N = _ratio(reduce_parts(log_ratio_N, sequence_N, "mean"))
    ratio_N = sequence_ratio_N * (logprob_N - logprob_N.detach()).exp()
    return _clipped(ratio_N, advantage_N, clip_low=clip_low, clip_high=clip_high)


def cispo(
    logprob_N: Tensor, old_logprob_N: Tensor, advantage_N: Tensor, *, clip_high: float, clip_low: float | None
) -> tuple[Tensor, Tensor]:
    """CISPO (MiniMax-M1, arXiv 2506.13585, eq. 4): REINFORCE with a clamped importance weight.

    -stopgrad(clamp(r, 1 - low, 1 + high)) A logprob. `clip_low` None is the paper's setting: no lower bound.

    Returns: loss_N; is_clipped_N: where the weight was clamped. No token loses its gradient.
    """
    ratio_N = _ratio((logprob_N - old_logprob_N).detach())
    weight_N = ratio_N.clamp(None if clip_low is None else 1.0 - clip_low, 1.0 + clip_high)
    return -weight_N * advantage_N * logprob_N, weight_N != ratio_N


def gmpo(
    logprob_N: Tensor,
    old_logprob_N: Tensor,
    advantage_N: Tensor,
    sequence_N: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Tensor, Tensor]:
    """GMPO (Zhao et al. 2025, arXiv 2507.20673): minus the advantage times the geometric mean of clipped ratios.

    A token's log ratio is clipped to [-clip_low, clip_high] (the paper: 0.4 both) on the side that the advantage
    pushes to: above for a positive one, below for a negative one. One advantage a sequence.

    Returns: loss_N: the sequence's value on each of its tokens, so that weights that sum to 1 / num_sequences within
    a sequence, `sequence_mean`, give the paper's mean over sequences; is_clipped_N, for each token.
    """
    log_ratio_N, sign_N = logprob_N - old_logprob_N, advantage_N.sign()
    bound_N = log_ratio_N.clamp(-clip_low, clip_high)
    clipped_N = sign_N * torch.minimum(sign_N * log_ratio_N, sign_N * bound_N)
    loss_N = -advantage_N * _ratio(reduce_parts(clipped_N, sequence_N, "mean"))
    return loss_N, sign_N * log_ratio_N > sign_N * bound_N


def reinforce(logprob_N: Tensor, advantage_N: Tensor) -> tuple[Tensor, Tensor]:
    """-A logprob (Williams 1992, "Simple statistical gradient-following algorithms"): nothing is clipped.

    Returns: loss_N, is_clipped_N.
    """
    return -advantage_N * logprob_N, torch.zeros_like(advantage_N, dtype=torch.bool)


def value_loss(value_N: Tensor, old_value_N: Tensor, return_N: Tensor, *, clip: float | None) -> tuple[Tensor, Tensor]:
    """The critic's loss: 0.5 max((v - R)^2, (clamp(v, v_old - clip, v_old + clip) - R)^2).

    The clipping is that of PPO's first code (OpenAI baselines, ppo2); None is half the squared error. The gradient
    flows through `value_N` only. Returns: loss_N, is_clipped_N.
    """
    error_N = 0.5 * (value_N - return_N).square()
    if clip is None:
        return error_N, torch.zeros_like(error_N, dtype=torch.bool)
    bound_N = 0.5 * (value_N.clamp(old_value_N - clip, old_value_N + clip) - return_N).square()
    return torch.maximum(error_N, bound_N), bound_N > error_N


def token_weights(
    sequence_N: Tensor, aggregation: Aggregation, *, num_tokens: int, num_sequences: int, divisor: float
) -> Tensor:
    """What each token's loss counts in the batch's: weight_N, float32.

    token_mean: 1 / num_tokens. sequence_mean: 1 / (tokens of its sequence * num_sequences).
    sequence_sum: 1 / (divisor * num_sequences); the divisor is a constant of the run (Dr. GRPO, arXiv 2503.20783),
    not this batch's longest response.

    num_tokens, num_sequences: trained tokens, and sequences that have one, of the whole batch, all micro-batches and
    ranks, of the final mask. sequence_N bears the final mask too. Empty in, empty out.
    """
    one_N = torch.ones_like(sequence_N, dtype=torch.float32)
    if aggregation == "token_mean":
        return one_N / num_tokens
    if aggregation == "sequence_mean":
        return one_N / (reduce_parts(one_N, sequence_N, "sum") * num_sequences)
    assert aggregation == "sequence_sum", aggregation
    return one_N / (divisor * num_sequences)


def token_logprobs(
    logits_NV: Tensor, target_N: Tensor, temperature: float, *, entropy_gradient: bool = False
) -> tuple[Tensor, Tensor]:
    """Logprobs of `target_N` and entropies of softmax(logits / temperature), in float32 nats.

    The temperature is that of sampling: loss, entropy and behaviour logprobs speak of one distribution. Entropies
    carry a gradient only where asked, since it costs memory; a logit of -inf has none and adds nothing.

    Returns: logprob_N, entropy_N.
    """
    all_logprob_NV = torch.log_softmax(logits_NV.float() / temperature, dim=-1)
    logprob_N = all_logprob_NV.gather(-1, target_N[:, None]).squeeze(-1)
    with torch.set_grad_enabled(entropy_gradient):
        # 0 * -inf is NaN, and so is its gradient: the fill comes before the product.
        finite_NV = all_logprob_NV.masked_fill(all_logprob_NV == -torch.inf, 0.0)
        entropy_N = -(all_logprob_NV.exp() * finite_NV).sum(-1)
    return logprob_N, entropy_N
