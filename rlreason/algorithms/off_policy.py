"""Corrections for tokens that were sampled from another policy than the one that takes the step.

Three policies: the behaviour policy (the engine's, as it was when the sample was written), the proximal policy (the
learner's, before the batch's first step) and the current policy. The losses' ratio leads from the proximal to the
current policy; the weights here lead from the behaviour to the proximal one, so that the product of both is right
(the decoupled objective: Hilton et al. 2021, arXiv 2110.00641; for language models AReaL, arXiv 2505.24298). They
answer for staleness and for what the engine's kernels and the learner's compute differently.

Each takes log_ratio_N = proximal - behaviour logprobs, nats, and returns weight_N, which multiplies the token's loss
(0 where the token is left out), and keep_N, bool: the final mask, which the loss's counts follow. No gradient.

Notation: N = trained tokens, sequence after sequence; `sequence_N` int64: the sequence of each token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlreason.algorithms.segments import reduce_parts


@torch.no_grad()
def token_truncated(log_ratio_N: Tensor, *, cap: float) -> tuple[Tensor, Tensor]:
    """TIS: min(ratio, cap) (Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training").

    Truncated importance weights are those of IMPALA (Espeholt et al. 2018, arXiv 1802.01561). Bounded
    variance, some bias; every token is kept. Returns: weight_N in [0, cap], keep_N.
    """
    return log_ratio_N.exp().clamp(max=cap), torch.ones_like(log_ratio_N, dtype=torch.bool)


@torch.no_grad()
def sequence_truncated(log_ratio_N: Tensor, sequence_N: Tensor, *, cap: float) -> tuple[Tensor, Tensor]:
    """min(product of the sequence's ratios, cap), on each of its tokens; every token is kept.

    The weight of the whole sequence is what is unbiased where the reward is the sequence's (Liu, Li et al. 2025, "When
    Speed Kills Stability", part 2). Its spread grows with the length. Returns: weight_N in [0, cap], keep_N.
    """
    return token_truncated(reduce_parts(log_ratio_N, sequence_N, "sum"), cap=cap)


@torch.no_grad()
def token_masked(log_ratio_N: Tensor, *, low: float, high: float) -> tuple[Tensor, Tensor]:
    """IcePop: the ratio where it is in [low, high], else the token is left out (Ring-1T, arXiv 2510.18855).

    A ratio far from 1 says that engine and learner disagree about the token, not that it should count more.
    Returns: weight_N, 0 or in [low, high]; keep_N.
    """
    ratio_N = log_ratio_N.exp()
    keep_N = (ratio_N >= low) & (ratio_N <= high)
    return torch.where(keep_N, ratio_N, 0.0), keep_N


@torch.no_grad()
def sequence_rejected(log_ratio_N: Tensor, sequence_N: Tensor, *, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Leaves out a sequence whose ratios' geometric mean is outside [low, high]; kept tokens weigh 1.

    The geometric mean does not grow with the length, so long sequences are not rejected more often (Liu, Li et al.
    2025, "When Speed Kills Stability", part 3). Returns: weight_N, 0 or 1, and keep_N, the same for all tokens of a
    sequence.
    """
    mean_N = reduce_parts(log_ratio_N, sequence_N, "mean").exp()
    keep_N = (mean_N >= low) & (mean_N <= high)
    return keep_N.to(log_ratio_N.dtype), keep_N


@dataclass(frozen=True, slots=True, kw_only=True)
class MismatchSums:
    """What `mismatch_metrics` is made of; those of parts of a batch go together."""

    num_tokens: int
    num_kept: int
    weight: float
    weight_squared: float
    weight_max: float
    ratio: float
    ratio_max: float

    @classmethod
    def of(cls, log_ratio_N: Tensor, weight_N: Tensor, keep_N: Tensor) -> "MismatchSums":
        ratio_N, weight_N = log_ratio_N.double().exp(), weight_N.double()
        return cls(
            num_tokens=len(ratio_N),
            num_kept=int(keep_N.sum()),
            weight=weight_N.sum().item(),
            weight_squared=weight_N.square().sum().item(),
            weight_max=weight_N.max().item() if len(weight_N) else 0.0,
            ratio=ratio_N.sum().item(),
            ratio_max=ratio_N.max().item() if len(ratio_N) else 0.0,
        )


def mismatch_metrics(parts: Sequence[MismatchSums]) -> dict[str, float]:
    """How far behaviour and proximal policy are apart, and what the correction made of it.

    Over all tokens, those left out with weight 0: `mismatch/weight_mean`, `mismatch/weight_max`,
    `mismatch/left_out_fraction` and `mismatch/effective_sample_size`, Kish's (sum w)^2 / sum w^2 as a fraction of the
    tokens: 1 where all weights are equal, 0 where all are 0. Before the correction: `mismatch/ratio_mean` (1 is
    expected on any policy, if behaviour logprobs are right) and `mismatch/ratio_max`. Empty where there is no token.
    """
    count = sum(part.num_tokens for part in parts)
    if not count:
        return {}
    weight, squared = sum(part.weight for part in parts), sum(part.weight_squared for part in parts)
    return {
        "mismatch/weight_mean": weight / count,
        "mismatch/weight_max": max(part.weight_max for part in parts),
        "mismatch/effective_sample_size": weight**2 / squared / count if squared else 0.0,
        "mismatch/left_out_fraction": 1.0 - sum(part.num_kept for part in parts) / count,
        "mismatch/ratio_mean": sum(part.ratio for part in parts) / count,
        "mismatch/ratio_max": max(part.ratio_max for part in parts),
    }
