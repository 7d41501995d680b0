"""Recipes: what is found wrong before anything starts; and the checks of the parent model."""

from pathlib import Path

import pytest

from rlreason.config.data import TaskConfig
from rlreason.config.schema import RolloutConfig
from rlreason.data import chains
from rlreason.data.tasks import load_tasks
from rlreason.stages.evaluate import prompt_tasks
from rlreason.stages.job import require_model
from rlreason.stages.lineage import references
from rlreason.stages.recipe import load_steps
from rlreason.types import UserError

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
    data = TaskConfig(generate="rlreason.data.chains:tasks", args=args)
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
