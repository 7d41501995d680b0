"""A small RL configuration that is ready in seconds once its engines are up."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

PROMPTS_PER_STEP, SAMPLES, NUM_TASKS, STEPS = 4, 2, 40, 40
REWARDS = Path(__file__).with_name("rewards.py")


@pytest.fixture(scope="session")
def rl_config(tiny_model: Path) -> dict[str, Any]:
    """40 steps of a fifth of a second; four epochs of 40 tasks."""
    return {
        "stage": "rl",
        "model": str(tiny_model),
        "tasks": {"generate": "rlreason.tasks.chains:tasks", "args": {"num": NUM_TASKS, "seed": 3}},
        "steps": STEPS,
        "prompts_per_step": PROMPTS_PER_STEP,
        "samples_per_prompt": SAMPLES,
        "rewards": [{"name": "evens", "path": f"{REWARDS}:evens"}],
        "reward_workers": {"cpus": 0.25},
        "rollout": {
            "cpus": 0.25,
            "threads": 1,
            "max_context_tokens": 32,
            "max_response_tokens": 8,
            "max_concurrent": 8,
        },
        "learner": {"workers": 2, "cpus": 0.25, "threads": 1, "lr": 1.0e-3},
        "checkpoints": {"every": 2},
    }


@pytest.fixture
def write_config(tmp_path: Path, rl_config: dict[str, Any]) -> Callable[..., Path]:
    """write_config(steps=2, **{"rollout.workers": 9}) -> the path of rl_config with those keys changed."""

    def write(**changes: Any) -> Path:
        config = copy.deepcopy(rl_config)
        for key, value in changes.items():
            node = config
            *parents, last = key.split(".")
            for parent in parents:
                node = node[parent]
            node[last] = value
        path = tmp_path / "10-rl.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    return write
