"""What every training stage's learner is told: where it runs, how it optimises, and what of the model it trains."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rlreason.config.base import Count, Strict, WorkerConfig


class LoRAConfig(Strict):
    """LoRA: two thin matrices beside each targeted layer are trained in place of the model (arXiv 2106.09685)."""

    rank: Count = 16
    """Rows of the one and columns of the other."""
    alpha: Count | None = None
    """An update is scaled by alpha / rank; null: alpha is twice the rank."""
    targets: Literal["all-linear"] | list[str] = "all-linear"
    """Names of linear layers, such as [q_proj, v_proj]; all-linear: all but the output layer."""
    send: Literal["merged", "adapter"] = "merged"
    """What goes to the rollout engines of an RL stage. `merged`: all weights, the update added; in bfloat16 that rounds
    away what is small beside a weight. `adapter`: the two matrices alone, through the object store, unrounded and soon
    there; generation is a little slower."""

    @model_validator(mode="after")
    def _has_targets(self) -> "LoRAConfig":
        if not self.targets:
            raise ValueError("targets: name at least one layer, or take it out for all linear layers")
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
    """Shape after the warm-up, over the updates that the model makes. wsd: constant, then a linear decay over the last
    `decay_share` of all steps (warmup-stable-decay, arXiv 2404.06395)."""
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
    lora: LoRAConfig | None = None
    """null: all parameters are trained."""

    @model_validator(mode="after")
    def _no_effect_is_an_error(self) -> "LearnerConfig":
        if self.lr_schedule == "constant" and self.min_lr_ratio:
            raise ValueError("min_lr_ratio has no effect with `lr_schedule: constant`; take one of them out")
        return self
