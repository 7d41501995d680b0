"""What an evaluation leaves in the run directory, and what a resumed run makes of it; engines are in tests/e2e."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.schema import EvaluateConfig
from rlreason.runlog import RunLog
from rlreason.stages import evaluate
from rlreason.stages.interrupts import Interrupts
from rlreason.stages.job import Job
from rlreason.types import UserError

FIGURES = {"eval/a/greedy_accuracy": 0.5, "eval/a/response_tokens_mean": 3.0, "eval/b/greedy_accuracy": 1.0}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(name="50-sft", log=RunLog(tmp_path / "run", config_yaml=""), interrupts=Interrupts())


def config(model: str = "nowhere", **changes: Any) -> EvaluateConfig:
    tasks = {name: {"generate": "rlreason.data.chains:tasks", "args": {"num": 2, "seed": 0}} for name in "ab"}
    rewards = [{"name": "math", "path": "rlreason.rewards.math:reward"}]
    return EvaluateConfig(stage="evaluate", model=model, eval={"tasks": tasks, **changes}, rewards=rewards)


def test_an_evaluation_that_is_written_is_not_done_again(job: Job) -> None:
    """There is no model and no Ray here: doing it would fail."""
    job.log.metrics(7, {"policy/loss": 1.0, "eval/web/bits_per_byte": 2.0})
    job.log.metrics(7, FIGURES)
    before = (job.log.path / "metrics.jsonl").read_text()
    assert evaluate.evaluate_model(config(), job, "nowhere", dtype="float32", step=7) == FIGURES
    assert (job.log.path / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize(("step", "changes"), [(6, {}), (8, {}), (7, {"samples": 4})])
def test_another_evaluation_is_done(job: Job, tmp_path: Path, step: int, changes: dict[str, Any]) -> None:
    job.log.metrics(7, FIGURES)
    with pytest.raises(UserError, match="no tokenizer can be loaded"):
        evaluate.evaluate_model(config(**changes), job, str(tmp_path), dtype="float32", step=step)


def test_a_resumed_evaluate_stage_forgets_what_it_had_written(job: Job, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    job.log.metrics(0, FIGURES)
    job.log.samples([{"step": 0, "split": "eval/a/greedy"}])
    with pytest.raises(UserError, match="no tokenizer can be loaded"):
        evaluate.run(config(str(tmp_path)), job)
    assert [
        json.loads(line) for name in ("metrics", "samples") for line in (job.log.path / f"{name}.jsonl").open()
    ] == []
