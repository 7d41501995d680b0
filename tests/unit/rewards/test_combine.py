"""Several rewards on one response: children, deadlines, weights."""

import time
from pathlib import Path

import pytest

from rlreason.rewards.combine import RewardSet, RewardSpec, combine
from rlreason.types import Score, Task, UserError

TASK = Task(id="t", prompt="3+4=", answer="7", columns={"level": 1})
FUNCTIONS = """
import os, time

def short(response, task):
    return float(len(response) < 20)

def hang(response, task):
    time.sleep(60)

def crash(response, task):
    os._exit(1)

def throws(response, task):
    raise RuntimeError("no good")

def forges(response, task):
    return float("nan")
"""


def spec(name: str, path: str, weight: float = 1.0, timeout_s: float = 5.0) -> RewardSpec:
    return RewardSpec(name=name, path=path, weight=weight, timeout_s=timeout_s)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS)
    return path


def test_scores_and_weighted_sum(file: Path) -> None:
    rewards = RewardSet([spec("math", "rlreason.rewards.math:reward"), spec("short", f"{file}:short", weight=0.25)])
    rewards.check()
    scores = rewards.score(r"\boxed{7}", TASK)
    assert {name: score.status for name, score in scores.items()} == {"math": "ok", "short": "ok"}
    assert combine(scores, rewards.weights) == 1.25
    assert combine(rewards.score("no", TASK), rewards.weights) == 0.25
    rewards.close()


def test_what_breaks_is_typed_and_hurts_no_other(file: Path) -> None:
    names = ("short", "hang", "crash", "throws", "forges")
    rewards = RewardSet([spec(name, f"{file}:{name}", timeout_s=0.5) for name in names])
    rewards.check()
    for _ in range(2):
        scores = rewards.score("7", TASK)
        assert [scores[name].status for name in names] == [
            "ok", "timeout", "verifier_error", "verifier_error", "verifier_error",
        ]  # fmt: skip
    assert "no good" in scores["throws"].detail
    assert "exit code 1" in scores["crash"].detail
    assert combine(scores, rewards.weights) == 1.0
    rewards.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import time; time.sleep(60)", "did not finish loading within 0.5 s"),
        ("import os; os._exit(9)", "ended its process while it was loaded (exit code 9)"),
        ("import nowhere_to_be_found", "mine.py:1: ModuleNotFoundError"),
        ("def g(response, task): return 1", "did you mean g?"),
    ],
)
def test_check_finds_a_bad_file_early(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    rewards = RewardSet([spec("mine", f"{path}:f")], load_timeout_s=0.5)
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        rewards.check()
    assert time.monotonic() - began < 3.0
    assert expected in str(caught.value) and "\n" not in str(caught.value) and "'mine'" in str(caught.value)
    assert rewards.score("7", TASK)["mine"].status == "verifier_error"
    rewards.close()


def test_slow_imports_are_not_charged_to_the_first_response(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import time; time.sleep(0.6)\ndef f(response, task): return 1.0")
    rewards = RewardSet([spec("mine", f"{path}:f", timeout_s=0.3)])
    assert rewards.score("7", TASK)["mine"].status == "ok"
    rewards.close()


def test_specs_are_checked() -> None:
    with pytest.raises(UserError, match="two rewards are called 'a'"):
        RewardSet([spec("a", "x:y"), spec("a", "x:z")])
    with pytest.raises(UserError, match="timeout_s"):
        spec("a", "x:y", timeout_s=0.0)


def test_combine_by_hand() -> None:
    scores = {"a": Score(value=1.0, status="ok"), "b": Score(value=-2.0, status="wrong")}
    assert combine(scores, {"a": 0.5, "b": 0.25}) == 0.0
    with pytest.raises(KeyError):
        combine(scores, {"a": 1.0})
