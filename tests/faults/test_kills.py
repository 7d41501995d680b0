"""Blows to a running run, one after another on the same run directory: each time it ends soon, says one line, leaves
no process behind, and `--resume` goes on. At the end nothing shows that anything ever happened.

Each test also works alone: it resumes the run where there is one, and starts it where there is none.
"""

import os
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlreason.runlog import checkpoint_steps
from tests.conftest import Command, listening, read_lines, wait_for
from tests.faults.conftest import NUM_TASKS, PROMPTS_PER_STEP, SAMPLES, STEPS

pytestmark = [pytest.mark.engines, pytest.mark.slow]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, rl_config: dict[str, Any]) -> Path:
    """Tasks in a Parquet file with columns of its own, a reward in a Python file; `[1]*` in a path is no pattern.

    The reward rises to the end: where all samples are as good, no weight moves.
    """
    import datasets

    folder = tmp_path_factory.mktemp("kills") / "a[1]*"
    model = shutil.copytree(rl_config["model"], folder / "model")
    rows = [{"question": f"{i % 10}+{i // 10 + 1}=", "gold": str(i), "hint": "x"} for i in range(NUM_TASKS)]
    datasets.Dataset.from_list(rows).to_parquet(str(folder / "tasks.parquet"))
    tasks = {"path": str(folder / "tasks.parquet"), "prompt_column": "question", "answer_column": "gold"}
    config = rl_config | {"model": str(model), "tasks": tasks, "learner": rl_config["learner"] | {"lr": 4e-3}}
    path = folder / "10-rl.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def unhurt(config: Path) -> Iterator[Path]:
    """The run directory of the same run, left in peace."""
    command = Command("run", config, "--run-dir", config.parent / "unhurt", folder=config.parent)
    try:
        status, _, errors = command.finish(600)
        assert (status, errors) == (0, "")
        command.assert_nothing_left()
        yield config.parent / "unhurt"
    finally:
        command.destroy()


def test_rl_raises_a_users_reward(unhurt: Path) -> None:
    steps = read_lines(unhurt / "metrics.jsonl")
    first, last = ([row["reward/evens/mean"] for row in rows] for rows in (steps[:5], steps[-5:]))
    assert sum(last) / 5 > sum(first) / 5 + 0.3
    assert max(row["mismatch/logprob_gap_mean"] for row in steps) < 1e-5


@pytest.fixture
def wounded(config: Path) -> Path:
    return config.parent / "wounded"


@pytest.fixture
def temp() -> Iterator[Path]:
    """A short one, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def running(
    request: pytest.FixtureRequest, start: Callable[..., Command], config: Path, wounded: Path, temp: Path
) -> Command:
    """The wounded run, started or resumed, a step after that; its parameter is a list of overrides."""
    resume = ["--resume"] if wounded.exists() else []
    before = last_checkpoint(wounded)
    starts = [row["event"] for row in read_lines(wounded / "events.jsonl")].count("start")
    # Overrides stay with the run, so that each test says what it needs.
    overrides = request.param if hasattr(request, "param") else ["checkpoints.every=2"]
    command = start("run", config, *overrides, "--run-dir", wounded, *resume, env={"TMPDIR": str(temp)})

    def has_stepped() -> bool:
        assert command.running, f"ended before its first step: {command.stderr}"
        kinds = [row["event"] for row in read_lines(wounded / "events.jsonl")]
        # Until it has resumed, the metrics are those of the run before.
        resumed = not resume or (
            kinds.count("start") > starts and "resume" in kinds[::-1][: kinds[::-1].index("start")]
        )
        return resumed and last_step(wounded) > before

    wait_for(has_stepped, 600, "the first step")
    return command


def last_step(run: Path) -> int:
    return max((row["step"] for row in read_lines(run / "metrics.jsonl")), default=0)


def last_checkpoint(run: Path) -> int:
    return max(checkpoint_steps(run / "checkpoints"), default=0)


def one_line(errors: str) -> str:
    assert errors.count("\n") == 1 and errors.endswith("\n"), errors
    return errors


@pytest.mark.parametrize("running", [["checkpoints.every=1000"]], indirect=True, ids=["no-other-checkpoint"])
@pytest.mark.parametrize("by", ["Ctrl-C", *(pytest.param(by, marks=pytest.mark.long) for by in ("SIGTERM", "hangup"))])
def test_a_signal_writes_a_checkpoint_and_ends_the_run_within_ten_seconds(
    by: str, running: Command, wounded: Path, temp: Path
) -> None:
    """Until then nothing of it is open to others: neither a port beyond this host nor a folder."""
    assert set(listening(running.processes())) == {"0100007F", "0000000000000000FFFF00000100007F"}
    (folder,) = temp.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700 and list((folder / "t").glob("rlr-*/*")), "vLLM's sockets too"
    start_s = time.monotonic()
    match by:
        case "Ctrl-C":
            running.interrupt()
        case "SIGTERM":
            running.send(signal.SIGTERM)
        case "hangup":  # a terminal that closes tells every process of the run
            for pid in running.processes():
                os.kill(pid, signal.SIGHUP)
    status, _, errors = running.finish(60)
    took_s = time.monotonic() - start_s
    print(f"{by} to exit: {took_s:.1f} s")
    assert status == 1
    assert re.search("^failed: interrupted; .*--resume", one_line(errors))
    assert took_s < 10
    running.assert_nothing_left()
    assert list(temp.iterdir()) == []
    assert last_checkpoint(wounded) == last_step(wounded)


@pytest.mark.long
def test_one_sigterm_ends_a_run_whose_worker_is_stuck_within_thirty_seconds(running: Command, wounded: Path) -> None:
    before = last_checkpoint(wounded)
    os.kill(max(running.processes("ray::LearnerWorker")), signal.SIGSTOP)
    time.sleep(1)  # by now the run waits for it
    start_s = time.monotonic()
    running.send(signal.SIGTERM)
    status, _, errors = running.finish(60)
    took_s = time.monotonic() - start_s
    print(f"SIGTERM to exit with a stuck worker: {took_s:.1f} s")
    assert status == 1 and took_s < 30
    assert re.search("^failed: interrupted; no checkpoint was written .*--resume", one_line(errors)), errors
    running.assert_nothing_left()
    assert last_checkpoint(wounded) >= max(before, last_step(wounded) - 2)


def test_an_interrupt_while_ray_starts_leaves_no_process_behind(
    start: Callable[..., Command], config: Path, tmp_path: Path
) -> None:
    command = start("run", config, "--run-dir", tmp_path / "run")
    wait_for(lambda: command.processes("/raylet"), 60, "the start of Ray")
    command.interrupt()
    status, _, errors = command.finish(60)
    assert status == 1
    assert re.search("^failed: interrupted; .*--resume", one_line(errors))
    command.assert_nothing_left(timeout_s=5)


WORKERS = {
    "rollout worker": ("ray::RolloutWorker", "RolloutWorker .* died"),
    "vLLM's engine process": ("EngineCore", "vLLM's engine process died|EngineDeadError"),
    "learner worker": ("ray::LearnerWorker", "LearnerWorker .* died|a worker failed: .*"),
}


@pytest.mark.long
@pytest.mark.parametrize("victim", WORKERS)
def test_a_killed_worker_ends_the_run_with_one_line(victim: str, running: Command, wounded: Path) -> None:
    title, says = WORKERS[victim]
    pids = running.processes(title)
    assert pids, running.processes()
    os.kill(max(pids), signal.SIGKILL)
    status, _, errors = running.finish(60)
    assert status == 1
    assert re.search(f"^failed: .*{says}", one_line(errors)), errors
    running.assert_nothing_left()
    assert last_checkpoint(wounded) >= last_step(wounded) - 2


STUCK = {
    "vLLM's engine process": (
        "EngineCore",
        r"(a batch of rollouts|a sync of the weights|the parity probe) took more than (15|90) s .*: RolloutWorker "
        r"\(process \d+ on 127.0.0.1\), its VLLM::EngineCore \(process {pid}\) is stopped at \S+ \(\S+:\d+\)",
    ),
    "learner worker": (
        "ray::LearnerWorker",
        r"(an update|a pass of the policy|a sync of the weights|writing a checkpoint) took more than (15|90) s .*: "
        r"LearnerWorker \(process {pid} on 127.0.0.1\) is stopped at \S+ \(\S+:\d+\)",
    ),
}
IMPATIENT = ["watchdog.least_s=15", "watchdog.factor=1", "watchdog.first_s=90"]


@pytest.mark.parametrize("running", [IMPATIENT], indirect=True, ids=["impatient"])
@pytest.mark.parametrize("victim", ["vLLM's engine process", pytest.param("learner worker", marks=pytest.mark.long)])
def test_a_worker_that_stands_still_is_named_with_its_stack_and_ends_the_run(
    victim: str, running: Command, wounded: Path
) -> None:
    title, says = STUCK[victim]
    pid = max(running.processes(title))
    os.kill(pid, signal.SIGSTOP)
    start_s = time.monotonic()
    status, _, errors = running.finish(150)
    print(f"{victim} stopped to exit: {time.monotonic() - start_s:.1f} s")
    assert status == 1
    assert re.search(f"^failed: {says.format(pid=pid)}", one_line(errors)), errors
    *_, stuck, failed = read_lines(wounded / "events.jsonl")
    assert (stuck["event"], failed["event"]) == ("stuck", "failed") and errors == f"failed: {failed['error']}\n"
    assert any(one["pid"] == pid and one["is_stopped"] and one["stacks"] for one in stuck["processes"])
    running.assert_nothing_left()
    assert last_checkpoint(wounded) >= last_step(wounded) - (title != "EngineCore")


@pytest.mark.parametrize("running", [["checkpoints.every=1"]], indirect=True, ids=["all-checkpoints"])
@pytest.mark.parametrize("victim", [pytest.param("gcs_server", marks=pytest.mark.long), "raylet"])
def test_ray_s_own_process_that_is_killed_is_named_soon(victim: str, running: Command, wounded: Path) -> None:
    wait_for(lambda: last_checkpoint(wounded), 60, "a checkpoint")
    (pid,) = running.processes(f"/{victim}")
    os.kill(pid, signal.SIGKILL)
    start_s = time.monotonic()
    status, stdout, errors = running.finish(60)
    took_s = time.monotonic() - start_s
    print(f"{victim} killed to exit: {took_s:.1f} s")
    assert status == 1 and took_s < 40  # idle 6 and 12
    assert one_line(errors).startswith(f"failed: Ray's {victim} (process {pid} on 127.0.0.1) has ended with status -9")
    assert "(raylet)" not in stdout
    assert read_lines(wounded / "events.jsonl")[-1]["event"] == "failed"
    running.assert_nothing_left(but=("ray::DashboardAgent", "ray::RuntimeEnvAgent"))
    running.assert_nothing_left(timeout_s=90)


def test_a_killed_driver_leaves_no_process_and_after_all_that_the_run_ends_as_one_that_nothing_happened_to(
    running: Command, unhurt: Path, wounded: Path, start: Callable[..., Command], config: Path
) -> None:
    running.send(signal.SIGKILL)
    assert running.wait(10) == -signal.SIGKILL
    running.assert_nothing_left(but=("ray::DashboardAgent", "ray::RuntimeEnvAgent"))
    running.assert_nothing_left(timeout_s=90)  # Ray's own two agents try for 60 s to reach the node that died
    killed_at = last_step(wounded)
    assert killed_at < STEPS, "the run was over before it was killed; raise STEPS"
    status, _, errors = start("run", config, "--run-dir", wounded, "--resume").finish(600)
    assert (status, errors) == (0, "")
    assert [row["step"] for row in read_lines(wounded / "metrics.jsonl")] == list(range(1, STEPS + 1))
    samples = read_lines(wounded / "samples.jsonl")
    steps_per_epoch = NUM_TASKS // PROMPTS_PER_STEP
    for epoch in range(STEPS // steps_per_epoch):
        steps = range(epoch * steps_per_epoch + 1, (epoch + 1) * steps_per_epoch + 1)
        used = Counter(row["task_id"] for row in samples if row["split"] == "train" and row["step"] in steps)
        assert len(used) == NUM_TASKS and set(used.values()) == {SAMPLES}
    assert samples == read_lines(unhurt / "samples.jsonl")
    ours, theirs = (run / "final/model.safetensors" for run in (wounded, unhurt))
    assert ours.read_bytes() == theirs.read_bytes()
    assert theirs.read_bytes() != Path(yaml.safe_load(config.read_text())["model"], "model.safetensors").read_bytes()
