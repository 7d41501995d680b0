"""The configuration of every stage. Strict (an unknown key is an error), frozen, each default in one place.

A file describes one stage; its `stage:` key selects the model below. Keys that end in `_s` are seconds,
`_tokens` tokens, `_gib` 2**30 bytes.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rlreason.config.base import BaseStageConfig, Count, Strict, WorkerConfig
from rlreason.config.corpus import CorpusConfig, TokenizerConfig
from rlreason.config.data import HeldOutConfig, KnowledgeConfig, Mixture, TaskSets
from rlreason.config.rewards import CombineConfig, RewardConfig, RewardWorkerConfig


class RolloutConfig(WorkerConfig):
    """The rollout workers: vLLM."""

    tensor_parallel: Count = 1
    """GPUs (or on CPU processes) that one engine spans."""
    max_context_tokens: Count = 2048
    """Prompt and response together."""
    max_response_tokens: Count = 512
    """A response is cut here, with finish reason `length`."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of training samples. Behaviour logprobs are those of this distribution."""
    stop: list[str] = Field(default_factory=list)
    """Texts that end a response, beside the end-of-sequence token."""
    max_concurrent: Count = 256
    """Sequences that one engine decodes at a time."""
    kv_cache_gib: Count = 1
    """Key-value cache of one engine on CPU; vLLM takes whole numbers."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of a GPU's memory that one engine may take."""
    weight_sync: Literal["ray_object_store", "nccl", "ipc"] = "ray_object_store"
    """How new weights travel. `nccl`: between GPUs; `ipc`: on one shared GPU; both are vLLM's own."""
    sync_bucket_bytes: Count = 256 << 20
    """Weights travel in buckets of about this size (object store only)."""

    @model_validator(mode="after")
    def _spans_what_it_reserves(self) -> "RolloutConfig":
        if self.gpus and self.tensor_parallel > max(1, self.gpus):
            raise ValueError(
                f"tensor_parallel: an engine on {self.tensor_parallel} GPUs needs `gpus: {self.tensor_parallel}`, "
                f"not {self.gpus:g}"
            )
        return self


class LearnerConfig(WorkerConfig):
    """The learner workers: DeepSpeed."""

    zero_stage: Literal[0, 1, 2, 3] = 0
    """What is sharded over workers: 1 optimizer state, 2 and gradients, 3 and parameters."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of parameters and arithmetic; the rollout engine follows it."""
    micro_batch_tokens: Count = 4096
    """Padded tokens of one forward pass. Sets memory and speed, never the update."""
    pack_tokens: Count | None = None
    """Sequences share rows of so many tokens and do not attend to one another; null: one row for each. A sequence
    that is longer has a row of its own. Sets speed, never the update."""
    lr: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    lr_schedule: Literal["constant", "linear", "cosine", "wsd"] = "constant"
    """Shape after the warm-up. wsd: constant, then a linear decay over the last `decay_share` of all steps
    (warmup-stable-decay, arXiv 2404.06395)."""
    decay_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Of all steps; for `wsd` alone."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of linear rise to `lr`."""
    min_lr_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Final learning rate as a share of `lr`."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's decoupled weight decay, on matrices only."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are scaled down to this global norm."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""

    @model_validator(mode="after")
    def _no_effect_is_an_error(self) -> "LearnerConfig":
        if self.lr_schedule == "constant" and self.min_lr_ratio:
            raise ValueError("min_lr_ratio has no effect with `lr_schedule: constant`; take one of them out")
        return self


class AlgorithmConfig(Strict):
    """GRPO (Shao et al. 2024, arXiv 2402.03300) with a token mean over the whole batch (DAPO, arXiv 2503.14476)."""

    baseline: Literal["group_mean", "none"] = "group_mean"
    """What is subtracted from a reward."""
    normalize_std: bool = False
    """Divide by the group's standard deviation (GRPO as published); off as Dr.GRPO (arXiv 2503.20783) advises."""
    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The ratio is clipped below 1 - clip_low."""
    clip_high: Annotated[float, Field(gt=0)] = 0.28
    """The ratio is clipped above 1 + clip_high."""
    kl_coef: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the penalty on the distance from the starting policy (k2 in the loss); 0 keeps no copy of it."""
    minibatches: Count = 1
    """Optimizer steps per rollout batch."""
    shuffle_rewards: bool = False
    """Control experiment: rewards are permuted over the whole batch, so that nothing can be learned from them."""

    @model_validator(mode="after")
    def _no_effect_is_an_error(self) -> "AlgorithmConfig":
        if self.normalize_std and self.baseline == "none":
            raise ValueError("normalize_std has no effect with `baseline: none`; take one of them out")
        return self


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
    """Checkpoints to resume from."""

    every: Count | None = None
    """Steps between checkpoints; null: only at an interrupt and at the end."""
    keep: Count = 2
    """Older ones are removed."""


class StageConfig(BaseStageConfig):
    """What every stage with a model has."""

    rewards: list[RewardConfig] = Field(default_factory=list)
    """Evaluation uses the first one that applies to the task; RL all, as `combine` says."""
    reward_workers: RewardWorkerConfig = RewardWorkerConfig()
    rollout: RolloutConfig = RolloutConfig()
    eval: EvalConfig | None = None
    """Run at the end of the stage."""

    @model_validator(mode="after")
    def _names_differ(self) -> "StageConfig":
        names = [reward.name for reward in self.rewards]
        if len(set(names)) < len(names):
            raise ValueError("rewards: two of them have the same name")
        if self.eval is not None and not self.rewards:
            raise ValueError("eval: needs at least one entry in `rewards` to judge the answers")
        if self.rollout.max_response_tokens >= self.rollout.max_context_tokens:
            raise ValueError("rollout.max_response_tokens must be smaller than rollout.max_context_tokens")
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


class SupervisedConfig(TrainConfig):
    """What pretraining and SFT share: next-token prediction on a mixture of sources."""

    data: Mixture
    """Sources by name, each with a `weight`; one source alone may stand without a name."""
    tokens_per_step: Count
    """Tokens of one optimizer step, over all workers."""
    context_tokens: Annotated[int, Field(ge=2)] = 2048
    """Longest sequence that is trained on; one token alone predicts nothing."""


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


class RLConfig(TrainConfig):
    """Reinforcement learning with verifiable rewards."""

    stage: Literal["rl"]
    model: str
    """Path, hub name, or `stage:NAME` for an earlier stage of the recipe."""
    tasks: TaskSets
    """Sets of problems by name, all shuffled together; one set alone may stand without a name."""
    prompts_per_step: Count
    samples_per_prompt: Count
    """Size of a group."""
    max_staleness: Annotated[int, Field(ge=0)] = 0
    """Policy versions that rollouts may run behind; 0 is on-policy."""
    eval: RLEvalConfig | None = None
    """Run at the start and at the end of the stage, and between."""
    combine: CombineConfig = CombineConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    parity_tolerance: Annotated[float, Field(gt=0)] | None = None
    """Largest mean |learner - engine| logprob on the probe after a sync; null: 1e-4 in float32, 0.1 in bfloat16."""

    @model_validator(mode="after")
    def _consistent(self) -> "RLConfig":
        if not self.rewards:
            raise ValueError("rewards: an RL stage needs at least one")
        self._combines()
        if self.algorithm.baseline == "group_mean" and self.samples_per_prompt == 1:
            raise ValueError(
                "samples_per_prompt: 1 with algorithm.baseline group_mean makes every advantage 0; "
                "use 2 or more samples, or `algorithm.baseline: none`"
            )
        batch = self.prompts_per_step * self.samples_per_prompt
        if batch % self.algorithm.minibatches:
            raise ValueError(
                f"algorithm.minibatches: the batch of {batch} samples (prompts_per_step x samples_per_prompt) "
                f"does not divide by {self.algorithm.minibatches}"
            )
        if batch // self.algorithm.minibatches < self.learner.workers:
            raise ValueError(
                f"learner.workers: {self.learner.workers} workers for {batch // self.algorithm.minibatches} "
                "samples an update; use fewer workers or a larger batch"
            )
        return self

    def _combines(self) -> None:
        """Raises ValueError for a combination that names nothing or has no effect."""
        names, algorithm = [reward.name for reward in self.rewards], self.algorithm
        unknown = [name for name in self.combine.gate if name not in names]
        if unknown:
            raise ValueError(f"combine.gate: no reward is called `{unknown[0]}`; there are {', '.join(names)}")
        if self.combine.mode in ("min", "gate") and len(names) <= len(self.combine.gate or names[:1]):
            raise ValueError(
                f"combine.mode: {self.combine.mode} has no effect on these rewards; take it out or add one"
            )
        weighted = [reward.name for reward in self.rewards if reward.weight != 1.0]
        if self.combine.mode == "min" and weighted:
            raise ValueError(f"rewards: the weight of `{weighted[0]}` has no effect with `combine.mode: min`")
        if self.combine.mode == "gdpo":
            for key, is_set in (
                ("normalize_std: true", algorithm.normalize_std),
                ("baseline: none", algorithm.baseline == "none"),
                ("shuffle_rewards: true", algorithm.shuffle_rewards),
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


ModelStage = PretrainConfig | SFTConfig | RLConfig | EvaluateConfig
AnyStage = CorpusConfig | TokenizerConfig | ModelStage
STAGES: dict[str, type[AnyStage]] = {
    "corpus": CorpusConfig,
    "tokenizer": TokenizerConfig,
    "pretrain": PretrainConfig,
    "sft": SFTConfig,
    "rl": RLConfig,
    "evaluate": EvaluateConfig,
}
