"""Estimators of KL(p || q) from tokens sampled from p (Schulman 2020, "Approximating KL divergence").

Notation: N = tokens. All are pointwise; average them over tokens sampled from p.
"""

from torch import Tensor


def k1(logp_N: Tensor, logq_N: Tensor) -> Tensor:
    """log p - log q: unbiased, may be negative. Right as a reward; as a loss its gradient has zero mean."""
    return logp_N - logq_N


def k2(logp_N: Tensor, logq_N: Tensor) -> Tensor:
    """Half the squared log ratio: biased as a value, but on-policy its gradient is that of KL(p || q)."""
    return 0.5 * (logp_N - logq_N).square()


def k3(logp_N: Tensor, logq_N: Tensor) -> Tensor:
    """q/p - 1 - log(q/p): unbiased, never negative, low variance. For monitoring; biased as a loss."""
    log_ratio_N = logq_N - logp_N
    return log_ratio_N.expm1() - log_ratio_N
