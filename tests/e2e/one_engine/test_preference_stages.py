"""Reward models and DPO as a user runs them: they learn, and what is interrupted goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from rlreason.recipes.recipe import run_path
from tests.conftest import ROOT, Command, read_lines, untimed, wait_for

pytestmark = [pytest.mark.engines, pytest.mark.slow]

GOLD = f"{ROOT / 'configs/tiny-preferences/gold.py'}"
STEPS = 12
STAGES = {
    "reward_model": {"loss": "plackett_luce", "centring": 0.01},
    "dpo": {"beta": 0.1},
    "reward_model lora": {"learner": {"lora": {"rank": 4, "targets": ["q_proj", "v_proj"]}}},
}


def preference_config(folder: Path, model: Path, name: str) -> Path:
    own = dict(STAGES[name])
    learner = {"workers": 2, "cpus": 0.5, "threads": 1, "lr": 3e-3} | dict(own.pop("learner", {}))
    config = own | {
        "stage": name.split()[0],
        "model": str(model),
        "data": {"generate": f"{GOLD}:rankings", "args": {"num": 200, "seed": 2}, "chat": False},
        "context_tokens": 48,
        "rows_per_step": 8,
        "steps": STEPS,
        "held_out": {"every": 4},
        "learner": learner,
        "checkpoints": {"every": 3},
    }
    path = folder / "stage.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


LONG = [pytest.param(name, marks=pytest.mark.long) for name in STAGES]


def run_whole(config: Path, run: Path) -> list[dict[str, Any]]:
    """The metrics of the stage left in peace."""
    run_path(config, [], run)
    return untimed(run)


@pytest.mark.parametrize("name", [*LONG[:2], "reward_model lora"])
def test_a_stage_learns_preferences(local_ray: None, llama: Path, tmp_path: Path, name: str) -> None:
    rows = run_whole(preference_config(tmp_path, llama, name), tmp_path / "run")
    accuracy = [row["eval/preference/accuracy"] for row in rows if "eval/preference/accuracy" in row]
    assert len(accuracy) == 1 + STEPS // 4 and accuracy[-1] > 0.5
    key = "policy/loss" if name == "dpo" else "reward_model/loss"
    losses = [row[key] for row in rows if key in row]
    assert len(losses) == STEPS and losses[-1] < losses[0]
    config_json = json.loads((tmp_path / "run/final/config.json").read_text())
    is_scored = name.startswith("reward_model")
    assert config_json["architectures"] == [f"LlamaFor{'SequenceClassification' if is_scored else 'CausalLM'}"]
    assert (tmp_path / "run/final/reward_model.json").is_file() == is_scored


@pytest.mark.parametrize("name", LONG)
def test_an_interrupted_stage_ends_as_one_that_was_left_in_peace(
    start: Callable[..., Command], local_ray: None, llama: Path, tmp_path: Path, name: str
) -> None:
    config, whole, broken = preference_config(tmp_path, llama, name), tmp_path / "whole", tmp_path / "broken"
    rows = run_whole(config, whole)
    command = start("run", config, "--run-dir", broken)
    wait_for(lambda: len(read_lines(broken / "metrics.jsonl")) > 6 or not command.running, 200, "six lines")
    command.interrupt()
    assert command.finish(60)[0] != 0 and untimed(broken)[-1]["step"] < STEPS
    run_path(config, [], broken, resume=True)
    assert untimed(broken) == rows
    weights = [load_file(run / "final/model.safetensors") for run in (whole, broken)]
    assert weights[0].keys() == weights[1].keys()
    assert all(weights[0][key].equal(weights[1][key]) for key in weights[0])
