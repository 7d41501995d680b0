"""Estimators of KL(p || q) from sampled tokens (Schulman 2020, "Approximating KL divergence"), and their coefficient.

p is the policy that is trained, q the reference, b the policy that the tokens were sampled from: on-policy b = p.
All estimators are pointwise, in nats: average them over tokens sampled from b. "Value" and "gradient" below mean
their expectation over those tokens; as losses the gradient flows through `logp_N` only.

Notation: N = tokens.
"""

from math import isnan

from torch import Tensor


def k1(logp_N: Tensor, logq_N: Tensor) -> Tensor:
    """log p - log q. Value: KL(p || q) on-policy; a single token's may be negative.

    In the reward (without gradient, times the gradient of log p) it gives the gradient of KL(p || q) on-policy. As a
    loss its gradient does not know q at all: zero on-policy, and off-policy a push away from b.
    """
    return logp_N - logq_N


def k2(logp_N: Tensor, logq_N: Tensor) -> Tensor:
    """Half the squared log ratio. As a value biased.

    Gradient: that of KL(p || q) on-policy; off-policy biased, unless an importance weight p/b without gradient
    multiplies it.
    """
    return 0.5 * (logp_N - logq_N).square()


def k3(logp_N: Tensor, logq_N: Tensor) -> Tensor:
    """q/p - 1 - log(q/p). Value: KL(p || q) on-policy, never negative, of low variance: for monitoring.

    Gradient: on-policy that of the other divergence, KL(q || p); off-policy of neither.
    """
    log_ratio_N = logq_N - logp_N
    return log_ratio_N.expm1() - log_ratio_N


def corrected_k3(logp_N: Tensor, old_logp_N: Tensor, logq_N: Tensor) -> Tensor:
    """p/b times k3, the gradient through both (DeepSeek-V3.2, arXiv 2512.02556, section 3.1, "Unbiased KL Estimate").

    Value and gradient: those of KL(p || q), on-policy and off-policy, wherever b can sample what p can. On-policy
    the factor is 1, but it is needed: its gradient is what k3 lacks. The correction is each token's own: how likely
    the tokens before it are is left as b has it.

    old_logp_N: logprobs under b, without gradient. Where a weight of `off_policy` multiplies the loss too, that weight
    leads from the behaviour to the proximal policy: give the proximal policy's logprobs here.
    """
    return (logp_N - old_logp_N.detach()).exp() * k3(logp_N, logq_N)


def next_coef(coef: float, kl: float, *, target: float, horizon: float, num_samples: int) -> float:
    """Adaptive KL coefficient, after a batch (Ziegler et al. 2019, arXiv 1909.08593, section 2.2).

    coef * (1 + error * num_samples / horizon), with the error kl / target - 1 clipped to [-0.2, 0.2]: proportional
    control in log space. kl: the batch's measured divergence, in the unit of `target`. horizon: samples over which
    the coefficient may change by about a factor e^0.2; the paper's gain of 0.1 a batch is num_samples / horizon.

    Raises ValueError where one batch could bring the coefficient to zero or below, from which it would never rise.
    """
    if target <= 0 or horizon <= 0 or num_samples >= 5 * horizon:
        raise ValueError(
            f"target {target:g} and horizon {horizon:g} must be above 0, and the horizon above a fifth of a batch of "
            f"{num_samples} samples"
        )
    assert not isnan(kl), kl  # infinite: as far above the target as can be
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coef * (1.0 + error * num_samples / horizon)
