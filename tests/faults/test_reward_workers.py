"""Reward workers under fire: real Ray actors and fake samples. Whatever dies, each sample has its verdict once."""

import hashlib
import os
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.rewards import RewardConfig, RewardWorkerConfig
from rlreason.runlog import RunLog
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.running.rollouts import check_rewards
from rlreason.types import PromptTask, Sample, Score, Task, UserError
from rlreason.workers.reward_fleet import MAX_LOSSES, RewardFleet
from tests.conftest import MARKER, marked_processes, read_lines, wait_for

pytestmark = [pytest.mark.engines, pytest.mark.slow]

WORKER = "ray::RewardWorker"
CHILD = "rlreason.rewards.runtime.killable_child"
GROUP, CHUNK = 5, 2
"""Samples of a group, groups of a chunk."""
FUNCTIONS = """
import hashlib, os, pathlib, signal, time
from rlreason.types import Score

def hashed(response, task):
    time.sleep(0.01)
    return hashlib.sha256((task.id + response).encode()).digest()[0] / 256

def slow(response, task):
    time.sleep(0.05)
    return 1.0

def poison(response, task):
    if response == "3/1":
        with open(f"/proc/{os.getppid()}/stat") as file:  # of the keeper, whose parent is the worker
            os.kill(int(file.read().rpartition(")")[2].split()[1]), signal.SIGKILL)
        time.sleep(60)
    return hashed(response, task)

def worker(response, task):
    return float(os.getppid())

def flaky(response, task, folder):
    asked = pathlib.Path(folder, response.replace("/", "-"))
    with asked.open("a") as file:
        file.write(f"{os.getppid()}\\n")
    num = len(asked.read_text().splitlines())
    fails = response.startswith("2/") or (response.startswith("1/") and num == 1)
    return Score(value=1.0, status="sandbox_error" if fails else "ok")
"""


@pytest.fixture(scope="module")
def marker() -> Iterator[str]:
    """A Ray of the module's own, whose processes all bear the marker."""
    import ray

    found = uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARKER, found)
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield found
        ray.shutdown()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS)
    return path


@pytest.fixture
def make_fleet(marker: str, file: Path) -> Iterator[Callable[..., RewardFleet]]:
    """make_fleet("function", workers=3, reward={...}) -> a fleet that is up; nothing may be left after its end."""
    made: list[RewardFleet] = []

    def make(function: str, *, reward: dict[str, Any] | None = None, **fields: Any) -> RewardFleet:
        config = RewardConfig(name="mine", path=f"{file}:{function}", **{"timeout_s": 10.0, **(reward or {})})
        made.append(RewardFleet([config], RewardWorkerConfig(**fields)))
        assert made[-1].check() == {}
        return made[-1]

    yield make
    for fleet in made:
        fleet.shutdown()
    wait_for(lambda: not alive(marker, WORKER) and not alive(marker, CHILD), 30, "the end of all reward workers")


def alive(marker: str, title: str) -> list[int]:
    """Processes of that title. A child that has been forked and not yet replaced by its program still bears its
    parent's title; it is not counted."""
    found = {pid for pid, line in marked_processes(marker).items() if title in line}
    return sorted(pid for pid in found if parent(pid) not in found)


def parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def batch(num_groups: int) -> list[PromptTask]:
    return [PromptTask(task=Task(id=str(i), prompt="p"), text="p", tokens=(1,)) for i in range(num_groups)]


def sample(task_id: str, index: int) -> Sample:
    return Sample(
        task_id=task_id,
        index=index,
        policy_version=0,
        num_prompt_tokens=1,
        num_response_tokens=1,
        prompt="p",
        response=f"{task_id}/{index}",
        finish_reason="stop",
    )


def score(fleet: RewardFleet, num_groups: int) -> dict[str, Score]:
    """Verdicts by response; each sample must have exactly one."""
    import ray

    prompts = batch(num_groups)
    futures = []
    for start in range(0, num_groups, CHUNK):
        chunk = prompts[start : start + CHUNK]
        samples = [[sample(prompt.task.id, index) for index in range(GROUP)] for prompt in chunk]
        futures.append(fleet.submit(chunk, ray.put(samples)))
    found: dict[str, Score] = {}
    for future in futures:
        done = future.result(timeout=300)
        for judged in (one for group in done.groups for one in group.judged):
            response = judged.sample.response
            assert judged.scores.keys() == {"mine"} and response not in found
            found[response] = judged.scores["mine"]
    assert found.keys() == {f"{group}/{index}" for group in range(num_groups) for index in range(GROUP)}
    return found


def expected(num_groups: int) -> dict[str, float]:
    """What `hashed` gives, worked out here."""
    answers = [(str(group), f"{group}/{index}") for group in range(num_groups) for index in range(GROUP)]
    return {text: hashlib.sha256((task_id + text).encode()).digest()[0] / 256 for task_id, text in answers}


def values(scores: dict[str, Score]) -> dict[str, float]:
    assert {one.status for one in scores.values()} <= {"ok", "wrong"}, Counter(one.detail for one in scores.values())
    return {response: one.value for response, one in scores.items()}


def test_killed_workers_lose_no_sample_and_each_is_scored_as_if_nothing_had_happened(
    make_fleet: Callable[..., RewardFleet], marker: str
) -> None:
    """Two batches of 400 samples, four SIGKILLs in each: fewer than one sample may cost."""
    num_groups, num_kills = 80, MAX_LOSSES - 1
    fleet = make_fleet("hashed", workers=3)
    undisturbed = score(fleet, num_groups)
    assert values(undisturbed) == expected(num_groups) and not fleet.restarts()
    rng = random.Random(0)

    def kill() -> None:
        for _ in range(num_kills):
            time.sleep(rng.uniform(0.1, 0.6))
            victims = wait_for(lambda: alive(marker, WORKER), 30, "a worker to kill")
            try:
                os.kill(rng.choice(victims), signal.SIGKILL)
            except ProcessLookupError:
                continue

    for _ in range(2):
        killer = threading.Thread(target=kill)
        killer.start()
        assert score(fleet, num_groups) == undisturbed
        killer.join()
    reasons = fleet.restarts()
    print(f"{2 * num_kills} kills, {len(reasons)} replaced: {Counter(reasons)}")
    assert len(reasons) >= num_kills and all("died" in reason for reason in reasons)


def test_a_stuck_worker_is_killed_and_its_samples_are_scored_elsewhere(
    make_fleet: Callable[..., RewardFleet], marker: str
) -> None:
    fleet = make_fleet("hashed", workers=2, stall_s=5.0, reward={"timeout_s": 0.1})
    stopped = alive(marker, WORKER)[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        assert values(score(fleet, 20)) == expected(20)
        assert any("gave no answer within" in reason for reason in fleet.restarts())
        wait_for(lambda: stopped not in alive(marker, WORKER), 30, "the end of the stuck worker")
    finally:
        if stopped in alive(marker, WORKER):
            os.kill(stopped, signal.SIGKILL)


@pytest.mark.parametrize(
    "fields", [{"workers": 1, "max_queued": 4}, pytest.param({"workers": 2}, marks=pytest.mark.long)]
)
def test_a_sample_that_kills_its_workers_has_a_typed_verdict_and_costs_no_other(
    make_fleet: Callable[..., RewardFleet], fields: dict[str, int]
) -> None:
    """With one worker all others wait behind the sample that kills, and are lost with it each time."""
    fleet = make_fleet("poison", **fields)
    scores = score(fleet, 8)
    poisoned = scores.pop("3/1")
    assert poisoned.status == "verifier_error" and f"{MAX_LOSSES} reward workers were lost" in poisoned.detail
    assert values(scores) == {text: value for text, value in expected(8).items() if text != "3/1"}


def test_no_worker_has_more_calls_than_max_queued(make_fleet: Callable[..., RewardFleet]) -> None:
    fleet = make_fleet("slow", workers=2, max_queued=3)
    seen: list[int] = []
    is_done = threading.Event()

    def watch() -> None:
        while not is_done.wait(0.01):
            seen.extend(worker.num_queued for worker in fleet._workers)

    watcher = threading.Thread(target=watch)
    watcher.start()
    score(fleet, 24)
    is_done.set()
    watcher.join()
    assert max(seen) == 3


def test_a_worker_is_replaced_after_its_share_and_when_it_has_grown(make_fleet: Callable[..., RewardFleet]) -> None:
    fleet = make_fleet("worker", workers=1, recycle_after=20, max_queued=1)
    assert len(set(values(score(fleet, 10)).values())) == 3  # 50 samples, 10 a call: 20, 20, 10
    assert fleet.restarts() == ["it had scored 20 samples (recycle_after 20)"] * 2
    fleet = make_fleet("worker", workers=1, memory_gib=0.01, max_queued=1)
    assert len(set(values(score(fleet, 4)).values())) == 2
    assert all("above memory_gib 0.01" in reason for reason in fleet.restarts())


def test_retry_asks_another_worker_once(make_fleet: Callable[..., RewardFleet], tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    asked.mkdir()
    fleet = make_fleet("flaky", workers=2, reward={"args": {"folder": str(asked)}})
    scores = score(fleet, 4)
    assert {one.status for text, one in scores.items() if text.startswith("2/")} == {"sandbox_error"}
    assert {one.status for text, one in scores.items() if not text.startswith("2/")} == {"ok"}
    for path in asked.iterdir():
        pids = path.read_text().splitlines()
        assert len(pids) == len(set(pids)) == (2 if path.name.startswith(("1-", "2-")) else 1)
    assert fleet.restarts() == []


def test_a_reward_that_does_not_load_is_one_line_for_the_user_and_its_traceback_is_an_event(
    marker: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def setup():\n    import nowhere_to_be_found\n\nsetup()\ndef f(response, task): return 1.0\n")
    fleet = RewardFleet([RewardConfig(name="mine", path=f"{path}:f")], RewardWorkerConfig())
    log = RunLog(tmp_path / "run", config_yaml="")
    try:
        with pytest.raises(UserError) as caught:
            check_rewards(fleet, Job(name="a", log=log, interrupts=Interrupts()))
    finally:
        log.close()
        fleet.shutdown()
    assert "reward 'mine': " in str(caught.value) and "mine.py:2: ModuleNotFoundError" in str(caught.value)
    assert "\n" not in str(caught.value)
    (event,) = [row for row in read_lines(tmp_path / "run/events.jsonl") if row["event"] == "broken reward"]
    assert event["detail"].startswith("Traceback") and "in setup" in event["detail"]


def test_programs_run_sandboxed_in_a_reward_worker_and_end_with_it(marker: str, tmp_path: Path) -> None:
    import ray

    config = RewardConfig(name="code", path="rlreason.rewards.code:reward", timeout_s=10.0)
    fleet = RewardFleet([config], RewardWorkerConfig(cpus=0.5))
    log = RunLog(tmp_path / "run", config_yaml="")
    check_rewards(fleet, Job(name="a", log=log, interrupts=Interrupts()))
    log.close()
    (ready,) = [row for row in read_lines(tmp_path / "run/events.jsonl") if row["event"] == "reward ready"]
    assert ready["report"].startswith("sandbox: level ")
    tests = ({"type": "stdio", "input": "21", "output": "42"}, {"type": "assert", "code": "assert f(2) == 4"})
    right = "def f(x):\n    return x * 2\nif __name__ == '__main__':\n    print(f(int(input())))"
    programs = {
        right: "ok",
        "import os; os._exit(0)": "wrong",
        "while True: pass": "timeout",
        "``` \n```": "unparseable",
    }
    prompts = [PromptTask(task=Task(id="0", prompt="p", tests=tests), text="p", tokens=(1,))]
    samples = [replace(sample("0", i), response=program) for i, program in enumerate(programs)]
    done = fleet.submit(prompts, ray.put([samples])).result(timeout=120)
    found = [one.scores["code"] for one in done.groups[0].judged]
    assert [score.status for score in found] == list(programs.values()), found
    assert [score.value for score in found] == [1.0, 0.0, 0.0, 0.0]
    workers = alive(marker, WORKER)
    zygotes = {pid for pid in sandboxes() if descends(pid, workers)}
    assert zygotes
    os.kill(workers[0], signal.SIGKILL)
    wait_for(lambda: not sandboxes() & zygotes, 10, "the end of the sandbox of a killed worker")
    fleet.shutdown()


def descends(pid: int | None, ancestors: list[int]) -> bool:
    while pid and pid not in ancestors:
        pid = parent(pid)
    return bool(pid)


def sandboxes() -> set[int]:
    """Zygotes on this machine; their environment is scrubbed, so they do not bear the marker."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and b"rlreason.sandbox.zygote" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
        except OSError:
            continue
    return found
