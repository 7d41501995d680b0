"""Experience: from judged groups to what the learners' updates need of them.

What is one number a sample is worked out here; what is of tokens, by the learner ranks that hold them.

Notation: S = samples that are trained on, K = rewards.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

import torch
from torch import Tensor

from rlreason.algorithms import advantages, off_policy
from rlreason.config.algorithm import BY_LOSS, AlgorithmConfig
from rlreason.config.schema import RolloutConfig
from rlreason.paths import find_function
from rlreason.rewards.length import overlong_penalty
from rlreason.rewards.runtime.combine import MAX_REWARD
from rlreason.types import Group, Judged, Moments, PolicyLoss, Sample, TokenCredit, UserError
from rlreason.workers.learner_fleet import LearnerFleet

OF_TOKENS = ("gae", "reinforce_pp")
"""Advantages that differ from token to token."""
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

    @property
    def samples(self) -> list[Sample]:
        return [one.sample for one in self.judged]

    def group_S(self) -> Tensor:
        return torch.tensor(self.groups)


def score(
    experience: Experience,
    policy: LearnerFleet,
    critic: LearnerFleet | None,
    algorithm: AlgorithmConfig,
    *,
    wants_reference: bool,
    temperature: float,
) -> None:
    """The learners fetch the samples and compute what the algorithm asks of the models before the first update."""
    for fleet in (policy, critic) if critic else (policy,):
        fleet.load(experience.samples, num_parts=algorithm.minibatches)
    if algorithm.off_policy is not None:
        policy.compute("policy", temperature)
    if wants_reference:
        policy.compute("reference", temperature)
    if critic is not None:
        critic.compute("value", temperature)


def credit(
    experience: Experience,
    policy: LearnerFleet,
    critic: LearnerFleet | None,
    algorithm: AlgorithmConfig,
    weights: Mapping[str, float] | None,
    *,
    kl_coef: float,
    max_response_tokens: int,
    on_policy: bool,
    rng: random.Random,
) -> tuple[list[int], dict[str, float]]:
    """Advantages, corrections and the final mask, where the samples are. Returns the trained tokens of each; metrics.

    `weights`: of each reward, where they are normalised one by one. `kl_coef`: the present one. `on_policy`: the
    weights that sampled are those of the only update.
    """
    metrics = {"policy/kl_coef": kl_coef} if algorithm.kl is not None else {}
    in_reward = algorithm.kl is not None and algorithm.kl.estimator == "k1"
    penalty_S = kl_coef * torch.tensor(policy.penalties(), dtype=torch.float64) if in_reward else None
    if penalty_S is not None:
        metrics["reward/kl_penalty_mean"] = float(penalty_S.sum()) / len(penalty_S)
    if algorithm.advantage in OF_TOKENS and weights is None:
        reward_S = shaped_rewards(experience, algorithm, max_response_tokens, rng)
        metrics |= _token_credit(policy, critic, algorithm, reward_S, kl_coef if in_reward else 0.0)
    else:
        if weights is not None:
            advantage_S = gdpo(experience, weights)
        else:
            reward_S = shaped_rewards(experience, algorithm, max_response_tokens, rng)
            advantage_S = advantages_of(
                reward_S if penalty_S is None else reward_S - penalty_S,
                experience.group_S(),
                algorithm,
                greedy_S=greedy_rewards(experience) if algorithm.needs_greedy else None,
            )
        require_usable(advantage_S, experience, algorithm.advantage)
        policy.set_advantages(advantage_S.tolist())
    if algorithm.off_policy is not None:
        metrics |= off_policy.mismatch_metrics(policy.correct(algorithm.off_policy))
        if critic is not None:
            critic.take(policy.column("keep"))
    counts = policy.settle(is_on_policy=on_policy)
    if critic is not None:
        critic.settle(is_on_policy=on_policy)
    if algorithm.mask_truncated:
        cut = [sample.finish_reason == "length" for sample in experience.samples]
        counts = [0 if is_cut else count for is_cut, count in zip(cut, counts, strict=True)]
    return counts, metrics


def _token_credit(
    policy: LearnerFleet, critic: LearnerFleet | None, algorithm: AlgorithmConfig, reward_S: Tensor, kl_coef: float
) -> dict[str, float]:
    assert algorithm.gamma is not None
    is_gae = algorithm.advantage == "gae"
    if critic is not None:
        policy.take(critic.column("values"))
    found = policy.credit(
        TokenCredit(
            name="gae" if is_gae else "reinforce_pp", gamma=algorithm.gamma, lam=algorithm.lam or 0.0, kl_coef=kl_coef
        ),
        reward_S.tolist(),
    )
    if (bad := policy.beyond(MAX_ADVANTAGE)) is not None:
        raise unusable(algorithm.advantage, *bad)
    if critic is None:
        return {}
    critic.take(policy.column("returns"))
    return critic_metrics(found)


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


def advantages_of(
    reward_S: Tensor, group_S: Tensor, algorithm: AlgorithmConfig, *, greedy_S: Tensor | None = None
) -> Tensor:
    """advantage_S, of whole samples."""
    match algorithm.advantage:
        case "grpo":
            return advantages.grpo(reward_S, group_S, normalize_std=algorithm.normalize_std)
        case "dr_grpo":
            return advantages.dr_grpo(reward_S, group_S)
        case "rloo":
            return advantages.rloo(reward_S, group_S)
        case "reinforce_pp_baseline":
            return advantages.reinforce_pp_baseline(reward_S, group_S)
        case "remax":
            assert greedy_S is not None
            return advantages.remax(reward_S, greedy_S)
        case "none":
            return reward_S
        case path:
            return _own_advantage(path, reward_S, group_S, algorithm)


def critic_metrics(found: Mapping[str, Moments]) -> dict[str, float]:
    """`critic/explained_variance`: 1 means that the values are the returns, 0 that a constant would do as well."""
    if not found["return"].count:
        return {}
    spread = found["return"].variance
    means = {"critic/value_mean": found["value"].mean, "critic/return_mean": found["return"].mean}
    return means | ({"critic/explained_variance": 1 - found["residual"].variance / spread} if spread > 0 else {})


def require_usable(advantage_S: Tensor, experience: Experience, name: str) -> None:
    """Raises UserError with the first sample whose advantage is NaN, infinite or too large for float32."""
    bad_S = ~(advantage_S.abs() <= MAX_ADVANTAGE)
    if bad_S.any():
        place = int(bad_S.nonzero()[0])
        sample = experience.samples[place]
        raise unusable(name, f"sample {sample.index} of task {sample.task_id}", float(advantage_S[place]))


def unusable(name: str, whose: str, value: float) -> UserError:
    return UserError(
        f"algorithm.advantage `{name}`: {value:g} for {whose}; an advantage must be a number within +-{MAX_ADVANTAGE:g}"
    )


def _own_advantage(path: str, reward_S: Tensor, group_S: Tensor, algorithm: AlgorithmConfig) -> Tensor:
    """Raises UserError where the user's function returns something else than numbers for the samples."""
    found = find_function(path)(reward_S, group_S, **algorithm.advantage_args)
    if not isinstance(found, Tensor) or found.shape != reward_S.shape or found.is_complex():
        raise UserError(f"algorithm.advantage `{path}`: expected a tensor of {len(reward_S)} numbers")
    return found.detach().to(reward_S.dtype)
