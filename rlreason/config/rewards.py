"""The reward sections of a configuration: functions, what their failures cost, how values become one, workers."""

import os
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from rlreason.config.base import Count, EmptyText, Fraction, Strict, WorkerConfig
from rlreason.types import ScoreStatus

Gib = Annotated[float, Field(gt=0)]
Names = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
Action = Literal["zero", "mask", "drop_group", "retry"]
SHIPPED = "rlreason.rewards."
"""Prefix of the reward functions that come with the package."""


class OnStatusConfig(Strict):
    """What a check that did not work costs its sample.

    `zero`: the value is 0.0. `mask`: the sample is left out, of its group's mean too. `drop_group`: the whole group
    is. `retry`: it is scored once more, on another worker if there is one, then masked.
    """

    timeout: Action | None = None
    """null: `zero` for shipped functions, where the response was too expensive; `mask` for others, which hung."""
    verifier_error: Action = "mask"
    """The checker raised, died, or gave what is no score."""
    sandbox_error: Action = "retry"
    """The sandbox failed, not the program in it."""


class NormaliseConfig(Strict):
    """Values less their running mean, over their running standard deviation, before they are combined."""

    clip: Annotated[float, Field(gt=0)] = 5.0
    """Farthest from 0."""


class RewardConfig(Strict):
    """One reward function, or a reward model."""

    name: str
    """Its name in metrics and samples."""
    path: EmptyText = ""
    """`reward_fns/mine.py:reward` or `package.module:function`."""
    model: Annotated[str, AfterValidator(os.path.expanduser)] | None = None
    """In place of `path`, a reward model: a folder, hub name, or `stage:NAME` for an earlier stage of the recipe. Its
    tokenizer may be another than the policy's. Where its files are replaced, the next step scores with the new ones."""
    chat: bool = True
    """false: a reward model reads prompt and answer as plain text, whether or not it has a chat template."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the function, beside what it is given of the sample."""
    sources: Names = Field(default_factory=list)
    """Only tasks of these sources get this reward; empty: all. A task's source is its `source` column, else its
    set's name (`tasks` where the set has none)."""
    normalise: NormaliseConfig | None = None
    """In RL; null: values as they are."""
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    """Factor in the weighted sum."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds for one response; past it the check is killed and the verdict is `timeout`. A batch gets the sum. null:
    the default of the function's own `timeout_s` parameter (`judge` 60, `http` 30, `code` 10), else 5."""
    memory_gib: Gib | None = None
    """Address space of a user's function (RLIMIT_AS); null: no limit. Shipped functions have their own."""
    env: Names = Field(default_factory=list)
    """Environment variables that a user's function may see although they look like secrets."""
    on_status: OnStatusConfig = OnStatusConfig()

    @property
    def is_shipped(self) -> bool:
        """It bounds its own time and runs in the worker; a user's function runs in a child."""
        return self.path.startswith(SHIPPED)

    def applies_to(self, source: str) -> bool:
        return not self.sources or source in self.sources

    def action(self, status: ScoreStatus) -> Action | None:
        """What happens to a sample with this verdict; None where the check worked."""
        match status:
            case "timeout":
                return self.on_status.timeout or ("zero" if self.is_shipped else "mask")
            case "verifier_error":
                return self.on_status.verifier_error
            case "sandbox_error":
                return self.on_status.sandbox_error
        return None

    @model_validator(mode="after")
    def _no_effect_is_an_error(self) -> "RewardConfig":
        if bool(self.path) == (self.model is not None):
            raise ValueError("give exactly one of `path` (a function) and `model` (a reward model)")
        if self.path and not self.chat:
            raise ValueError("chat: has no effect on a function; take it out")
        for key in ("args", "memory_gib", "env", "timeout_s"):
            default = RewardConfig.model_fields[key].get_default(call_default_factory=True)
            if self.model is not None and getattr(self, key) != default:
                raise ValueError(f"{key}: has no effect on a reward model; take it out")
        if self.model is not None and "retry" in (self.on_status.timeout, self.on_status.verifier_error):
            raise ValueError("on_status: a reward model gives the same score again; use `mask` or `drop_group`")
        for key, value in (("memory_gib", self.memory_gib), ("env", self.env)):
            if self.is_shipped and value:
                raise ValueError(f"{key} has no effect on {self.path}, which runs in the worker itself; take it out")
        return self


class CombineConfig(Strict):
    """How the values of several rewards become one."""

    mode: Literal["sum", "min", "gate", "gdpo"] = "sum"
    """`sum`: weighted. `min`: the smallest, of those with a weight. `gate`: a weighted sum in which the other rewards
    count only where those named by `gate` are above 0. `gdpo`: each is normalised in its group before the weighted sum
    (arXiv 2601.05242)."""
    gate: Names = Field(default_factory=list)
    """One name or several; where none of them applies to a task (`sources`), nothing is gated."""

    @model_validator(mode="after")
    def _gate_belongs_to_its_mode(self) -> "CombineConfig":
        if (self.mode == "gate") != bool(self.gate):
            raise ValueError("`gate` names the deciding reward of `mode: gate`: give both or neither")
        return self


class ScorerConfig(WorkerConfig):
    """The scorer workers, which hold the reward models."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the reward models' weights and arithmetic."""
    batch_tokens: Count = 8192
    """Padded tokens of one forward pass."""


class RewardWorkerConfig(WorkerConfig):
    """The reward workers."""

    cpus: Fraction | None = 0.1
    gpus: Annotated[float, Field(ge=0, le=0)] = 0.0
    """None: rewards are checked on CPUs."""
    max_error_rate: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Above this share of broken checks in a step, the run stops and shows the first one."""
    max_queued: Count = 2
    """Calls that one worker has at a time, one running and the others waiting; the rest stay with the driver."""
    memory_gib: Gib | None = None
    """A worker that takes more after a call, its children included, is replaced by a fresh one; null: no limit."""
    recycle_after: Count | None = None
    """Scored samples after which a worker is replaced by a fresh one; null: never."""
    stall_s: Annotated[float, Field(gt=0)] = 120.0
    """A call that takes so much longer than its checks' timeouts together is stuck: the worker is killed and the
    samples are scored elsewhere."""
