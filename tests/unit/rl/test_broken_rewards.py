"""A reward that breaks: counted, its first whole traceback in events.jsonl, its last line where the run stops."""

from pathlib import Path

import pytest

from rlreason.config.rewards import RewardConfig
from rlreason.rewards.runtime.combine import Judge
from rlreason.rewards.runtime.reward_set import RewardSet
from rlreason.runlog import RunLog
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.running.verdicts import report_broken_rewards
from rlreason.types import Group, RunError, Sample, Task
from tests.conftest import read_lines

FUNCTIONS = """
import time

def look_up(table, response):
    return table[response]

def raises(response, task):
    return look_up({}, response) if response == "bad" else 1.0

def nan(response, task):
    return float("nan") if response == "bad" else 1.0

def wrong_type(response, task):
    return {"value": 1.0} if response == "bad" else 1.0

def hangs(response, task):
    if response == "bad":
        time.sleep(60)
    return 1.0
"""
CASES = {
    "raises": (
        "verifier_error",
        ["Traceback (most recent call last)", "in look_up", "KeyError: 'bad'"],
        "KeyError: 'bad'",
    ),
    "nan": ("verifier_error", ["the reward gave nan (float), not a finite number"], "not a finite number"),
    "wrong_type": ("verifier_error", ["the reward gave {'value': 1.0} (dict)"], "not a finite number"),
    "hangs": ("timeout", ["no verdict within 0.3 s"], "no verdict within 0.3 s"),
}


@pytest.mark.parametrize("function", CASES)
def test_a_broken_reward_is_an_event_and_stops_the_run_above_the_limit(tmp_path: Path, function: str) -> None:
    status, in_detail, in_message = CASES[function]
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS)
    config = RewardConfig(name="mine", path=f"{path}:{function}", timeout_s=0.3)
    rewards = RewardSet([config])
    log = RunLog(tmp_path / "run", config_yaml="")
    job = Job(name="a", log=log, interrupts=Interrupts())
    report_broken_rewards([judged(rewards, config, "good", "good")], 0.4, job, step=1)
    report_broken_rewards([judged(rewards, config, "good", "bad", "good")], 0.4, job, step=2)
    with pytest.raises(RunError) as error:
        report_broken_rewards([judged(rewards, config, "bad", "good")], 0.4, job, step=3)
    rewards.close()
    log.close()
    assert f"`mine` broke on 50% of the samples ({status}): " in str(error.value) and in_message in str(error.value)
    assert "\n" not in str(error.value) and "events.jsonl" in str(error.value)
    events = [row for row in read_lines(tmp_path / "run/events.jsonl") if row["event"] == "broken reward"]
    assert [(row["step"], row["num_broken"], row["num_samples"]) for row in events] == [(2, 1, 3), (3, 1, 2)]
    for row in events:
        assert (row["reward"], row["status"]) == ("mine", status)
        assert all(part in row["detail"] for part in in_detail), row["detail"]


def judged(rewards: RewardSet, config: RewardConfig, *responses: str) -> Group:
    task = Task(id="0", prompt="p")
    samples = [
        Sample(
            task_id="0",
            index=index,
            policy_version=0,
            num_prompt_tokens=1,
            num_response_tokens=1,
            prompt="p",
            response=response,
            finish_reason="stop",
        )
        for index, response in enumerate(responses)
    ]
    return Judge([config]).settle(task, samples, [rewards.score(response, task) for response in responses])
