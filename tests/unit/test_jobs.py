"""What travels with a job that is submitted."""

from pathlib import Path

import pytest
import yaml

from rlreason.jobs import MAX_FILE_BYTES, _pack
from rlreason.recipes.recipe import load_steps


def test_small_files_below_the_working_directory_travel_with_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    for folder in ("reward_fns", "recipe", "cards"):
        (here / folder).mkdir(parents=True)
    monkeypatch.chdir(here)
    (here / "reward_fns/mine.py").write_text("def f(response, task): return 1.0")
    (here / "cards/me.yaml").write_text("name: x")
    (here / "cards/unnamed.yaml").write_text("")
    (tmp_path / "outside.yaml").write_text("")
    with (here / "large.jsonl").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    monkeypatch.setenv("HOME", str(tmp_path))
    data = {
        "home": {"path": "~/outside.yaml"},
        "mine": {"generate": "m:f", "args": {"card": "cards/me.yaml", "other": str(tmp_path / "outside.yaml")}},
        "up": {"path": "../outside.yaml"},
        "large": {"path": "large.jsonl"},
    }
    config = {"stage": "sft", "model": "hub/model", "steps": 1, "tokens_per_step": 1, "learner": {"lr": 1e-3}}
    (here / "recipe/10-sft.yaml").write_text(yaml.safe_dump(config | {"data": data}))
    packed = tmp_path / "packed"
    assert _pack(Path("recipe"), load_steps(Path("recipe"), ["10-sft.steps=7"]), packed) == "configs/recipe"
    found = {str(path.relative_to(packed)) for path in packed.rglob("*") if path.is_file()}
    assert {name for name in found if not name.startswith("rlreason/")} == {
        "reward_fns/mine.py",
        "cards/me.yaml",
        "configs/recipe/10-sft.yaml",
    }
    assert "rlreason/cli.py" in found
    config = yaml.safe_load((packed / "configs/recipe/10-sft.yaml").read_text())
    assert config["steps"] == 7 and config["data"]["home"]["path"] == str(tmp_path / "outside.yaml")


def test_rewards_of_a_shared_file_are_shared_where_the_job_runs_too(tmp_path: Path) -> None:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "base.yaml").write_text(yaml.safe_dump({"rewards": [{"name": "a", "path": "m:f", "sources": ["other"]}]}))
    config = {"stage": "rl", "model": "hub/model", "steps": 1, "tasks": {"path": "x.jsonl"}, "extends": "base.yaml"}
    (folder / "10-rl.yaml").write_text(yaml.safe_dump(config))
    (step,) = load_steps(folder, [])
    _pack(folder, [step], tmp_path / "packed")
    assert load_steps(tmp_path / "packed/configs/recipe", []) == [step]
    assert step.shares_rewards
