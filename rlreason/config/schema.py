"""The configuration of every stage. Strict (an unknown key is an error), frozen, each default in one place.

A file describes one stage; its `stage:` key selects the model below. Keys that end in `_s` are seconds,
`_tokens` tokens, `_gib` 2**30 bytes.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from rlreason.config.algorithm import OF_GROUPS, AlgorithmConfig
from rlreason.config.base import CONTEXT_TOKENS, BaseStageConfig, Count, Strict, WatchdogConfig
from rlreason.config.corpus import CorpusConfig, TokenizerConfig
from rlreason.config.data import (
    HeldOutConfig,
    KnowledgeConfig,
    Mixture,
    PreferenceHeldOutConfig,
    PreferenceSets,
    TaskSets,
)
from rlreason.config.guard import GuardConfig
from rlreason.config.learner import LearnerConfig
from rlreason.config.rewards import CombineConfig, RewardConfig, RewardWorkerConfig, ScorerConfig
from rlreason.config.rollout import RolloutConfig


class EvalConfig(Strict):
    """Evaluation on the rollout engines."""

    tasks: TaskSets
    """Held-out sets by name; one set alone may stand without a name."""
    samples: Annotated[int, Field(ge=0)] = 0
    """k of avg@k, pass@k, maj@k; 0: greedy only."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of the k samples."""


class RLEvalConfig(EvalConfig):
    """Evaluation during RL, whose engines are there all the time."""

    every: Count | None = None
    """Steps between evaluations; null: only before and after."""


class CheckpointConfig(Strict):
    """Checkpoints to resume from. There is one at an interrupt, at an error that is not the learner's, and at the end,
    whatever stands here."""

    every: Count | None = None
    """Steps between checkpoints; null: none by steps."""
    every_s: Annotated[float, Field(gt=0)] | None = 300.0
    """Seconds between checkpoints, which are written after the step under way; null: none by time. Where one takes long
    to write they are further apart, so that at most a tenth of the time goes into them."""
    keep: Count = 2
    """Checkpoints that are kept; older ones are removed."""


class StageConfig(BaseStageConfig):
    """What every stage with a model has."""

    rewards: list[RewardConfig] = Field(default_factory=list)
    """Evaluation uses the first one that applies to the task; RL all, as `combine` says."""
    reward_workers: RewardWorkerConfig = RewardWorkerConfig()
    scorers: ScorerConfig = ScorerConfig()
    rollout: RolloutConfig = RolloutConfig()
    eval: EvalConfig | None = None
    """Run at the end of the stage."""
    watchdog: WatchdogConfig | None = WatchdogConfig()
    """null: the stage waits for ever."""

    @property
    def adapter_rank(self) -> int | None:
        """Of the adapters that the rollout engines are sent; None: they are sent whole weights, or none."""
        return None

    @model_validator(mode="after")
    def _names_differ(self) -> "StageConfig":
        names = [reward.name for reward in self.rewards]
        if len(set(names)) < len(names):
            raise ValueError("rewards: two of them have the same name")
        if self.eval is not None and not self.rewards:
            raise ValueError("eval: needs at least one entry in `rewards` to judge the answers")
        if self.rollout.response_tokens >= self.rollout.context_tokens:
            raise ValueError(
                f"rollout.max_response_tokens, {self.rollout.response_tokens}, must be smaller than "
                f"rollout.max_context_tokens, {self.rollout.context_tokens}"
            )
        return self


class TrainConfig(StageConfig):
    """What every training stage has."""

    learner: LearnerConfig
    steps: Count
    """Optimizer steps; for RL rollout batches."""
    checkpoints: CheckpointConfig = CheckpointConfig()

    @property
    def dtype(self) -> Literal["float32", "bfloat16"]:
        """Of the rollout engines."""
        return self.learner.dtype


class DataStageConfig(TrainConfig):
    """What the stages share that train on rows, and send no weights to an engine."""

    context_tokens: Annotated[int, Field(ge=2)] | None = None
    """Longest sequence that is trained on, at least 2: one token alone predicts nothing. null: 2048, or what the model
    has positions for where that is less."""

    @property
    def sequence_tokens(self) -> int:
        """`context_tokens`, or its default for a model of any length."""
        return self.context_tokens or CONTEXT_TOKENS

    @model_validator(mode="after")
    def _sends_nothing(self) -> "DataStageConfig":
        if self.learner.lora and self.learner.lora.send == "adapter":
            raise ValueError("learner.lora.send: only an RL stage sends weights; take it out (final/adapter has them)")
        return self


class SupervisedConfig(DataStageConfig):
    """What pretraining and SFT share: next-token prediction on a mixture of sources."""

    data: Mixture
    """Sources by name, each with a `weight`; one source alone may stand without a name."""
    tokens_per_step: Count
    """Tokens of one optimizer step, over all workers."""


class PretrainConfig(SupervisedConfig):
    """Next-token prediction on rows with a `text` column: a decoder from scratch, or one to continue.

    Documents longer than the context are cut into several sequences.
    """

    stage: Literal["pretrain"]
    model: str | None = None
    """A checkpoint to continue: path, hub name, or `stage:NAME`."""
    tokenizer: str | None = None
    """Path, hub name, `stage:NAME`, or `package.module:function` that returns one. A checkpoint has its own."""
    architecture: dict[str, Any] | None = None
    """Keys of a Hugging Face configuration; `model_type` (llama, qwen2, ...) selects its class. The vocabulary's size
    (rounded up to a multiple of 64) and the special tokens' ids come from the tokenizer where they are not given."""
    held_out: HeldOutConfig | None = None

    @model_validator(mode="after")
    def _one_start(self) -> "PretrainConfig":
        if self.model is None and (self.architecture is None or self.tokenizer is None):
            raise ValueError("give `architecture` and `tokenizer` for a new model, or `model` to continue one")
        if self.model is not None and (self.architecture is not None or self.tokenizer is not None):
            raise ValueError("a `model` to continue brings its own architecture and tokenizer; take those two out")
        if self.model is None and self.learner.lora is not None:
            raise ValueError("learner.lora: a new model has nothing to adapt; give `model`, or take lora out")
        return self


class SFTConfig(SupervisedConfig):
    """Fine-tuning on conversations; the loss is on the assistant's tokens."""

    stage: Literal["sft"]
    model: str
    """Path, hub name, or `stage:NAME` for an earlier stage of the recipe."""
    chat_template: str | None = None
    """A Jinja file for a model that has no template, or in place of its own; null: the model's own."""
    too_long: Literal["error", "drop"] = "drop"
    """What happens to a conversation that is longer than the context; dropped ones are counted."""
    knowledge: KnowledgeConfig | None = None
    """Questions that this model is asked first, to learn which it cannot answer."""


class PreferenceConfig(DataStageConfig):
    """What the stages share that train on preference rows."""

    model: str
    """Path, hub name, or `stage:NAME` for an earlier stage of the recipe."""
    data: PreferenceSets
    """Sets of preference rows by name, all shuffled together; one set alone may stand without a name."""
    rows_per_step: Count
    """Preference rows of one optimizer step, over all workers."""
    too_long: Literal["error", "drop"] = "drop"
    """What happens to a row with an answer that is, after its prompt, longer than the context; dropped ones are
    counted."""
    held_out: PreferenceHeldOutConfig | None = PreferenceHeldOutConfig()
    loss: Literal["bradley_terry", "plackett_luce"] = "bradley_terry"
    """bradley_terry: all pairs of a ranking; plackett_luce: the ranking as a sequence of choices."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of pairs that are taken to be labelled the wrong way round; of bradley_terry alone."""

    @model_validator(mode="after")
    def _no_effect_is_an_error(self) -> "PreferenceConfig":
        if self.loss == "plackett_luce" and self.label_smoothing:
            raise ValueError("label_smoothing has no effect with `loss: plackett_luce`; take one of them out")
        if self.loss == "plackett_luce" and any(data.margin for data in self.data.values()):
            raise ValueError("data: margin has no effect with `loss: plackett_luce`; take one of them out")
        if self.learner.pack_tokens is not None:
            raise ValueError("learner.pack_tokens: the answers of a row stand side by side here; take it out")
        if self.rows_per_step < self.learner.workers:
            raise ValueError(
                f"learner.workers: {self.learner.workers} workers for {self.rows_per_step} rows a step; use fewer "
                "workers or raise rows_per_step"
            )
        return self


class RewardModelConfig(PreferenceConfig):
    """A reward model: a causal language model with one number as its head, which learns the rankings."""

    stage: Literal["reward_model"]
    centring: Annotated[float, Field(ge=0)] = 0.01
    """Coefficient of the square of a pair's summed scores, which keeps scores near 0 (arXiv 2312.09244)."""

    @model_validator(mode="after")
    def _writes_nothing(self) -> "RewardModelConfig":
        if self.eval is not None or self.rewards:
            key = "eval" if self.eval is not None else "rewards"
            raise ValueError(f"{key}: a reward model writes no answers; take it out (`held_out` measures it)")
        return self


class DPOConfig(PreferenceConfig):
    """Direct preference optimisation: the policy learns the rankings itself (arXiv 2305.18290)."""

    stage: Literal["dpo"]
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How much a preference counts against the distance to the starting model; smaller goes further away."""


class RLConfig(TrainConfig):
    """Reinforcement learning with verifiable rewards."""

    stage: Literal["rl"]
    model: str
    """Path, hub name, or `stage:NAME` for an earlier stage of the recipe."""
    tasks: TaskSets
    """Sets of problems by name, all shuffled together; one set alone may stand without a name."""
    learner: LearnerConfig = Field(default=None, validate_default=True)
    """`lr`, where it is not given: 1e-6, with `lora` 1e-5."""
    prompts_per_step: Count = 16
    samples_per_prompt: Count = 8
    """Size of a group."""
    max_staleness: Annotated[int, Field(ge=0)] = 0
    """Policy versions that rollouts may run behind; 0 is on-policy."""
    eval: RLEvalConfig | None = None
    """Run at the start and at the end of the stage, and between."""
    combine: CombineConfig = CombineConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    critic: LearnerConfig | None = Field(default=None, validate_default=True)
    """The learner of `algorithm.advantage: gae`'s critic, which starts from `model`; what is not given is as in
    `learner`, but `lr` ten times that, and no `lora`."""
    guard: GuardConfig | None = None
    """Watches for a policy that pleases its reward models too well."""
    parity_tolerance: Annotated[float, Field(gt=0)] | None = None
    """Largest mean |learner - engine| logprob on the probe after a sync; null: 1e-4 in float32, 0.1 in bfloat16."""

    @field_validator("learner", mode="before")
    @classmethod
    def _fill_lr(cls, learner: Any) -> Any:
        if not isinstance(learner, dict | None):
            return learner
        given = learner or {}
        return {"lr": 1e-5 if given.get("lora") is not None else 1e-6} | given

    @field_validator("critic", mode="before")
    @classmethod
    def _fill(cls, critic: Any, info: ValidationInfo) -> Any:
        """What is not given, of a gae advantage's critic, from the policy's learner."""
        learner, algorithm = info.data.get("learner"), info.data.get("algorithm")
        if learner is None or algorithm is None or algorithm.advantage != "gae" or not isinstance(critic, dict | None):
            return critic
        return learner.model_dump() | {"lr": 10 * learner.lr, "lora": None} | (critic or {})

    @property
    def wants_reference(self) -> bool:
        """The distance to the starting policy is penalised or watched."""
        return self.algorithm.kl is not None or (self.guard is not None and self.guard.max_kl is not None)

    @property
    def policy_updates(self) -> int:
        """Optimizer steps of the policy, which waits for its critic's warm-up."""
        waits = self.algorithm.critic_warmup_steps or 0
        return max(1, self.steps - waits) * self.algorithm.updates_per_step

    @property
    def adapter_rank(self) -> int | None:
        lora = self.learner.lora
        return lora.rank if lora and lora.send == "adapter" else None

    @model_validator(mode="after")
    def _consistent(self) -> "RLConfig":
        if not self.rewards:
            raise ValueError("rewards: an RL stage needs at least one")
        self._combines()
        self._algorithm_fits()
        self._adapter_fits()
        if self.guard:
            sets = list(self.eval.tasks) if self.eval and self.eval.every else []
            is_stale = self.max_staleness > 0
            self.guard.require_fit(self.algorithm.kl, sets=sets, rewards=self.rewards, is_stale=is_stale)
        batch = self.prompts_per_step * self.samples_per_prompt
        if batch % self.algorithm.minibatches:
            raise ValueError(
                f"algorithm.minibatches: the batch of {batch} samples (prompts_per_step x samples_per_prompt) "
                f"does not divide by {self.algorithm.minibatches}"
            )
        for key, learner in (("learner", self.learner), ("critic", self.critic)):
            if learner and batch // self.algorithm.minibatches < learner.workers:
                raise ValueError(
                    f"{key}.workers: {learner.workers} workers for {batch // self.algorithm.minibatches} "
                    "samples an update; use fewer workers or a larger batch"
                )
        return self

    def _adapter_fits(self) -> None:
        """Raises ValueError where an adapter cannot be sent as it is."""
        if self.critic and self.critic.lora and self.critic.lora.send == "adapter":
            raise ValueError("critic.lora.send: the critic is sent to no engine; take it out")
        if self.adapter_rank is None:
            return
        if self.rollout.weight_sync != "ray_object_store":
            raise ValueError(
                f"rollout.weight_sync: {self.rollout.weight_sync} carries whole weights only; take it out, or use "
                "`learner.lora.send: merged`"
            )
        if self.adapter_rank > 512:
            raise ValueError(
                f"learner.lora.rank: vLLM takes adapters of rank 512 at most, not {self.adapter_rank}; lower it, or "
                "use `send: merged`"
            )

    def _algorithm_fits(self) -> None:
        """Raises ValueError where the algorithm does not go with the rest of the stage."""
        algorithm = self.algorithm
        if self.samples_per_prompt == 1 and algorithm.advantage in OF_GROUPS:
            raise ValueError(
                f"samples_per_prompt: 1 with `algorithm.advantage: {algorithm.advantage}` makes every advantage 0; "
                "use 2 or more samples, or an advantage that compares no samples (reinforce_pp, remax, gae, none)"
            )
        if self.samples_per_prompt == 1 and algorithm.dynamic_sampling is not None:
            raise ValueError("algorithm.dynamic_sampling would replace every group of `samples_per_prompt: 1`")
        if self.critic is not None and algorithm.advantage != "gae":
            raise ValueError(f"critic has no effect with `algorithm.advantage: {algorithm.advantage}`; take it out")
        if algorithm.overlong and any(reward.path == "rlreason.rewards.length:overlong" for reward in self.rewards):
            raise ValueError("algorithm.overlong and the reward `overlong` both punish length; take one of them out")
        kl, batch = algorithm.kl, self.prompts_per_step * self.samples_per_prompt
        if kl is not None and kl.horizon is not None and batch >= 5 * kl.horizon:
            raise ValueError(
                f"algorithm.kl.horizon: {kl.horizon:g} is no more than a fifth of the batch of {batch} samples, which "
                "could bring the coefficient to 0; raise it"
            )
        if self.max_staleness:
            correction = algorithm.off_policy.correction if algorithm.off_policy else None
            if correction == "none":
                raise ValueError(
                    "algorithm.off_policy.correction: none with max_staleness above 0 takes stale samples for fresh "
                    "ones; choose a correction, or take `off_policy` out"
                )
            if algorithm.loss == "reinforce" and correction is None:
                raise ValueError(
                    "`algorithm.loss: reinforce` has no ratio for the stale samples of max_staleness above 0; add "
                    "`algorithm.off_policy`, or take another loss"
                )

    def _combines(self) -> None:
        """Raises ValueError for a combination that names nothing or has no effect."""
        names, algorithm = [reward.name for reward in self.rewards], self.algorithm
        unknown = [name for name in self.combine.gate if name not in names]
        if unknown:
            raise ValueError(f"combine.gate: no reward is called `{unknown[0]}`; there are {', '.join(names)}")
        combined = [reward.name for reward in self.rewards if reward.weight or self.combine.mode != "min"]
        if self.combine.mode in ("min", "gate") and len(combined) <= len(self.combine.gate or names[:1]):
            raise ValueError(
                f"combine.mode: {self.combine.mode} has no effect on these rewards; take it out or add one"
            )
        weighted = [reward.name for reward in self.rewards if reward.weight not in (0.0, 1.0)]
        if self.combine.mode == "min" and weighted:
            raise ValueError(f"rewards: the weight of `{weighted[0]}` has no effect with `combine.mode: min`")
        if self.combine.mode == "gdpo":
            for key, is_set in (
                ("normalize_std: true", algorithm.normalize_std),
                (f"advantage: {algorithm.advantage}", algorithm.advantage != "grpo"),
                ("shuffle_rewards: true", algorithm.shuffle_rewards),
                ("overlong", algorithm.overlong is not None),
                ("kl.estimator: k1", algorithm.kl is not None and algorithm.kl.estimator == "k1"),
            ):
                if is_set:
                    raise ValueError(f"algorithm.{key} does not go with `combine.mode: gdpo`; take one of them out")


class EvaluateConfig(StageConfig):
    """Evaluation alone."""

    stage: Literal["evaluate"]
    model: str
    """Path, hub name, or `stage:NAME` for an earlier stage of the recipe."""
    dtype: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _has_tasks(self) -> "EvaluateConfig":
        if self.eval is None:
            raise ValueError("eval: an evaluate stage needs `eval.tasks`")
        return self


ModelStage = PretrainConfig | SFTConfig | RewardModelConfig | DPOConfig | RLConfig | EvaluateConfig
AnyStage = CorpusConfig | TokenizerConfig | ModelStage
STAGES: dict[str, type[AnyStage]] = {
    "corpus": CorpusConfig,
    "tokenizer": TokenizerConfig,
    "pretrain": PretrainConfig,
    "sft": SFTConfig,
    "reward_model": RewardModelConfig,
    "dpo": DPOConfig,
    "rl": RLConfig,
    "evaluate": EvaluateConfig,
}
