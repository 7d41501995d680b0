"""What never reaches a verifier of reasoning-gym. Its verdicts themselves are in tests/contract/test_gym.py."""

import pytest

from rlreason.rewards import gym
from rlreason.types import Task

ATTACKS = (
    "open('/tmp/x','w')",
    "[exit()]",
    "eval(chr(112))",
    "[0 for self.score_answer in [lambda a, e: 1.0]]",
    "().__class__",
    "x.func",
    "lambdify(x, x)",
    "1if exit(1)else 2",
    "𝘦𝘷𝘢𝘭(1)",
)


@pytest.mark.parametrize("name", sorted(gym.EVALUATED))
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_answer_that_would_be_run_as_a_program_is_refused(name: str, attack: str) -> None:
    task = Task(id="t", prompt="?", columns={"gym": {"name": name, "args": "{}", "entry": "{}"}})
    verdict = gym.reward(f"<answer>{attack}</answer>", task)
    assert (verdict.value, verdict.status) == (0.0, "wrong")
    assert verdict.detail.startswith("refused")


@pytest.mark.parametrize("columns", [{}, {"gym": 3}, {"gym": {"name": "gcd"}}])
def test_a_task_of_another_origin_is_the_checkers_error(columns: dict) -> None:
    verdict = gym.reward("42", Task(id="t", prompt="6 * 7", answer="42", columns=columns))
    assert verdict.status == "verifier_error"
    assert "rlreason.tasks.gym:tasks" in verdict.detail


@pytest.mark.parametrize("response", ["", "<think>42", "<answer>1</answer> or <answer>2</answer>"])
def test_a_response_that_commits_to_no_answer_is_unparseable(response: str) -> None:
    task = Task(id="t", prompt="?", columns={"gym": {"name": "gcd", "args": "{}", "entry": "{}"}})
    assert gym.reward(response, task).status == "unparseable"
