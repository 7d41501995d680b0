"""Rewards that cannot teach: counted in each step, told once with an example, and at the end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.schema import RLConfig
from rlreason.rl.signal import Signal, has_signal
from rlreason.runlog import RunLog
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.types import Group
from tests.conftest import read_lines
from tests.unit.stages.conftest import group, rl_config

ZEROS = [group(0, [0.0, 0.0]), group(1, [0.0, 0.0])]
MIXED = [group(0, [1.0, 0.0]), group(1, [0.0, 0.0])]
Events = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    log = RunLog(tmp_path / "run", config_yaml="")
    yield Job(name="rl", log=log, interrupts=Interrupts())
    log.close()


@pytest.fixture
def events(tmp_path: Path) -> Events:
    return lambda kind: [row for row in read_lines(tmp_path / "run/events.jsonl") if row["event"] == kind]


def test_zeros_are_told_once_after_five_steps_and_at_the_end(
    job: Job, events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    signal = Signal(rl_config(), job, None)
    for step in range(1, 5):
        assert signal.observe(step, ZEROS) == {"reward/zero_std_fraction": 1.0}
    assert not events("no signal")
    signal = Signal(rl_config(), job, signal.state())  # a resumed run counts on
    for step in range(5, 20):
        signal.observe(step, ZEROS)
    (event,) = events("no signal")
    assert (event["step"], event["prompt"], event["response"], event["answer"]) == (5, "'p'", r"'\\boxed{0}'", "7")
    shown = capsys.readouterr().out
    assert shown.startswith("rl at step 5: no signal: ") and shown.count("\n") == 1
    assert all(hint in shown for hint in ("easier tasks", "samples_per_prompt", "SFT first", "rlreason check-reward"))
    signal.end()
    (event,) = events("nothing learned")
    assert event["steps"] == 19 and event["message"].startswith("rl: NOTHING WAS LEARNED: in none of its 19 steps")


def test_one_group_that_differs_is_a_signal(job: Job, events: Events) -> None:
    signal = Signal(rl_config(), job, None)
    for step in range(1, 12):
        groups = MIXED if step == 4 else ZEROS
        assert signal.observe(step, groups) == {"reward/zero_std_fraction": 0.5 if step == 4 else 1.0}
    assert [event["step"] for event in events("no signal")] == [9]
    signal.end()
    assert not events("nothing learned")


def test_tasks_that_are_all_solved_want_harder_ones(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    signal = Signal(rl_config(), job, None)
    for step in range(1, 6):
        signal.observe(step, [group(0, [1.0, 1.0])])
    assert "(mean reward 1)" in (shown := capsys.readouterr().out) and "try harder tasks" in shown


def test_a_run_that_made_no_step_says_nothing(job: Job, events: Events) -> None:
    Signal(rl_config(), job, None).end()
    assert not events("nothing learned")


def of(advantage: str, samples: int = 2) -> RLConfig:
    return rl_config(algorithm={"advantage": advantage}, samples_per_prompt=samples)


@pytest.mark.parametrize(
    ("config", "groups", "expected"),
    [
        (of("grpo"), [group(0, [1.0, 1.0]), group(1, [0.0, 0.0])], False),  # each is compared within its group
        (of("reinforce_pp"), [group(0, [1.0, 1.0]), group(1, [0.0, 0.0])], True),  # all are compared
        (of("reinforce_pp", 1), [group(0, [1.0]), group(1, [0.0])], True),
        (of("gae", 1), [group(0, [0.0]), group(1, [0.0])], False),
        (of("remax"), [group(0, [1.0, 1.0], greedy=0.0)], True),
        (of("remax"), [group(0, [1.0, 1.0], greedy=1.0), group(1, [0.0, 0.0], greedy=0.0)], False),
        (of("grpo"), [group(0, [1.0, 0.0], ["ok", "timeout"])], False),  # what broke is left out
    ],
)
def test_what_is_compared_is_the_advantages_choice(config: RLConfig, groups: list[Group], expected: bool) -> None:
    assert has_signal(groups, config) == expected


def test_groups_of_one_have_no_spread_to_speak_of(job: Job) -> None:
    assert Signal(of("reinforce_pp", 1), job, None).observe(1, [group(0, [1.0]), group(1, [0.0])]) == {}
