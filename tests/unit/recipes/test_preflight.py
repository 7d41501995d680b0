"""What is told before anything starts, and that nothing was started or written for it."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from rlreason.recipes.recipe import run_path
from rlreason.types import UserError, lines_of

RL: dict[str, Any] = {
    "stage": "rl",
    "tasks": {"path": "tasks.jsonl"},
    "rewards": [{"name": "right", "path": "mine.py:reward"}],
    "steps": 1,
}


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: rl.yaml with nothing but what it must have, its tasks and its reward."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    rows = [{"prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(8)]
    Path("tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("mine.py").write_text("def reward(response, task):\n    return float(response == task.answer)\n")
    Path("rl.yaml").write_text(yaml.safe_dump(RL | {"model": str(tiny_model)}))
    return tmp_path


def told(path: str, *overrides: str, **options: Any) -> list[str]:
    """The lines that the user reads."""
    with pytest.raises(UserError) as caught:
        run_path(Path(path), list(overrides), Path("run"), **options)
    assert not ray.is_initialized() and not Path("run/config.yaml").exists()
    return lines_of(caught.value)


def test_a_dry_run_of_a_minimal_file_says_that_it_is_ready(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.iterdir())
    run_path(Path("rl.yaml"), [], None, dry_run=True)
    assert capsys.readouterr().out.startswith("ready: rl checked in ")
    assert (
        sorted(path for path in folder.iterdir() if path.name != "__pycache__") == before and not ray.is_initialized()
    )


def test_all_that_is_wrong_is_told_at_once(folder: Path, tiny_model: Path) -> None:
    Path("broken.py").write_text("def reward(response, task):\n    return task.columns['nope']\n")
    lines = told(
        "rl.yaml",
        "rewards.0.path=broken.py:reward",
        "rollout={cpus: 900, max_context_tokens: 999}",
        "eval.tasks={held: {path: nowhere.jsonl}}",
    )
    assert len(lines) == 4, lines
    assert "the workers need 90" in lines[0] and "rollout 1 x 900" in lines[0]
    assert "rollout.max_context_tokens: 999 is more than the model's max_position_embeddings of 256" in lines[1]
    assert "nowhere.jsonl`: no such file" in lines[2]
    assert "broken on the gold of task tasks:0: KeyError: 'nope' (broken.py, line 2)" in lines[3]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model=nowhere/at/all", "model `nowhere/at/all`: no such directory"),
        ("tasks.answer_column=gold", "no column `gold`; its columns are prompt, answer"),
        ("tasks.path=other.jsonl", "other.jsonl`: no such file"),
        ("learner.gpus=1", "1 GPUs"),
        ("rollout.max_response_tokens=256", "max_response_tokens: 256 leaves no room for a prompt"),
        ("rewards.0.sources=[other]", "none is for the tasks of source `tasks`"),
        ("rewards.0.model=nowhere/at/all", "give exactly one of `path`"),
        ("algorithm.loss='no.py:f'", "no.py does not exist"),
    ],
)
def test_one_mistake_is_told_before_anything_starts(folder: Path, override: str, says: str) -> None:
    assert says in told("rl.yaml", override)[0]


def test_a_gold_far_down_the_file_is_found(folder: Path) -> None:
    with Path("tasks.jsonl").open("a") as file:
        file.write('{"prompt": "1+1="}\n')
    (line,) = told("rl.yaml")
    assert "row 8" in line and "answer" in line


def test_a_cluster_that_does_not_answer_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert "RAY_ADDRESS=127.0.0.1:1: no Ray cluster answers" in told("rl.yaml")[0]


def test_a_disk_that_is_too_small_is_told(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.mkdir()
    for path in tiny_model.iterdir():
        (large / path.name).write_bytes(path.read_bytes())
    with (large / "model-2.safetensors").open("wb") as file:
        file.truncate(1 << 43)  # a hole in the file: it takes no space
    (line,) = told("rl.yaml", f"model={large}")
    assert "GB are free there, final/ and one checkpoint of" in line and "choose another disk with --run-dir" in line


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_reward_without_a_task_is_an_error_unless_it_is_shared(
    folder: Path, is_shared: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    body = yaml.safe_load(Path("rl.yaml").read_text())
    rewards = [*body.pop("rewards"), {"name": "other", "path": "mine.py:reward", "sources": ["gsm8k"]}]
    Path("base.yaml").write_text(yaml.safe_dump({"rewards": rewards}))
    Path("rl.yaml").write_text(yaml.safe_dump(body | ({"extends": "base.yaml"} if is_shared else {"rewards": rewards})))
    if is_shared:
        run_path(Path("rl.yaml"), [], None, dry_run=True)
        assert "warning: rewards: `other` is for source `gsm8k`, which no task has" in capsys.readouterr().out
    else:
        assert "`other` is for source `gsm8k`, which no task has" in told("rl.yaml")[0]


def test_a_recipe_is_checked_whole_but_for_what_is_yet_to_be_made(folder: Path, tiny_model: Path) -> None:
    recipe = folder / "recipe"
    recipe.mkdir()
    body = {"model": str(tiny_model), "data": {"path": "none.jsonl"}, "steps": 1, "tokens_per_step": 9}
    (recipe / "10-sft.yaml").write_text(yaml.safe_dump({"stage": "sft", **body, "learner": {"lr": 1e-3}}))
    rl = RL | {"model": "stage:10-sft", "rewards": [{"name": "a", "path": "gone.py:f"}]}
    (recipe / "20-rl.yaml").write_text(yaml.safe_dump(rl | {"tasks": {"path": "gone.jsonl"}}))
    lines = told("recipe")
    assert len(lines) == 3, lines
    assert lines[0].startswith("10-sft: data `none.jsonl`")
    assert lines[1].startswith("20-rl: data `gone.jsonl`") and "gone.py does not exist" in lines[2]


def test_a_run_directory_in_which_nothing_ran_is_taken_again(folder: Path) -> None:
    run = Path("run")
    run.mkdir()
    for name in ("config.yaml", "events.jsonl", "manifest.json", "report.html", ".lock"):
        (run / name).write_text("{}" if name == "manifest.json" else "")
    run_path(Path("rl.yaml"), [], run, dry_run=True)
    (run / "samples.jsonl").write_text("")
    with pytest.raises(UserError, match="holds a run already; add --resume"):
        run_path(Path("rl.yaml"), [], run, dry_run=True)
    run_path(Path("rl.yaml"), [], run, dry_run=True, resume=True)


def test_a_reward_model_on_five_rows_is_one_line(folder: Path, tiny_model: Path) -> None:
    rows = [{"prompt": f"{i}+1=", "chosen": str(i + 1), "rejected": "no"} for i in range(5)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = {
        "stage": "reward_model",
        "model": str(tiny_model),
        "data": {"path": "pairs.jsonl"},
        "learner": {"lr": 1e-3},
    }
    Path("rm.yaml").write_text(yaml.safe_dump(stage | {"steps": 2, "rows_per_step": 2, "context_tokens": 64}))
    (line,) = told("rm.yaml", "held_out.share=0.0001")
    assert line.startswith("data: of 5 rows no row is held out by held_out.share, 0.0001; add rows, raise it, or set")
    run_path(Path("rm.yaml"), ["held_out=null"], None, dry_run=True)


@pytest.mark.bench
def test_a_dry_run_takes_five_seconds_beside_its_imports(folder: Path) -> None:
    """Ray, PyTorch and transformers alone take some five seconds of a processor."""

    def took_s(*words: str) -> float:
        start_s = time.monotonic()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        return time.monotonic() - start_s

    imports = "import ray, torch\nfrom transformers import AutoConfig, AutoTokenizer"
    for _ in range(2):  # the first time the files are not in memory
        found = took_s("-m", "rlreason", "run", "rl.yaml", "--dry-run"), took_s("-c", imports)
    print(f"\na dry run takes {found[0]:.1f} s, its imports alone {found[1]:.1f} s")
    assert found[0] - found[1] < 5
