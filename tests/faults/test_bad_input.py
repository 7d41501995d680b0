"""Each mistake of a user is one line that says what, where and how to mend it, told before any engine starts."""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlreason.recipes.recipe import run_path
from rlreason.types import UserError
from tests.conftest import Command
from tests.faults.conftest import REWARDS

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module", autouse=True)
def _joined() -> Iterator[None]:
    """One Ray for the module: a run joins what is there already."""
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def told(path: Path, *overrides: str) -> str:
    """What the user reads."""
    run_dir = path.parent / "run"
    with pytest.raises(UserError) as caught:
        run_path(path, list(overrides), run_dir)
    assert not (run_dir / "metrics.jsonl").exists()
    text = str(caught.value)
    assert "\n" not in text
    return text


MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key": ({"lerner": {}}, ["10-rl.yaml", "unknown key `lerner`", "did you mean `learner`?"]),
    "unknown nested key": (
        {"learner.learning_rte": 1.0},
        ["unknown key `learner.learning_rte`"],
    ),
    "misspelt nested key": ({"rollout.temprature": 1.0}, ["`rollout.temprature`", "did you mean `temperature`?"]),
    "unknown stage": ({"stage": "rll"}, ["`stage: rll`", "did you mean `rl`?"]),
    "wrong type": ({"steps": "many"}, ["steps: ", "integer", "'many'"]),
    "wrong nested type": ({"learner.lr": [1]}, ["learner.lr: ", "number"]),
    "out of range": ({"rollout.temperature": 0}, ["rollout.temperature: ", "greater than 0"]),
    "two origins": ({"tasks.path": "x.jsonl"}, ["tasks: ", "exactly one of `path`"]),
    "no data file": ({"tasks": {"path": "/nowhere/a.jsonl"}}, ["/nowhere/a.jsonl", "no such file"]),
    "no generator": ({"tasks": {"generate": "rlreason.tasks.chains:task"}}, ["no function 'task'", "tasks"]),
    "wrong generator arguments": ({"tasks.args": {"nun": 1}}, ["wrong `args`", "nun"]),
    "no such model": ({"model": "/nowhere/model"}, ["model `/nowhere/model`", "no such directory"]),
    "group of one": (
        {"samples_per_prompt": 1},
        ["samples_per_prompt: 1", "algorithm.advantage: grpo", "use 2 or more"],
    ),
    "not divisible": ({"algorithm": {"minibatches": 3}}, ["algorithm.minibatches", "batch of 8", "divide by 3"]),
    "too few samples": ({"learner.workers": 9}, ["learner.workers: 9 workers for 8"]),
    "too many workers": (
        {"rollout.workers": 1000},
        ["need 250", "rollout 1000 x 0.25", "cluster has", "lower `workers`"],
    ),
    "too many GPUs": ({"rollout.gpus": 64}, ["64 GPUs", "cluster has 0", "lower"]),
    "context too short": ({"rollout.max_context_tokens": 18}, ["task ", "context of 18", "max_context_tokens"]),
    "response as long as the context": ({"rollout.max_response_tokens": 32}, ["must be smaller than"]),
    "context longer than the positions": (
        {"rollout.max_context_tokens": 257},
        ["rollout.max_context_tokens: 257 is more than", "max_position_embeddings of 256"],
    ),
    "engine on more GPUs than it reserves": (
        {"rollout.gpus": 1, "rollout.tensor_parallel": 4},
        ["rollout: tensor_parallel: an engine on 4 GPUs needs `gpus: 4`, not 1"],
    ),
    "a part of a GiB": ({"rollout.kv_cache_gib": 0.25}, ["rollout.kv_cache_gib: ", "integer"]),
    "no reward": ({"rewards": []}, ["rewards: an RL stage needs at least one"]),
    "no reward file": ({"rewards": [{"name": "a", "path": "rewrads.py:evens"}]}, ["rewrads.py does not exist"]),
    "no reward function": (
        {"rewards": [{"name": "a", "path": f"{REWARDS}:even"}]},
        [str(REWARDS), "no function 'even'", "did you mean evens"],
    ),
    "no loss file": ({"algorithm": {"loss": "losess.py:f"}}, ["losess.py does not exist"]),
    "an advantage that lacks an argument": (
        {"algorithm": {"advantage": f"{REWARDS}:evens", "advantage_args": {"factor": 2}}},
        [f"algorithm.advantage `{REWARDS}:evens`", "wrong `args`", "factor"],
    ),
    "no reward module": ({"rewards": [{"name": "a", "path": "nowhere.at_all:f"}]}, ["no module 'nowhere'"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_configuration_is_told_in_one_line(mistake: str, write_config: Callable[..., Path]) -> None:
    changes, expected = MISTAKES[mistake]
    text = told(write_config(**changes))
    for part in expected:
        assert part in text


AFTER_TRAINING: dict[str, tuple[list[str], str]] = {
    "reward": (["rewards.0.path=nowhere.py:f"], "file nowhere.py does not exist"),
    "data": (["eval.tasks.path=/nowhere/a.jsonl", "eval.tasks.generate=null"], "/nowhere/a.jsonl`: no such file"),
    "resources": (["rollout.workers=1000"], "need 250"),
    "positions": (["rollout.max_context_tokens=257"], "rollout.max_context_tokens: 257 is more than"),
}


@pytest.mark.parametrize("mistake", AFTER_TRAINING)
def test_a_mistake_in_what_comes_after_the_training_is_told_before_it(
    mistake: str, tmp_path: Path, rl_config: dict[str, Any]
) -> None:
    shared = {key: rl_config[key] for key in ("model", "rewards", "reward_workers", "rollout", "learner")}
    data = {"generate": "rlreason.tasks.chains:conversations", "args": {"num": 8, "seed": 0, "worked_share": 0.5}}
    config = {"stage": "sft", **shared, "data": data, "steps": 1, "tokens_per_step": 64, "context_tokens": 64}
    path = tmp_path / "10-sft.yaml"
    path.write_text(yaml.safe_dump({**config, "eval": {"tasks": rl_config["tasks"]}}))
    overrides, says = AFTER_TRAINING[mistake]
    assert says in told(path, *overrides)
    assert not (tmp_path / "run/final").exists()


def test_what_vllm_refuses_is_told_with_its_reason(write_config: Callable[..., Path], tiny_model: Path) -> None:
    text = told(write_config(**{"rollout.tensor_parallel": 3}))
    assert f"model `{tiny_model}`: vLLM cannot run it so: Total number of attention heads (2) must be divisible" in text
    assert "input_type" not in text


def test_an_override_is_checked_as_the_file_is(write_config: Callable[..., Path]) -> None:
    assert "did you mean `steps`?" in told(write_config(), "step=3")
    assert "expected key=value" in told(write_config(), "steps")
    assert "`steps` is a value, not a section" in told(write_config(), "steps.count=3")


def test_a_file_that_is_not_there_names_the_nearest(write_config: Callable[..., Path]) -> None:
    path = write_config()
    assert "no such file" in told(path.with_name("10-lr.yaml"))
    path.write_text("extends: bse.yaml\n")
    path.with_name("base.yaml").write_text("")
    assert "did you mean `base.yaml`?" in told(path)


def test_data_without_the_column_names_those_it_has(write_config: Callable[..., Path], tmp_path: Path) -> None:
    data = tmp_path / "a.jsonl"
    data.write_text(json.dumps({"question": "1+1=", "answer": "2"}) + "\n")
    text = told(write_config(tasks={"path": str(data)}))
    assert "a.jsonl" in text and "no column `prompt`; its columns are question, answer" in text


@pytest.mark.parametrize(
    ("content", "says"), [("", "no rows"), ("\n\n", "no rows"), ("[]", "a row is to be a JSON object")]
)
def test_empty_data_is_an_error(content: str, says: str, write_config: Callable[..., Path], tmp_path: Path) -> None:
    data = tmp_path / "a.jsonl"
    data.write_text(content)
    assert "a.jsonl" in (text := told(write_config(tasks={"path": str(data)}))) and says in text


def test_broken_data_is_an_error(write_config: Callable[..., Path], tmp_path: Path) -> None:
    data = tmp_path / "a.jsonl"
    data.write_text('{"prompt": "1+1=", "answer"\n')
    assert "a.jsonl" in (text := told(write_config(tasks={"path": str(data)}))) and "cannot be read" in text


def test_a_prompt_that_is_too_long_is_named(write_config: Callable[..., Path], tmp_path: Path) -> None:
    data = tmp_path / "a.jsonl"
    rows = [{"prompt": "1+1=", "answer": "2"}, {"prompt": "1+1+" * 9 + "=", "answer": "8"}]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = told(write_config(tasks={"path": str(data)}))
    assert "task tasks:1" in text and "prompt of 38 tokens" in text and "too_long: drop" in text


def test_a_folder_that_is_no_model_is_told_apart(
    write_config: Callable[..., Path], tmp_path: Path, tiny_model: Path
) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    assert "has no config.json" in told(write_config(model=str(copy)))
    shutil.copytree(tiny_model, copy, dirs_exist_ok=True)
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"")
    assert "no .safetensors file; other weight formats are not loaded" in told(write_config(model=str(copy)))


def test_a_tokenizer_without_an_end_is_an_error(
    write_config: Callable[..., Path], tmp_path: Path, tiny_model: Path
) -> None:
    copy = shutil.copytree(tiny_model, tmp_path / "model")
    settings = copy / "tokenizer_config.json"
    kept = {key: value for key, value in json.loads(settings.read_text()).items() if key != "eos_token"}
    settings.write_text(json.dumps(kept))
    text = told(write_config(model=str(copy)))
    assert str(copy) in text and "no end-of-sequence token" in text and "set `eos_token`" in text


def test_a_run_directory_in_use_or_used_is_refused(write_config: Callable[..., Path], tmp_path: Path) -> None:
    path, run_dir = write_config(), tmp_path / "run"
    run_dir.mkdir()
    with (run_dir / ".lock").open("w") as lock:
        lock.write("process 17")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert f"{run_dir} is in use by process 17; wait for it, or choose another with --run-dir" in told(path)
    (run_dir / "config.yaml").write_text("")
    (run_dir / "samples.jsonl").write_text("")
    assert "holds a run already; add --resume, or choose another" in told(path)


def test_a_run_directory_that_cannot_be_made_is_an_error(write_config: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    assert "choose another with --run-dir" in told(write_config())


def assert_refused(command: Command, *expected: str) -> None:
    status, _, errors = command.finish()
    assert status == 2
    assert errors.startswith("error: ") and errors.count("\n") == 1, errors
    for part in expected:
        assert part in errors
    command.assert_nothing_left()


def test_the_command_line_says_one_line_and_ends_with_status_2(
    start: Callable[..., Command], write_config: Callable[..., Path], tmp_path: Path
) -> None:
    path, run_dir = write_config(), tmp_path / "run"
    assert_refused(start("run", path, "learner.lrr=1"), "unknown key `learner.lrr`; did you mean `lr`?")
    assert_refused(start("run", path, "--resume"), "--run-dir")
    late = start("run", path, "--run-dir", run_dir, "tasks.limit=1", "rewards.0.path=nowhere.py:f")
    assert_refused(late, "file nowhere.py does not exist")


def test_a_ray_address_where_nobody_answers_is_an_error(
    start: Callable[..., Command], write_config: Callable[..., Path], tmp_path: Path
) -> None:
    nobody = start("run", write_config(), "--run-dir", tmp_path / "run", env={"RAY_ADDRESS": "127.0.0.1:1"})
    assert_refused(nobody, "RAY_ADDRESS=127.0.0.1:1: no Ray cluster answers")
