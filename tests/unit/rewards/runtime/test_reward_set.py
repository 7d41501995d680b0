"""Rewards on responses: children, deadlines, batches, and what a user's function may see and take."""

import time
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.rewards import RewardConfig
from rlreason.rewards.runtime.load import Attempt
from rlreason.rewards.runtime.reward_set import RewardSet
from rlreason.types import Task, UserError

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

def environment(response, task):
    return float(response in os.environ)

def memory(response, task):
    return float(len(bytearray(int(response))) > 0)

def facts(response, task, num_tokens, truncated, scale=1.0):
    return scale * num_tokens + truncated

def exact(response, task):
    if response == "hang":
        time.sleep(60)
    return response == task.answer

def trl(completions, answer):
    if "hang" in completions:
        time.sleep(60)
    if "crash" in completions:
        os._exit(1)
    return [float(len(completions)) * (c == a) for c, a in zip(completions, answer)]

async def waits(response, task):
    import asyncio
    await asyncio.sleep(60 if response == "hang" else 0.2)
    return 1.0

def forges(response, task):
    return float("nan")
"""


def reward(name: str, path: str, *, timeout_s: float = 5.0, **fields: Any) -> RewardConfig:
    return RewardConfig(name=name, path=path, timeout_s=timeout_s, **fields)


def attempts(*responses: str, source: str = "") -> list[Attempt]:
    task = Task(id="t", prompt="3+4=", answer="7", source=source)
    return [Attempt(response=response, task=task, num_tokens=3, truncated=True) for response in responses]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS)
    return path


def test_every_reward_gives_its_verdict(file: Path) -> None:
    rewards = RewardSet([reward("math", "rlreason.rewards.math:reward"), reward("short", f"{file}:short")])
    rewards.check()
    assert {name: score.status for name, score in rewards.score(r"\boxed{7}", TASK).items()} == {
        "math": "ok",
        "short": "ok",
    }
    assert rewards.score("far too long to be short", TASK)["short"].status == "wrong"
    rewards.close()


def test_what_breaks_is_typed_and_hurts_no_other(file: Path) -> None:
    names = ("short", "hang", "crash", "throws", "forges")
    rewards = RewardSet([reward(name, f"{file}:{name}", timeout_s=0.5) for name in names])
    rewards.check()
    for _ in range(2):
        scores = rewards.score("7", TASK)
        assert [scores[name].status for name in names] == [
            "ok", "timeout", "verifier_error", "verifier_error", "verifier_error",
        ]  # fmt: skip
    assert "no good" in scores["throws"].detail
    assert "exit code 1" in scores["crash"].detail
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
    rewards = RewardSet([reward("mine", f"{path}:f")], load_timeout_s=0.5 if "sleep" in text else 60.0)
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        rewards.check()
    assert time.monotonic() - began < 50.0, "it does not wait for the sleeper"
    assert expected in str(caught.value) and "\n" not in str(caught.value) and "'mine'" in str(caught.value)
    assert rewards.score("7", TASK)["mine"].status == "verifier_error"
    rewards.close()


def test_slow_imports_are_not_charged_to_the_first_response(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import time; time.sleep(0.6)\ndef f(response, task): return 1.0")
    rewards = RewardSet([reward("mine", f"{path}:f", timeout_s=0.3)])
    assert rewards.score("7", TASK)["mine"].status == "ok"
    rewards.close()


def test_the_start_of_sympy_is_not_charged_to_the_first_response(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from rlreason.rewards.math import verifier as math, workers as math_workers\n"
        "def f(response, task): return float(math_workers._pool.pid is not None)"
    )
    rewards = RewardSet([reward("mine", f"{path}:f")])
    assert rewards.score("7", TASK)["mine"].value == 1.0
    rewards.close()


def test_two_rewards_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="two rewards are called 'a'"):
        RewardSet([reward("a", "x:y"), reward("a", "x:z")])


def test_the_whole_traceback_of_a_file_that_does_not_load_goes_along(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def setup():\n    import nowhere_to_be_found\n\nsetup()\ndef f(response, task): return 1")
    rewards = RewardSet([reward("mine", f"{path}:f")])
    with pytest.raises(UserError) as caught:
        rewards.check()
    (note,) = caught.value.__notes__
    assert "in setup" in note and "ModuleNotFoundError" in note and note.startswith("Traceback")
    assert "in setup" in rewards.score("7", TASK)["mine"].detail
    rewards.close()


def test_args_and_facts_reach_the_function_and_bad_args_are_told_early(file: Path) -> None:
    rewards = RewardSet([reward("mine", f"{file}:facts", args={"scale": 2.0})])
    assert rewards.score("7", TASK, num_tokens=3, truncated=True)["mine"].value == 7.0
    rewards.close()
    rewards = RewardSet([reward("mine", f"{file}:facts", args={"scael": 2.0})])
    with pytest.raises(UserError, match="reward 'mine': .* has no parameter `scael`, .*did you mean `scale`"):
        rewards.check()
    rewards.close()
    with pytest.raises(UserError, match="reward 'math': .* has no parameter `timeout`, which `args` sets"):
        RewardSet([reward("math", "rlreason.rewards.math:reward", args={"timeout": 2.0})]).check()


def test_a_functions_own_timeout_holds_unless_the_configuration_has_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import time\ndef f(response, task, timeout_s=0.2):\n  time.sleep(0.5)\n  return timeout_s")
    for given, status in ((None, "timeout"), (10.0, "ok")):
        rewards = RewardSet([RewardConfig(name="mine", path=f"{path}:f", timeout_s=given)])
        assert rewards.score("7", TASK)["mine"].status == status
        assert rewards.traits()["mine"].timeout_s == (given or 0.2)
        rewards.close()


def test_a_column_that_a_task_lacks_is_told_before_anything_is_scored(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def f(completions, level, gold): return [1.0]")
    rewards = RewardSet([reward("mine", f"{path}:f", sources=["a"])])
    with pytest.raises(UserError, match="'mine': .* wants `gold`, which task t does not have; .*source, tests, level"):
        rewards.check([Task(id="t", prompt="?", answer="7", source="a", columns={"level": 1})])
    rewards.check([Task(id="t", prompt="?", source="a", columns={"level": 1, "gold": 2}), TASK])
    rewards.close()


def test_a_reward_is_absent_where_its_source_is_not(file: Path) -> None:
    rewards = RewardSet([reward("some", f"{file}:short", sources=["a", "b"]), reward("all", f"{file}:exact")])
    both = [*attempts("7", source="a"), *attempts("7", source="c"), *attempts("8", source="b")]
    found = rewards.score_many(both)
    assert [list(scores) for scores in found] == [["some", "all"], ["all"], ["some", "all"]]
    assert [scores["all"].value for scores in found] == [1.0, 1.0, 0.0]
    rewards.close()


def test_a_hang_costs_its_own_response_alone_where_a_call_is_for_one(file: Path) -> None:
    rewards = RewardSet([reward("exact", f"{file}:exact", timeout_s=0.5)])
    found = rewards.score_many(attempts("7", "8", "hang", "7"))
    assert [scores["exact"].status for scores in found] == ["ok", "wrong", "timeout", "ok"]
    rewards.close()


def test_a_batch_is_one_call_and_shares_its_failure(file: Path) -> None:
    rewards = RewardSet([reward("trl", f"{file}:trl", timeout_s=0.2)])
    assert [scores["trl"].value for scores in rewards.score_many(attempts("7", "8", "7"))] == [3.0, 0.0, 3.0]
    for what, status in (("hang", "timeout"), ("crash", "verifier_error")):
        found = rewards.score_many(attempts("7", what, "7"))
        assert [scores["trl"].status for scores in found] == [status] * 3
    assert rewards.score_many(attempts("7"))[0]["trl"].value == 1.0
    rewards.close()


def test_async_rewards_wait_side_by_side(file: Path) -> None:
    rewards = RewardSet([reward("waits", f"{file}:waits", timeout_s=0.5)])
    rewards.check()
    began = time.monotonic()
    found = rewards.score_many(attempts(*"abcdefgh", "hang"))
    assert time.monotonic() - began < 1.2
    assert [scores["waits"].status for scores in found] == ["ok"] * 8 + ["timeout"]
    rewards.close()


def test_memory_is_bounded_where_asked(file: Path) -> None:
    rewards = RewardSet(
        [reward("bounded", f"{file}:memory", memory_gib=0.5), reward("free", f"{file}:memory", timeout_s=30.0)]
    )
    scores = rewards.score(str(3 << 28), TASK)
    assert scores["bounded"].status == "verifier_error" and "MemoryError" in scores["bounded"].detail
    assert scores["free"].value == 1.0
    rewards.close()


def test_a_secret_reaches_only_the_reward_that_names_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "s3cret")
    monkeypatch.setenv("OTHER_API_KEY", "s3cret")
    path = f"{file}:environment"
    rewards = RewardSet([reward("judge", path, env=["JUDGE_API_KEY"]), reward("mine", path)])
    seen = {name: rewards.score(name, TASK) for name in ("JUDGE_API_KEY", "OTHER_API_KEY", "PATH")}
    assert {name: scores["judge"].value for name, scores in seen.items()} == {
        "JUDGE_API_KEY": 1.0,
        "OTHER_API_KEY": 0.0,
        "PATH": 1.0,
    }
    assert seen["JUDGE_API_KEY"]["mine"].value == 0.0
    rewards.close()
    with pytest.raises(UserError, match="reward 'a': env: NO_SUCH_KEY is not set"):
        RewardSet([reward("a", path, env=["NO_SUCH_KEY"])]).check()


def test_a_shipped_reward_is_prepared_and_says_what_it_runs_in() -> None:
    code = reward("code", "rlreason.rewards.code:reward")
    reports = RewardSet([code, reward("math", "rlreason.rewards.math:reward")]).check()
    assert reports.keys() == {"code", "math"}
    assert reports["math"].startswith("sympy runs in processes confined by ")
    assert reports["code"].startswith("sandbox: level ")
    with pytest.raises(UserError, match="reward 'code': .*level 'strong' is not one of"):
        RewardSet([code.model_copy(update={"args": {"level": "strong"}})]).check()
