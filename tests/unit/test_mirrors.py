"""Mirrors show what metrics.jsonl holds."""

import importlib.util
from pathlib import Path

import pytest

from rlreason.mirrors import open_mirror
from rlreason.runlog import RunLog
from rlreason.types import UserError


def test_tensorboard_gets_every_metric(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path, config_yaml="")
    log.mirrors.append(open_mirror("tensorboard", tmp_path, {}))
    for step in (1, 2):
        log.metrics(step, {"reward/mean": 0.25 * step})
    log.close()
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("reward/mean")] == [(1, 0.25), (2, 0.5)]


def test_a_tool_that_is_not_installed_is_one_line(tmp_path: Path) -> None:
    missing = next(name for name in ("wandb", "trackio", "no_such_tool") if importlib.util.find_spec(name) is None)
    with pytest.raises(UserError, match=f"{missing} is not installed"):
        open_mirror(missing, tmp_path, {})
