"""The rollout section: engines, their placement, sampling, and how weights come to them."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rlreason.config.base import CONTEXT_TOKENS, Count, WorkerConfig


class RolloutConfig(WorkerConfig):
    """The rollout workers: vLLM."""

    tensor_parallel: Count = 1
    """GPUs (or on CPU processes) that one engine spans."""
    max_context_tokens: Count | None = None
    """Prompt and response together; null: 2048, or what the model has positions for where that is less."""
    max_response_tokens: Count | None = None
    """A response is cut here, with finish reason `length`; null: 512, or half the context where that is less."""
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

    @property
    def context_tokens(self) -> int:
        """`max_context_tokens`, or its default for a model of any length."""
        return self.max_context_tokens or CONTEXT_TOKENS

    @property
    def response_tokens(self) -> int:
        """`max_response_tokens`, or its default."""
        return self.max_response_tokens or max(1, min(512, self.context_tokens // 2))

    def within(self, num_positions: int | None) -> "RolloutConfig":
        """With both limits written out, for a model of so many positions; None: it has no limit."""
        context = self.max_context_tokens or min(CONTEXT_TOKENS, num_positions or CONTEXT_TOKENS)
        fitted = self.model_copy(update={"max_context_tokens": context})
        return fitted.model_copy(update={"max_response_tokens": fitted.response_tokens})

    @model_validator(mode="before")
    @classmethod
    def _samples_what_is_learned(cls, raw: Any) -> Any:
        for key in ("top_p", "top_k", "min_p"):
            if isinstance(raw, dict) and key in raw:
                raise ValueError(
                    f"{key}: cuts off part of the distribution, which the learner would still train on; take it out "
                    "and set `temperature` alone"
                )
        return raw

    @model_validator(mode="after")
    def _spans_what_it_reserves(self) -> "RolloutConfig":
        if self.gpus and self.tensor_parallel > max(1, self.gpus):
            raise ValueError(
                f"tensor_parallel: an engine on {self.tensor_parallel} GPUs needs `gpus: {self.tensor_parallel}`, "
                f"not {self.gpus:g}"
            )
        return self
