"""What a first look at the rewards finds before a run."""

from pathlib import Path
from typing import Any

import pytest

from rlreason.config.rewards import RewardConfig
from rlreason.rewards.dryrun.trial import Trials, problems
from rlreason.types import Task

TASKS = [Task(id=f"a:{i}", prompt=f"{i}+1=", answer=str(i + 1), source="a") for i in range(4)]


def reward(tmp_path: Path, body: str, **keys: Any) -> RewardConfig:
    path = tmp_path / f"r{abs(hash(body))}.py"
    path.write_text("import os, time\n" + body)
    return RewardConfig(name="mine", path=f"{path}:f", **keys)


def test_a_reward_that_raises_is_told_with_its_line(tmp_path: Path) -> None:
    (text,) = problems([reward(tmp_path, "def f(response, task):\n    return task.columns['nope']\n")], TASKS)
    assert text.startswith("reward 'mine': broken on the gold of task a:0: KeyError: 'nope' (r") and "line 3)" in text


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("def f(response, task): os._exit(3)", "died"),
        ("def f(response, task): time.sleep(60)", "no verdict within 0.2 s"),
        ("def f(response, task): return 'good'", "not a finite number"),
        ("def f(response, tusk): return 1.0", "not a known form of reward"),
        ("import nowhere_at_all", "nowhere_at_all"),
        ("def g(response, task): return 1.0", "no function 'f'"),
    ],
)
def test_each_way_to_break_is_one_line(tmp_path: Path, body: str, says: str) -> None:
    (text,) = problems([reward(tmp_path, body, timeout_s=0.2)], TASKS)
    assert says in text and "\n" not in text


def test_a_reward_that_gives_some_verdict_is_left_to_its_on_status(tmp_path: Path) -> None:
    body = "def f(response, task):\n    if response == '1': raise ValueError\n    return 0.0\n"
    assert problems([reward(tmp_path, body)], TASKS) == []


def test_a_function_gets_token_ids_and_is_told_of_columns_that_the_tasks_lack(tmp_path: Path) -> None:
    body = "def f(completions, completion_ids, prompt_ids, answer): return [float(len(completion_ids[0]))]"
    assert problems([reward(tmp_path, body)], TASKS) == []
    (text,) = problems([reward(tmp_path, "def f(completions, difficulty): return [1.0]")], TASKS)
    assert "wants `difficulty`, which task a:0 does not have" in text


def test_a_reward_is_tried_on_its_own_tasks_alone(tmp_path: Path) -> None:
    body = "def f(response, task): return 1 / 0\n"
    assert problems([reward(tmp_path, body, sources=["other"])], TASKS) == []
    assert len(problems([reward(tmp_path, body, sources=["a", "other"])], TASKS)) == 1


def test_shipped_rewards_and_users_are_tried(tmp_path: Path) -> None:
    rewards = [reward(tmp_path, "def f(response, task): return 1 / 0\n")]
    rewards += [
        RewardConfig(name="there", path="rlreason.rewards.match:numeric"),
        RewardConfig(name="no", path="a.py:f"),
    ]
    rewards += [RewardConfig(name="odd", path="rlreason.rewards.match:numeric", args={"alnoe": True})]
    with Trials(rewards) as trials:
        found = trials.of(rewards, TASKS)
    assert len(found) == 3 and "ZeroDivisionError" in found[0] and "a.py does not exist" in found[1]
    assert "did you mean `alone`?" in found[2]
