"""What an evaluation leaves in the run directory, and what a resumed run makes of it; engines are in tests/e2e."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.rewards import RewardConfig
from rlreason.config.schema import EvaluateConfig
from rlreason.data.chat import load_tokenizer
from rlreason.data.prompts import evaluation_sets, task_sets
from rlreason.rewards.runtime.combine import Judge
from rlreason.runlog import RunLog
from rlreason.running import evaluation
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.running.placement import evaluation_workers
from rlreason.stages import evaluate
from rlreason.types import Sample, Score, Task, UserError

FIGURES = {"eval/a/greedy_accuracy": 0.5, "eval/a/response_tokens_mean": 3.0, "eval/b/greedy_accuracy": 1.0}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(name="50-sft", log=RunLog(tmp_path / "run", config_yaml=""), interrupts=Interrupts())


def config(**changes: Any) -> EvaluateConfig:
    tasks = {name: {"generate": "rlreason.tasks.chains:tasks", "args": {"num": 2, "seed": 0}} for name in "ab"}
    body: dict[str, Any] = {
        **{"stage": "evaluate", "model": "nowhere", "eval": {"tasks": tasks}},
        "rewards": [{"name": "math", "path": "rlreason.rewards.math:reward"}],
        "rollout": {"max_context_tokens": 256, "max_response_tokens": 16},
    }
    for key, value in changes.items():
        body[key] = {**body.get(key, {}), **value} if isinstance(value, dict) else value
    return EvaluateConfig(**body)


def written(job: Job, step: int) -> None:
    """As an evaluation by `config()` leaves it."""
    job.log.metrics(step, FIGURES)
    job.log.event("evaluation", step=step, made_with=evaluation.made_with(config(), job))


def test_an_evaluation_that_is_written_is_not_done_again(job: Job) -> None:
    """There is no model and no Ray here: doing it would fail."""
    job.log.metrics(7, {"policy/loss": 1.0, "eval/web/bits_per_byte": 2.0})
    written(job, 7)
    before = (job.log.path / "metrics.jsonl").read_text()
    assert evaluation.evaluate_model(config(), job, "nowhere", {}, step=7) == FIGURES
    assert (job.log.path / "metrics.jsonl").read_text() == before


OTHERWISE: list[tuple[int, dict[str, Any]]] = [
    (6, {}),
    (8, {}),
    (7, {"eval": {"samples": 4}}),
    (7, {"eval": {"tasks": {name: {"path": "x", "limit": 1} for name in "ab"}}}),
    (7, {"rewards": [{"name": "math", "path": "rlreason.rewards.code:reward"}]}),
    (7, {"rollout": {"max_response_tokens": 8}}),
    (7, {"rollout": {"stop": ["\n"]}}),
    (7, {"seed": 1}),
    (7, {"dtype": "bfloat16"}),
    (7, {"model": "other"}),
]


@pytest.mark.parametrize(("step", "changes"), OTHERWISE)
def test_another_evaluation_is_done(job: Job, step: int, changes: dict[str, Any]) -> None:
    written(job, 7)
    assert evaluation.known_figures(config(), job, 7) == FIGURES
    assert evaluation.known_figures(config(**changes), job, step) is None


def test_an_evaluation_of_other_files_is_done(job: Job) -> None:
    """A reward or a data set that was edited, a model that was made anew."""
    written(job, 7)
    for inputs in ({"files": {"mine.py": "1f"}}, {"parents": {"40-sft": "2e"}}):
        assert evaluation.known_figures(config(), replace(job, inputs=inputs), 7) is None


def test_figures_that_a_resumed_run_has_cut_are_made_again(job: Job) -> None:
    written(job, 7)
    job.log.cut_after(6)
    assert evaluation.known_figures(config(), job, 7) is None


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of two processors, without starting one."""
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "path": ({"eval": {"tasks": {"path": "/nowhere/a.jsonl"}}}, "/nowhere/a.jsonl.: no such file"),
    "no reward": ({"rewards": [{"name": "a", "path": "m:f", "sources": ["a"]}]}, "none is for the tasks of source `b`"),
    "too long": ({"rollout": {"max_context_tokens": 17}}, "do not fit the context of 17"),
    "positions": ({"rollout": {"max_context_tokens": 257}}, "rollout.max_context_tokens: 257 is more than .* of 256"),
    "resources": ({"rollout": {"workers": 3}}, "need 3.1 CPUs"),
}


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found_before_any_engine_starts(tiny_model: Path, mistake: str) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    assert {
        name: len(prompts) for name, prompts in evaluation.prepare(config(), tokenizer, str(tiny_model)).items()
    } == {
        "a": 2,
        "b": 2,
    }
    changes, says = MISTAKES[mistake]
    with pytest.raises(UserError, match=says):
        evaluation.prepare(config(**changes), tokenizer, str(tiny_model))


def test_a_resumed_evaluate_stage_forgets_what_it_had_written(job: Job, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    job.log.metrics(0, FIGURES)
    job.log.samples([{"step": 0, "split": "eval/a/greedy"}])
    with pytest.raises(UserError, match="no tokenizer can be loaded"):
        evaluate.run(config(model=str(tmp_path)), job)
    assert [
        json.loads(line) for name in ("metrics", "samples") for line in (job.log.path / f"{name}.jsonl").open()
    ] == []


def test_scorers_have_their_place_beside_the_engines() -> None:
    """Else workers that do not fit would wait for ever."""
    assert "scorers" not in evaluation_workers(config())
    found = evaluation_workers(config(rewards=[{"name": "liked", "model": "m"}], scorers={"cpus": 3}))
    assert found["scorers"].cpus == 3 and set(found) == {"rollout", "scorers", "reward_workers"}


def test_the_mean_reward_is_of_the_checks_that_worked() -> None:
    task = Task(id="t", prompt="p")
    sample = Sample(
        task_id="t", index=0, policy_version=0, prompt="p", response="r", num_prompt_tokens=1,
        num_response_tokens=1, finish_reason="stop",
    )  # fmt: skip
    found = [Score(value=-2.0, status="ok"), Score(value=0.0, status="verifier_error")]
    scores = [{"liked": score} for score in found]
    judge = Judge([RewardConfig(name="liked", path="mine.py:f")])
    figures = evaluation.at_k([judge.settle(task, [sample, replace(sample, index=1)], scores)], 2)
    assert figures["reward@2"] == -2.0, "a check that broke is no gain"
    broken = [judge.settle(task, [sample], scores[1:])]
    assert evaluation.at_k(broken, 1).keys() == {"avg@1", "pass@1"}, "no mean of nothing"


def test_task_ids_are_unique_over_training_and_evaluation() -> None:
    from rlreason.config.data import TaskConfig
    from rlreason.config.schema import RolloutConfig
    from rlreason.tasks.chains import tokenizer

    rollout = RolloutConfig(max_context_tokens=64, max_response_tokens=16)
    sets = {"chains": TaskConfig(generate="rlreason.tasks.chains:tasks", args={"num": 3, "seed": 0})}
    trained = task_sets(sets, rollout, tokenizer())["chains"]
    asked = evaluation_sets(sets, rollout, tokenizer())["chains"]
    assert [prompt.task.id for prompt in trained] == ["chains:0", "chains:1", "chains:2"]
    assert [prompt.task.id for prompt in asked] == ["eval/chains:0", "eval/chains:1", "eval/chains:2"]
    with pytest.raises(UserError, match="is for evaluation; choose another"):
        task_sets({"eval/chains": sets["chains"]}, rollout, tokenizer())
