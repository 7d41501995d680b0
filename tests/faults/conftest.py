"""A small RL configuration that is ready in seconds once its engines are up."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlreason.data.order import rows_between
from tests.conftest import read_lines

PROMPTS_PER_STEP, SAMPLES, NUM_TASKS, STEPS = 4, 2, 40, 40
REWARDS = Path(__file__).with_name("rewards.py")


class BrokenRewards:
    """Step 1: one of four rows hangs. Step 2: one raises. Step 3: three raise, above `max_error_rate`."""

    def __init__(self, folder: Path) -> None:
        plan = ["hang", "", "", "", "raise", "", "", "", "raise", "raise", "raise", ""]
        order = rows_between(0, len(plan), len(plan), 0)
        does = {row: plan[place] for place, row in enumerate(order)}
        digits = random.Random(0)
        rows = [{"prompt": f"{digits.randint(1, 9)}+{row % 10}=", "does": does[row]} for row in range(len(plan))]
        data = folder / "a.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self._hangs = rows[order[0]]["prompt"]
        self.keys: dict[str, Any] = {
            "tasks": {"path": str(data), "answer_column": None},
            "rewards": [{"name": "mine", "path": f"{REWARDS}:breaks", "timeout_s": 1.0}],
        }

    def check(self, error: str, run: Path) -> None:
        assert "\n" not in error
        assert error.startswith("reward `mine` broke on 75% of the samples (verifier_error): ")
        assert "ZeroDivisionError: the scale is 0" in error and "max_error_rate" in error
        hung, raised = read_lines(run / "metrics.jsonl")
        assert hung["verdict/timeout"] == 2 and "verdict/verifier_error" not in hung
        assert hung["reward/error_rate"] == 0.25
        assert raised["verdict/verifier_error"] == 2 and "verdict/timeout" not in raised
        first = read_lines(run / "samples.jsonl")[: 2 * PROMPTS_PER_STEP]
        assert {row["verdicts"]["mine"] for row in first if row["prompt"].endswith(self._hangs)} == {"timeout"}


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
