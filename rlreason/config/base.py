"""What every section of the configuration is built of."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """Base of every section."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, use_attribute_docstrings=True)


class WorkerConfig(Strict):
    """How many Ray workers, and what each one takes."""

    workers: Count = 1
    """Number of processes."""
    cpus: Fraction = 1.0
    """CPU cores reserved for each; below 1 where workers take turns."""
    gpus: Fraction = 0.0
    """GPUs reserved for each; below 1 shares one GPU."""
    threads: Count | None = None
    """OpenMP threads of each; null: `cpus` rounded up."""


class BaseStageConfig(Strict):
    """What every stage has."""

    seed: int = 0
    """Decides every random choice of the run."""
    loggers: list[Literal["tensorboard", "wandb", "trackio"]] = Field(default_factory=list)
    """Mirrors of metrics.jsonl."""
