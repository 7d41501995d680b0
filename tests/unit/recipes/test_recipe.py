"""Recipes: what is found wrong before anything starts; and the checks of the parent model."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.data import TaskConfig
from rlreason.config.schema import RolloutConfig
from rlreason.data.prompts import prompt_tasks
from rlreason.data.tasks import load_tasks
from rlreason.recipes import recipe as runner
from rlreason.recipes.recipe import Step, load_steps
from rlreason.runlog import RunLog, seal_checkpoint
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import require_model
from rlreason.running.lineage import references
from rlreason.tasks import chains
from rlreason.types import NotFinite, RunError, UserError
from tests.conftest import read_lines
from tests.unit.stages.conftest import rl_config

SFT = """
stage: sft
model: {model}
data: {{ path: a.jsonl }}
steps: 3
tokens_per_step: 8
learner: {{ lr: 0.001 }}
"""


def recipe(folder: Path, **models: str) -> Path:
    """Stages `10_a: model` as 10-a.yaml."""
    for name, model in models.items():
        (folder / f"{name[1:].replace('_', '-')}.yaml").write_text(SFT.format(model=model))
    return folder


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as error:
        load_steps(path, list(overrides))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_recipe_is_read_in_order_with_its_parents(tmp_path: Path) -> None:
    steps = load_steps(recipe(tmp_path, s20_b="stage:10-a", s10_a="hub/model", s30_c="stage:10-a"), [])
    assert [step.name for step in steps] == ["10-a", "20-b", "30-c"]
    assert [references(step.config) for step in steps] == [{}, {"model": "10-a"}, {"model": "10-a"}]


def test_a_single_file_is_one_step(tmp_path: Path) -> None:
    (step,) = load_steps(recipe(tmp_path, s10_a="hub/model") / "10-a.yaml", ["steps=7"])
    assert step.name == "10-a" and step.config.steps == 7


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere")
    assert "no stage files" in refusal(tmp_path)


@pytest.mark.parametrize("model", ["stage:30-c", "stage:20-b", "stage:9-z", '"stage:"'])
def test_only_an_earlier_stage_can_be_the_parent(tmp_path: Path, model: str) -> None:
    found = refusal(recipe(tmp_path, s10_a="hub/model", s20_b=model, s30_c="stage:10-a"))
    assert "20-b.yaml" in found and model.strip('"') in found


def test_overrides_go_to_the_stage_that_they_name(tmp_path: Path) -> None:
    folder = recipe(tmp_path, s10_a="hub/model", s20_b="stage:10-a")
    steps = load_steps(folder, ["20-b.steps=9", "10-a.learner.lr=1e-5"])
    assert [step.config.steps for step in steps] == [3, 9]
    assert [step.config.learner.lr for step in steps] == [1e-5, 1e-3]


@pytest.mark.parametrize("override", ["steps=9", "learner.lr=1", "20-z.steps=9", "10=1"])
def test_an_override_that_names_no_stage_is_refused(tmp_path: Path, override: str) -> None:
    found = refusal(recipe(tmp_path, s10_a="hub/model"), override)
    assert f"`{override}`" in found and "10-a." in found


def test_a_mistake_in_a_later_stage_is_found_before_the_first_runs(tmp_path: Path) -> None:
    folder = recipe(tmp_path, s10_a="hub/model", s20_b="stage:10-a")
    (folder / "20-b.yaml").write_text(SFT.format(model="stage:10-a") + "stepz: 3\n")
    assert "20-b.yaml" in refusal(folder) and "did you mean `steps`?" in refusal(folder)
    assert "20-b.yaml" in refusal(recipe(tmp_path, s20_b="m"), "20-b.steps=0")


def test_a_local_parent_must_be_a_safetensors_checkpoint(tmp_path: Path) -> None:
    require_model("Qwen/Qwen2.5-0.5B")  # a hub name is not looked up here
    with pytest.raises(UserError, match="no such directory"):
        require_model(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="config.json"):
        require_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match="safetensors"):
        require_model(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    require_model(str(tmp_path))


def test_a_prompt_that_leaves_no_room_for_the_response_is_refused_or_dropped() -> None:
    args = {"num": 40, "seed": 1, "max_operations": 6}  # 1 + 14 tokens each
    data = TaskConfig(generate="rlreason.tasks.chains:tasks", args=args)
    fits = RolloutConfig(max_context_tokens=25, max_response_tokens=10)
    tight = RolloutConfig(max_context_tokens=24, max_response_tokens=10)
    tokenizer = chains.tokenizer()
    found = prompt_tasks(load_tasks(data, "chains"), data, fits, tokenizer)
    assert len(found) == 40 and {len(prompt.tokens) for prompt in found} == {15}
    assert found[3].task.id == "chains:3"
    with pytest.raises(UserError, match="task chains:0: a prompt of 15 tokens"):
        prompt_tasks(load_tasks(data, "chains"), data, tight, tokenizer)
    with pytest.raises(UserError, match="every prompt"):
        prompt_tasks(load_tasks(data), data.model_copy(update={"too_long": "drop"}), tight, tokenizer)


def test_dropping_long_prompts_keeps_the_ids_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def rows():\n    return [{'prompt': '1+1' + n * '+1' + '=', 'answer': '0'} for n in (0, 4, 1)]"
    )
    data = TaskConfig(generate=f"{tmp_path / 'mine.py'}:rows", too_long="drop")
    tight = RolloutConfig(max_context_tokens=20, max_response_tokens=10)
    found = prompt_tasks(load_tasks(data, "s"), data, tight, chains.tokenizer())
    assert [prompt.task.id for prompt in found] == ["s:0", "s:2"]


def test_numbers_that_are_not_finite_end_in_one_line_that_names_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage(config: Any, job: Any) -> dict[str, float]:
        raise NotFinite("step 8: policy/loss is nan; trained on chat row 3", ("chat row 3",))

    monkeypatch.setattr(runner, "_stage", lambda name: stage)
    monkeypatch.setattr(runner, "num_cpus", lambda: 2.0)  # else Ray's, which does not run here
    step = Step(name="30-rl", config=rl_config())
    for steps, says in (((), "none was written"), ((4, 6), f"{tmp_path}/run/checkpoints/step-000006, where --resume")):
        for number in steps:
            folder = tmp_path / f"run/checkpoints/step-{number:06d}"
            folder.mkdir(parents=True)
            (folder / "state.json").write_text("{}")
            seal_checkpoint(folder)
        log = RunLog(tmp_path / "run", config_yaml="", resume=True)
        with pytest.raises(RunError, match="^step 8: policy/loss is nan; .*; the last finite checkpoint: ") as error:
            runner._run_stage(step, step.config, log, {}, {}, Interrupts())
        assert says in str(error.value) and "\n" not in str(error.value)
        (event,) = [row for row in read_lines(tmp_path / "run/events.jsonl") if row["event"] == "not finite"][-1:]
        assert event["batch"] == ["chat row 3"] and event["error"] == str(error.value)


def test_the_last_line_of_a_run_says_that_nothing_was_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, kinds in (("a", ["start", "nothing learned"]), ("b", ["start", "nothing learned", "start"]), ("c", [])):
        (tmp_path / name).mkdir()
        lines = [json.dumps({"event": kind, "message": f"{name}: NOTHING WAS LEARNED"}) for kind in kinds]
        (tmp_path / name / "events.jsonl").write_text("\n".join(lines))
    runner._say_last([tmp_path / name for name in "abc"])
    assert capsys.readouterr().out == "a: NOTHING WAS LEARNED\n"
