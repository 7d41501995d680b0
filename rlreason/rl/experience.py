"""From judged groups to training sequences: rewards, advantages, corrections, the final mask. Pure functions.

Notation: S = samples that are trained on, N = tokens of theirs that the policy wrote, sample after sample, K = rewards.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import torch
from torch import Tensor

from rlreason.algorithms import advantages, kl, off_policy
from rlreason.config.algorithm import BY_LOSS, AlgorithmConfig, OffPolicyConfig
from rlreason.config.schema import RolloutConfig
from rlreason.paths import find_function
from rlreason.rewards.length import overlong_penalty
from rlreason.rewards.runtime.combine import MAX_REWARD
from rlreason.types import Group, Judged, PolicyLoss, TrainSequence, UserError

MAX_ADVANTAGE = 1000 * MAX_REWARD
"""Its square fits float32 as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """The samples of one batch that are trained on, shuffled. The lists are aligned."""

    judged: list[Judged]
    groups: list[int]
    """Number of each one's group."""
    greedy: list[Judged | None]
    """The greedy response to the same prompt, where the advantage compares with it."""

    @classmethod
    def of(cls, groups: list[Group], rng: random.Random) -> "Experience":
        found = [(one, number, group.greedy) for number, group in enumerate(groups) for one in group.kept]
        rng.shuffle(found)
        judged, numbers, greedy = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [])
        return cls(judged=judged, groups=numbers, greedy=greedy)

    def sequences(self) -> list[TrainSequence]:
        samples = [one.sample for one in self.judged]
        return [
            TrainSequence(tokens=s.tokens, mask=s.mask, logprobs=s.logprobs, origin=f"{s.task_id} sample {s.index}")
            for s in samples
        ]

    def group_S(self) -> Tensor:
        return torch.tensor(self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What models say of the batch's tokens, each [N] or None where the algorithm does not ask."""

    proximal_N: Tensor | None = None
    """Logprobs of the learner before the batch's first update."""
    reference_N: Tensor | None = None
    """Logprobs of the reference policy."""
    value_N: Tensor | None = None
    """The critic's values."""


def train_sequences(
    experience: Experience,
    scores: Scores,
    algorithm: AlgorithmConfig,
    weights: Mapping[str, float] | None = None,
    *,
    kl_coef: float,
    max_response_tokens: int,
    on_policy: bool,
    rng: random.Random,
) -> tuple[list[TrainSequence], dict[str, float]]:
    """Sequences with all that the losses need, in the order of `experience`, less those with no token left; metrics.

    `weights`: of each reward, where they are normalised one by one. `kl_coef`: the present one. `on_policy`: the
    weights that sampled are those of the only update.
    """
    plain = experience.sequences()
    behaviour_N = _flat(plain, [sequence.logprobs for sequence in plain])
    length_S = torch.tensor([sequence.num_trained_tokens for sequence in plain])
    sequence_N = torch.arange(len(plain)).repeat_interleave(length_S)
    metrics = {"policy/kl_coef": kl_coef} if algorithm.kl is not None else {}
    penalty_N = None
    if scores.reference_N is not None and algorithm.kl is not None and algorithm.kl.estimator == "k1":
        penalty_N = kl_coef * kl.k1(behaviour_N, scores.reference_N)
        metrics["reward/kl_penalty_mean"] = float(penalty_N.sum()) / len(plain)
    if weights is not None:
        advantage_N, return_N = gdpo(experience, weights).repeat_interleave(length_S), None
    else:
        reward_S = shaped_rewards(experience, algorithm, max_response_tokens, rng)
        greedy_S = greedy_rewards(experience) if algorithm.needs_greedy else None
        advantage_N, return_N = token_advantages(
            reward_S,
            experience.group_S(),
            length_S,
            algorithm,
            greedy_S=greedy_S,
            penalty_N=penalty_N,
            value_N=scores.value_N,
        )
    require_usable(advantage_N, sequence_N, experience, algorithm.advantage)
    old_N = behaviour_N if scores.proximal_N is None else scores.proximal_N
    weight_N, keep_N = None, torch.ones_like(sequence_N, dtype=torch.bool)
    if algorithm.off_policy is not None:
        assert scores.proximal_N is not None
        weight_N, keep_N, found = correction(scores.proximal_N - behaviour_N, sequence_N, algorithm.off_policy)
        metrics |= found
    if scores.value_N is not None and return_N is not None and len(return_N):
        metrics |= critic_metrics(scores.value_N, return_N)
    if algorithm.mask_truncated:
        cut_S = torch.tensor([one.sample.finish_reason == "length" for one in experience.judged])
        keep_N = keep_N & ~cut_S[sequence_N]
    columns = {
        "mask": keep_N.long(),
        "old_logprobs": None if on_policy else old_N,
        "reference_logprobs": scores.reference_N,
        "advantages": advantage_N,
        "weights": weight_N,
        "values": scores.value_N,
        "returns": return_N,
    }
    return [sequence for sequence in with_columns(plain, columns) if sequence.num_trained_tokens], metrics


def policy_loss(algorithm: AlgorithmConfig, rollout: RolloutConfig, kl_coef: float) -> PolicyLoss:
    """The loss that the configuration describes; `kl_coef` is the present one."""
    constants: dict[str, Any] = dict(algorithm.loss_args)
    if algorithm.loss in BY_LOSS:
        constants |= {"clip_low": algorithm.clip_low, "clip_high": algorithm.clip_high}
    if algorithm.loss == "ppo_clip":
        constants["dual_clip"] = algorithm.dual_clip
    estimator = algorithm.kl.estimator if algorithm.kl else None
    return PolicyLoss(
        name=algorithm.loss,
        constants=constants,
        aggregation=algorithm.aggregation,
        divisor=algorithm.loss_divisor or rollout.response_tokens,
        temperature=rollout.temperature,
        entropy_coef=algorithm.entropy_coef,
        kl=None if estimator == "k1" else estimator,
        kl_coef=kl_coef,
    )


def shaped_rewards(
    experience: Experience, algorithm: AlgorithmConfig, max_response_tokens: int, rng: random.Random
) -> Tensor:
    """reward_S: the combined reward, less the punishment of length."""
    totals = [one.reward for one in experience.judged]
    if algorithm.shuffle_rewards:
        rng.shuffle(totals)
    reward_S = torch.tensor(totals, dtype=torch.float64)
    if algorithm.overlong is None:
        return reward_S
    buffer_tokens = algorithm.overlong.buffer_share * max_response_tokens
    penalties = [
        overlong_penalty(one.sample.num_response_tokens, max_response_tokens - buffer_tokens, buffer_tokens)
        for one in experience.judged
    ]
    return reward_S + algorithm.overlong.penalty * torch.tensor(penalties, dtype=torch.float64)


def greedy_rewards(experience: Experience) -> Tensor:
    """[S] the reward of each sample's greedy sibling."""
    return torch.tensor([one.reward for one in experience.greedy if one is not None], dtype=torch.float64)


def gdpo(experience: Experience, weights: Mapping[str, float]) -> Tensor:
    """advantage_S of rewards that are normalised one by one."""
    reward_SK = [[one.values.get(name, nan) for name in weights] for one in experience.judged]
    weight_K = torch.tensor(list(weights.values()), dtype=torch.float64)
    return advantages.gdpo(torch.tensor(reward_SK, dtype=torch.float64), weight_K, experience.group_S())


def token_advantages(
    reward_S: Tensor,
    group_S: Tensor,
    length_S: Tensor,
    algorithm: AlgorithmConfig,
    *,
    greedy_S: Tensor | None = None,
    penalty_N: Tensor | None = None,
    value_N: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """advantage_N, and return_N where there is a critic. Where an advantage is of whole samples, so is the penalty."""
    name = algorithm.advantage
    if name == "gae":
        assert value_N is not None and algorithm.gamma is not None and algorithm.lam is not None
        advantage_N, return_N = advantages.gae(
            advantages.token_rewards(reward_S, length_S, penalty_N),
            value_N,
            length_S,
            gamma=algorithm.gamma,
            lam=algorithm.lam,
        )
        return advantages.normalize(advantage_N), return_N
    if name == "reinforce_pp":
        assert algorithm.gamma is not None
        token_reward_N = advantages.token_rewards(reward_S, length_S, penalty_N)
        return advantages.reinforce_pp(token_reward_N, length_S, gamma=algorithm.gamma), None
    if penalty_N is not None:
        sample_N = torch.arange(len(reward_S)).repeat_interleave(length_S)
        reward_S = reward_S.index_add(0, sample_N, -penalty_N)
    match name:
        case "grpo":
            advantage_S = advantages.grpo(reward_S, group_S, normalize_std=algorithm.normalize_std)
        case "dr_grpo":
            advantage_S = advantages.dr_grpo(reward_S, group_S)
        case "rloo":
            advantage_S = advantages.rloo(reward_S, group_S)
        case "reinforce_pp_baseline":
            advantage_S = advantages.reinforce_pp_baseline(reward_S, group_S)
        case "remax":
            assert greedy_S is not None
            advantage_S = advantages.remax(reward_S, greedy_S)
        case "none":
            advantage_S = reward_S
        case path:
            advantage_S = _own_advantage(path, reward_S, group_S, algorithm)
    return advantage_S.repeat_interleave(length_S), None


def correction(
    log_ratio_N: Tensor, sequence_N: Tensor, config: OffPolicyConfig
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """weight_N, keep_N and metrics. `log_ratio_N`: proximal less behaviour logprobs."""
    match config.correction:
        case "token_truncate":
            assert config.cap is not None
            weight_N, keep_N = off_policy.token_truncated(log_ratio_N, cap=config.cap)
        case "sequence_truncate":
            assert config.cap is not None
            weight_N, keep_N = off_policy.sequence_truncated(log_ratio_N, sequence_N, cap=config.cap)
        case "token_mask":
            assert config.low is not None and config.high is not None
            weight_N, keep_N = off_policy.token_masked(log_ratio_N, low=config.low, high=config.high)
        case "sequence_reject":
            assert config.low is not None and config.high is not None
            weight_N, keep_N = off_policy.sequence_rejected(log_ratio_N, sequence_N, low=config.low, high=config.high)
        case "none":
            weight_N, keep_N = torch.ones_like(log_ratio_N), torch.ones_like(log_ratio_N, dtype=torch.bool)
    return weight_N, keep_N, off_policy.mismatch_metrics(log_ratio_N, weight_N, keep_N)


def critic_metrics(value_N: Tensor, return_N: Tensor) -> dict[str, float]:
    """`critic/explained_variance`: 1 means that the values are the returns, 0 that a constant would do as well."""
    spread = return_N.var(correction=0)
    explained = {"critic/explained_variance": float(1 - (return_N - value_N).var(correction=0) / spread)}
    return {"critic/value_mean": float(value_N.mean()), "critic/return_mean": float(return_N.mean())} | (
        explained if spread > 0 else {}
    )


def require_usable(advantage_N: Tensor, sequence_N: Tensor, experience: Experience, name: str) -> None:
    """Raises UserError with the first sample whose advantage is NaN, infinite or too large for float32."""
    bad_N = ~(advantage_N.abs() <= MAX_ADVANTAGE)
    if bad_N.any():
        place = int(bad_N.nonzero()[0])
        sample = experience.judged[int(sequence_N[place])].sample
        raise UserError(
            f"algorithm.advantage `{name}`: {float(advantage_N[place]):g} for sample {sample.index} of task "
            f"{sample.task_id}; an advantage must be a number within +-{MAX_ADVANTAGE:g}"
        )


def _own_advantage(path: str, reward_S: Tensor, group_S: Tensor, algorithm: AlgorithmConfig) -> Tensor:
    """Raises UserError where the user's function returns something else than numbers for the samples."""
    found = find_function(path)(reward_S, group_S, **algorithm.advantage_args)
    if not isinstance(found, Tensor) or found.shape != reward_S.shape or found.is_complex():
        raise UserError(f"algorithm.advantage `{path}`: expected a tensor of {len(reward_S)} numbers")
    return found.detach().to(reward_S.dtype)


def _flat(sequences: list[TrainSequence], columns: list[tuple[float, ...]]) -> Tensor:
    return torch.tensor(
        [
            value
            for sequence, column in zip(sequences, columns, strict=True)
            for value, trained in zip(column[1:], sequence.mask[1:], strict=True)
            if trained
        ],
        dtype=torch.float64,
    )


def with_columns(sequences: list[TrainSequence], columns: dict[str, Tensor | None]) -> list[TrainSequence]:
    """The [N] tensors as columns that are aligned with tokens; 0 where the policy did not write."""
    values = {name: iter(value_N.tolist()) for name, value_N in columns.items() if value_N is not None}
    found = []
    for sequence in sequences:
        aligned: dict[str, Any] = {
            name: (0, *(next(values_N) if trained else 0 for trained in sequence.mask[1:]))
            for name, values_N in values.items()
        }
        found.append(replace(sequence, **aligned))
    return found
