"""What every section of the configuration is built of."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Fraction = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CONTEXT_TOKENS = 2048
"""The context where none is given and the model allows it."""
EmptyText = Annotated[str, Field(min_length=0)]
"""Text that may be empty; elsewhere a section refuses that."""


class Strict(BaseModel):
    """Base of every section. Refuses what nobody can mean: infinite numbers, empty texts, `true` for a number."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=False,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        str_min_length=1,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if (
            isinstance(value, bool)
            and info.field_name
            and not _takes_bool(cls.model_fields[info.field_name].annotation)
        ):
            raise ValueError("true and false (also yes, no, on, off) are no value for this key")
        return value


def _takes_bool(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(map(_takes_bool, get_args(annotation)))


class WorkerConfig(Strict):
    """How many Ray workers, and what each one takes."""

    workers: Count = 1
    """Number of processes."""
    cpus: Fraction | None = None
    """CPU cores reserved for each; below 1 where workers take turns. null: 1, or less where all workers of the stage
    would not fit the cluster's cores."""
    gpus: Fraction = 0.0
    """GPUs reserved for each; below 1 shares one GPU."""
    threads: Count | None = None
    """OpenMP threads of each; null: `cpus` rounded up."""


class WatchdogConfig(Strict):
    """How long a stage waits for its workers. Past that it says which of them do not answer and what they are doing,
    and ends with a checkpoint.

    The limit of a wait is `factor` times the longest of its kind so far (more for a larger batch), at least `least_s`.
    """

    first_s: Annotated[float, Field(gt=0)] = 1800.0
    """For the first wait of a kind: loading the models, the first batch, the first checkpoint."""
    least_s: Annotated[float, Field(gt=0)] = 300.0
    factor: Annotated[float, Field(ge=1)] = 10.0


class BaseStageConfig(Strict):
    """What every stage has."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides every random choice of the run."""
    loggers: list[Literal["tensorboard", "wandb", "trackio"]] = Field(default_factory=list)
    """Mirrors of metrics.jsonl."""
