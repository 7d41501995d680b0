"""Losses on flat trained tokens. Pure functions of tensors.

Notation: N = tokens that are trained on, over all sequences of a micro-batch (masked tokens are not in the
tensors at all, so that a NaN outside the mask cannot reach the loss). Every loss divides by `denominator`, the
count of trained tokens over the *whole* batch, all micro-batches and ranks: the sum over micro-batches is then
the same for any split.
"""

import torch
from torch import Tensor


def cross_entropy(logprob_N: Tensor, denominator: float) -> Tensor:
    """Next-token loss: minus the mean logprob. Scalar, nats per token."""
    return -logprob_N.sum() / denominator


def clipped_policy_gradient(
    logprob_N: Tensor,
    old_logprob_N: Tensor,
    advantage_N: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    denominator: float,
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate (Schulman et al. 2017, arXiv 1707.06347, eq. 7), token mean over the batch.

    Asymmetric bounds are DAPO's clip-higher (arXiv 2503.14476, section 3.1). The gradient flows through
    `logprob_N` only. With `old_logprob_N = logprob_N.detach()` the ratio is exactly 1 and this is REINFORCE.

    Returns: the loss, scalar; the number of tokens whose gradient was clipped away, scalar.
    """
    ratio_N = (logprob_N - old_logprob_N).exp()
    clipped_N = ratio_N.clamp(1.0 - clip_low, 1.0 + clip_high)
    gain_N = torch.minimum(ratio_N * advantage_N, clipped_N * advantage_N)
    is_clipped_N = ratio_N * advantage_N > clipped_N * advantage_N
    return -gain_N.sum() / denominator, is_clipped_N.sum()


def token_logprobs(logits_NV: Tensor, target_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logprobs of `target_N` and entropies of softmax(logits / temperature), in float32 nats.

    The temperature is that of sampling: loss, entropy and behaviour logprobs speak of one distribution.
    Entropies carry no gradient.

    Returns: logprob_N, entropy_N.
    """
    all_logprob_NV = torch.log_softmax(logits_NV.float() / temperature, dim=-1)
    logprob_N = all_logprob_NV.gather(-1, target_N[:, None]).squeeze(-1)
    with torch.no_grad():
        entropy_N = -(all_logprob_NV.exp() * all_logprob_NV).nan_to_num(0.0).sum(-1)
    return logprob_N, entropy_N
