"""Mirrors of metrics.jsonl in other people's tools, chosen by `loggers:`. The file stays the truth.

The tools are not dependencies: a missing one is a one-line error. Secrets are theirs (environment), never ours.
W&B and trackio were not run by us yet; TensorBoard is tested.
"""

import importlib
from pathlib import Path
from typing import Any, Protocol

from rlreason.types import UserError


class Mirror(Protocol):
    def log(self, step: int, values: dict[str, float]) -> None: ...
    def close(self) -> None: ...


def open_mirror(name: str, run_dir: Path, config: dict[str, Any]) -> Mirror:
    """`name` is tensorboard, wandb or trackio. Raises UserError where it is not installed."""
    try:
        if name == "tensorboard":
            return _TensorBoard(run_dir)
        return _Tracker(importlib.import_module(name), run_dir, config)
    except ImportError:
        raise UserError(
            f"loggers: {name} is not installed; `pip install {name}`, or take it out of `loggers`"
        ) from None


class _TensorBoard:
    def __init__(self, run_dir: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run_dir / "tensorboard"))

    def log(self, step: int, values: dict[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        self._writer.close()


class _Tracker:
    """W&B, and trackio which speaks the same way."""

    def __init__(self, module: Any, run_dir: Path, config: dict[str, Any]) -> None:
        self._module = module
        module.init(project="rlreason", name=run_dir.name, config=config)

    def log(self, step: int, values: dict[str, float]) -> None:
        self._module.log(values, step=step)

    def close(self) -> None:
        self._module.finish()
