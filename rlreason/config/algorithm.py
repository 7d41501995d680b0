"""The algorithm section: which advantage, loss and corrections; presets; what does not go together.

A preset is a set of plain values that keys beside it override; the resolved configuration shows them all.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from rlreason.config.base import Count, Fraction, Strict

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Discount = Annotated[float, Field(ge=0, le=1)]

ADVANTAGES = ("grpo", "dr_grpo", "rloo", "reinforce_pp", "reinforce_pp_baseline", "remax", "gae", "none")
LOSSES = ("ppo_clip", "gspo", "cispo", "gmpo", "reinforce")
OF_GROUPS = ("grpo", "dr_grpo", "rloo", "reinforce_pp_baseline")
"""Advantages that compare the samples of a group: one alone gets 0."""

PRESETS: dict[str, dict[str, Any]] = {
    # arXiv 2402.03300, eq. 3, with its penalty made unbiased
    "grpo": {
        "advantage": "grpo",
        "normalize_std": True,
        "clip_high": 0.2,
        "aggregation": "sequence_mean",
        "kl": {"estimator": "k3", "coef": 0.04},
    },
    # arXiv 2503.20783
    "dr_grpo": {"advantage": "dr_grpo", "clip_high": 0.2, "aggregation": "sequence_sum"},
    # arXiv 2503.14476
    "dapo": {
        "advantage": "grpo",
        "normalize_std": True,
        "dynamic_sampling": {},
        "overlong": {},
        "mask_truncated": True,
    },
    # arXiv 2402.14740: the whole response is one action
    "rloo": {
        "advantage": "rloo",
        "loss": "reinforce",
        "aggregation": "sequence_sum",
        "kl": {"estimator": "k1", "coef": 0.01},
    },
    # arXiv 2501.03262
    "reinforce_pp": {"advantage": "reinforce_pp", "clip_high": 0.2, "kl": {"estimator": "k1", "coef": 0.001}},
    # arXiv 2507.18071
    "gspo": {"advantage": "grpo", "normalize_std": True, "loss": "gspo", "aggregation": "sequence_mean"},
    # arXiv 2506.13585
    "cispo": {"advantage": "grpo", "normalize_std": True, "loss": "cispo"},
    # arXiv 1707.06347 with 1506.02438
    "ppo": {"advantage": "gae", "clip_high": 0.2, "kl": {"estimator": "k1", "coef": 0.001}},
}

BY_LOSS: dict[str, dict[str, float]] = {
    "ppo_clip": {"clip_low": 0.2, "clip_high": 0.28},
    "gspo": {"clip_low": 3e-4, "clip_high": 4e-4},
    "cispo": {"clip_high": 4.0},
    "gmpo": {"clip_low": 0.4, "clip_high": 0.4},
}
BY_ADVANTAGE: dict[str, dict[str, float]] = {
    "reinforce_pp": {"gamma": 1.0},
    "gae": {"gamma": 1.0, "lam": 1.0, "value_clip": 0.2, "critic_warmup_steps": 0},
}


class KLConfig(Strict):
    """A penalty on the distance from a reference policy: the starting policy, held by each learner worker."""

    estimator: Literal["k1", "k2", "k3"]
    """`k1`: log ratio, taken from the reward. `k2`: half its square, in the loss. `k3`: in the loss, corrected for the
    policy that sampled. As a loss k1 and plain k3 have wrong gradients, so there is no such choice."""
    coef: Positive
    """Weight of the penalty; with a `target` the weight at the start."""
    target: Positive | None = None
    """KL in nats a token that an adaptive controller steers `coef` to (arXiv 1909.08593, section 2.2); null: fixed."""
    horizon: Positive | None = None
    """Samples over which the controller acts; null: 10000, with a `target`."""
    refresh_every: Count | None = None
    """Steps after which the reference becomes the present policy; null: never."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("target") is not None and raw.get("horizon") is None:
            return raw | {"horizon": 10000.0}
        return raw

    @model_validator(mode="after")
    def _no_effect_is_an_error(self) -> Self:
        if self.horizon is not None and self.target is None:
            raise ValueError("horizon has no effect without `target`; take it out")
        return self


class OffPolicyConfig(Strict):
    """Three policies apart (decoupled PPO, arXiv 2505.24298, section 5): the behaviour policy wrote the samples; the
    proximal policy is the learner's before a batch's first update, and the ratio is that to it; a correction accounts
    for the difference between those two. Costs a forward pass.
    """

    correction: Literal["none", "token_truncate", "sequence_truncate", "token_mask", "sequence_reject"]
    """`token_truncate`: each token weighs proximal / behaviour, at most `cap` (TIS). `sequence_truncate`: the same of
    whole sequences. `token_mask`: tokens whose ratio is outside `low` to `high` are left out (IcePop).
    `sequence_reject`: sequences are, whose mean ratio (geometric) is outside. `none`: as if they were one."""
    cap: Positive | None = None
    """null: 2.0, where it applies."""
    low: Positive | None = None
    """null: 0.5, where it applies."""
    high: Positive | None = None
    """null: 2.0, where it applies."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        own: dict[str, float] = {}
        if raw.get("correction") in ("token_truncate", "sequence_truncate"):
            own = {"cap": 2.0}
        elif raw.get("correction") in ("token_mask", "sequence_reject"):
            own = {"low": 0.5, "high": 2.0}
        return _filled(raw, own)

    @model_validator(mode="after")
    def _no_effect_is_an_error(self) -> Self:
        truncates, cuts = "truncate" in self.correction, self.correction in ("token_mask", "sequence_reject")
        for key, value, applies in (("cap", self.cap, truncates), ("low", self.low, cuts), ("high", self.high, cuts)):
            if value is not None and not applies:
                raise ValueError(f"{key} has no effect with `correction: {self.correction}`; take it out")
        if self.low is not None and self.high is not None and not self.low < 1.0 < self.high:
            raise ValueError(f"low {self.low:g} and high {self.high:g} must lie on both sides of 1")
        return self


class DynamicSamplingConfig(Strict):
    """Groups whose rewards are all equal teach nothing: each is replaced by that of the next prompt (DAPO, arXiv
    2503.14476, section 3.2). Every other group is kept; rewards are compared before `overlong` and `kl`.
    """

    max_draws: Annotated[float, Field(ge=1)] = 3.0
    """A step draws at most so many times `prompts_per_step`. When they are used up it trains on the groups that it has,
    and not at all where it has none; an event says so. When the data ends, the next epoch begins."""


class OverlongConfig(Strict):
    """Soft overlong punishment (DAPO, arXiv 2503.14476, eq. 13): taken from the reward of responses near the limit."""

    buffer_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The penalty rises from 0 over this last share of `rollout.max_response_tokens`."""
    penalty: Positive = 1.0
    """At the limit."""


class AlgorithmConfig(Strict):
    """How samples with rewards become an update. Keys that are null are filled in as the choices ask for."""

    preset: Literal["grpo", "dr_grpo", "dapo", "rloo", "reinforce_pp", "gspo", "cispo", "ppo"] | None = None
    """Values of the keys below as a paper has them; keys beside it override."""
    advantage: str = "grpo"
    """grpo, dr_grpo, rloo, reinforce_pp, reinforce_pp_baseline, remax, gae, none (the reward itself), or a function of
    yours: `FILE.py:FUNCTION(reward_S, group_S, **advantage_args)` returns one number a sample."""
    advantage_args: dict[str, Any] = Field(default_factory=dict)
    """Of a function of yours."""
    normalize_std: bool = False
    """Divide by the group's standard deviation (GRPO as published); off as Dr.GRPO (arXiv 2503.20783) advises."""
    gamma: Discount | None = None
    """Discount a token, of `gae` and `reinforce_pp`; null: 1."""
    lam: Discount | None = None
    """Of `gae`: 1 trusts the returns, 0 the critic; null: 1."""
    loss: str = "ppo_clip"
    """ppo_clip, gspo, cispo, gmpo, reinforce, or a function of yours:
    `FILE.py:FUNCTION(logprob_N, old_logprob_N, advantage_N, sequence_N, **loss_args)` returns one number a token."""
    loss_args: dict[str, Any] = Field(default_factory=dict)
    """Of a function of yours."""
    clip_low: Annotated[float, Field(gt=0)] | None = None
    """The ratio is clipped below 1 - clip_low (gmpo: exp(-clip_low)); null: 0.2 for ppo_clip, 3e-4 for gspo, 0.4 for
    gmpo, no bound for cispo."""
    clip_high: Annotated[float, Field(gt=0)] | None = None
    """The ratio is clipped above 1 + clip_high (gmpo: exp(clip_high)); null: 0.28 for ppo_clip, 4e-4 for gspo, 0.4 for
    gmpo, 4 for cispo."""
    dual_clip: Annotated[float, Field(gt=1)] | None = None
    """Bound on the ratio where the advantage is negative (arXiv 1912.09729); of `ppo_clip` alone."""
    aggregation: Literal["token_mean", "sequence_mean", "sequence_sum"] = "token_mean"
    """`token_mean` over the batch (DAPO). `sequence_mean`: mean over sequences of their token means (GRPO).
    `sequence_sum`: mean over sequences of their sums, divided by `loss_divisor` (Dr.GRPO)."""
    loss_divisor: Positive | None = None
    """Of `sequence_sum`; null: rollout.max_response_tokens."""
    entropy_coef: Fraction = 0.0
    """Weight of the mean entropy, at the sampling temperature, that is added to the gain."""
    kl: KLConfig | None = None
    """null: no penalty, and no reference policy is held unless `guard.max_kl` limits the distance to it."""
    off_policy: OffPolicyConfig | None = None
    """null: the ratio is that to the policy that wrote the samples, by the rollout engine's logprobs."""
    dynamic_sampling: DynamicSamplingConfig | None = None
    overlong: OverlongConfig | None = None
    mask_truncated: bool = False
    """A response cut off at the token limit counts in its group's mean and is not trained on (overlong filtering)."""
    epochs: Count = 1
    """Times that a rollout batch is gone through."""
    minibatches: Count = 1
    """Optimizer steps of each time."""
    value_clip: Positive | None = None
    """A value moves at most so far from the one before the batch's updates; of `gae`; null: 0.2."""
    critic_warmup_steps: Annotated[int, Field(ge=0)] | None = None
    """First steps in which only the critic learns; of `gae`; null: 0. The policy's schedules begin after them."""
    shuffle_rewards: bool = False
    """Control experiment: rewards are permuted over the whole batch, so that nothing can be learned from them."""

    @property
    def needs_greedy(self) -> bool:
        """The advantage compares each sample with the greedy response to its prompt."""
        return self.advantage == "remax"

    @property
    def updates_per_step(self) -> int:
        return self.epochs * self.minibatches

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, raw: Any) -> Any:
        """The preset under the keys beside it, then what their choices ask for."""
        if not isinstance(raw, dict):
            return raw
        preset = PRESETS.get(raw["preset"], {}) if isinstance(raw.get("preset"), str) else {}
        merged = preset | raw
        for key, value in preset.items():
            if isinstance(value, dict) and isinstance(raw.get(key), dict):
                merged[key] = value | raw[key]
        advantage, loss = merged.get("advantage", "grpo"), merged.get("loss", "ppo_clip")
        for choice, chosen, key in (("advantage", advantage, "normalize_std"), ("loss", loss, "clip_high")):
            if key not in raw and chosen != preset.get(choice, cls.model_fields[choice].default):
                merged.pop(key, None)  # the preset's value belongs to the preset's choice
        own = BY_LOSS.get(loss, {}) if isinstance(loss, str) else {}
        own = own | (BY_ADVANTAGE.get(advantage, {}) if isinstance(advantage, str) else {})
        return _filled(merged, own)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for key, value, known in (("advantage", self.advantage, ADVANTAGES), ("loss", self.loss, LOSSES)):
            if value not in known and ":" not in value:
                raise ValueError(f"{key}: `{value}` is not one of {', '.join(known)}, nor FILE.py:FUNCTION")
        own_loss, own_advantage = self.loss not in LOSSES, self.advantage not in ADVANTAGES
        of_gae, clips = self.advantage == "gae", self.loss in BY_LOSS
        for key, is_set, applies, choice in (
            ("advantage_args", bool(self.advantage_args), own_advantage, f"advantage: {self.advantage}"),
            ("normalize_std", self.normalize_std, self.advantage == "grpo", f"advantage: {self.advantage}"),
            ("gamma", self.gamma is not None, self.advantage in BY_ADVANTAGE, f"advantage: {self.advantage}"),
            ("lam", self.lam is not None, of_gae, f"advantage: {self.advantage}"),
            ("value_clip", self.value_clip is not None, of_gae, f"advantage: {self.advantage}"),
            ("critic_warmup_steps", self.critic_warmup_steps is not None, of_gae, f"advantage: {self.advantage}"),
            ("loss_args", bool(self.loss_args), own_loss, f"loss: {self.loss}"),
            ("clip_low", self.clip_low is not None, clips, f"loss: {self.loss}"),
            ("clip_high", self.clip_high is not None, clips, f"loss: {self.loss}"),
            ("dual_clip", self.dual_clip is not None, self.loss == "ppo_clip", f"loss: {self.loss}"),
            ("loss_divisor", self.loss_divisor is not None, self.aggregation == "sequence_sum",
             f"aggregation: {self.aggregation}"),
        ):  # fmt: skip
            if is_set and not applies:
                raise ValueError(f"{key} has no effect with `{choice}`; take one of them out")
        if self.clip_low is not None and self.clip_low >= 1 and self.loss != "gmpo":
            raise ValueError(f"clip_low: {self.clip_low:g} is no bound on a ratio; it must be below 1")
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        """Choices that would undo one another."""
        if self.loss == "gmpo":
            self._is_of_sequences()
        if self.loss == "reinforce" and self.updates_per_step > 1:
            raise ValueError(
                "`loss: reinforce` has no ratio, so that updates after a batch's first would be off-policy; "
                "set `epochs: 1` and `minibatches: 1`, or take another loss"
            )
        if self.shuffle_rewards and self.dynamic_sampling is not None:
            raise ValueError("`shuffle_rewards` would deal out what `dynamic_sampling` chose; take one of them out")
        if self.advantage != "remax":
            return self
        for key, is_set, reason in (
            ("shuffle_rewards", self.shuffle_rewards, "the baseline would be the greedy answer's true reward"),
            ("overlong", self.overlong is not None, "the greedy answer's reward, the baseline, is not punished"),
            ("dynamic_sampling", self.dynamic_sampling is not None,
             "it drops groups of equal rewards, which teach where the greedy answer's is another"),
        ):  # fmt: skip
            if is_set:
                raise ValueError(f"{key} does not go with `advantage: remax`: {reason}; take one of them out")
        return self

    def _is_of_sequences(self) -> None:
        """Raises ValueError where gmpo's sequences would not have one weight and one advantage each."""
        if self.aggregation != "sequence_mean":
            raise ValueError("`loss: gmpo` is a mean over sequences; set `aggregation: sequence_mean`")
        returns, k1 = self.advantage == "reinforce_pp", self.kl is not None and self.kl.estimator == "k1"
        for choice, is_of_tokens in (
            ("advantage: gae", self.advantage == "gae"),
            (f"gamma: {self.gamma}", returns and self.gamma != 1),
            ("kl.estimator: k1", returns and k1),
        ):
            if is_of_tokens:
                raise ValueError(
                    f"`loss: gmpo` takes one advantage a sequence, but with `{choice}` those of `{self.advantage}` "
                    "differ from token to token; take another loss, such as gspo, or another advantage"
                )


def _filled(raw: dict[str, Any], own: dict[str, float]) -> dict[str, Any]:
    """`raw` with what is null or missing taken from `own`."""
    return raw | {key: value for key, value in own.items() if raw.get(key) is None}
