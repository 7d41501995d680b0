"""A corpus run that is killed in the middle goes on, and ends as one that nothing happened to."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import Command, read_lines, wait_for
from tests.e2e.test_corpus import prose

pytestmark = [pytest.mark.engines, pytest.mark.slow]

NUM_FILES, DOCUMENTS = 12, 180


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 units: files of 300 kB. The first document of each is also in the file before it."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "files").mkdir()
    for number in range(NUM_FILES):
        seeds = [max(number - 1, 0) * 1000, *(number * 1000 + place for place in range(DOCUMENTS))]
        lines = "".join(json.dumps({"text": prose(seed)}) + "\n" for seed in seeds)
        (folder / f"files/{number:02d}.jsonl").write_text(lines)
    path = folder / "05-corpus.yaml"
    keys = {"stage": "corpus", "sources": {"stories": {"path": str(folder / "files")}}, "rows_per_file": 1000}
    path.write_text(yaml.safe_dump(keys))
    return path


def units_of(run: Path) -> list[dict[str, int]]:
    return [row for row in read_lines(run / "events.jsonl") if row["event"] == "units"]


def finished(run: Path) -> int:
    return len(list(run.glob("work/*/summary.json")))


@pytest.mark.parametrize("is_interrupted_too", [False, pytest.param(True, marks=pytest.mark.long)])
def test_an_interrupted_and_killed_run_goes_on_and_ends_as_one_left_in_peace(
    start: Callable[..., Command], config: Path, tmp_path: Path, is_interrupted_too: bool
) -> None:
    unhurt, wounded = tmp_path / "unhurt", tmp_path / "wounded"
    status, _, errors = start("run", config, "--run-dir", unhurt).finish(400)
    assert (status, errors) == (0, "")
    [units] = units_of(unhurt)
    assert (units["total"], units["finished_before"]) == (NUM_FILES, 0)

    if is_interrupted_too:
        command = start("run", config, "--run-dir", wounded)
        wait_for(lambda: finished(wounded) >= 1 or not command.running, 120, "a finished unit")
        command.interrupt()
        status, _, errors = command.finish(30)
        assert status == 1
        assert re.fullmatch("failed: interrupted; .*--resume\n", errors), errors
        command.assert_nothing_left()

    after_interrupt = finished(wounded)
    command = start("run", config, "--run-dir", wounded, *(["--resume"] if is_interrupted_too else []))
    wait_for(lambda: finished(wounded) > after_interrupt or not command.running, 120, "one more finished unit")
    command.send(signal.SIGKILL)
    assert command.wait(10) == -signal.SIGKILL
    before = finished(wounded)
    assert after_interrupt < before < NUM_FILES, "the run was over before it was killed; raise NUM_FILES"
    assert units_of(wounded) == [] and not (wounded / "final").exists()

    status, _, errors = start("run", config, "--run-dir", wounded, "--resume").finish(400)
    assert (status, errors) == (0, "")
    [units] = units_of(wounded)
    assert before <= units["finished_before"] < units["total"] == NUM_FILES

    parts = sorted(path.name for path in (unhurt / "final").iterdir())
    assert len(parts) == 3 and parts == sorted(path.name for path in (wounded / "final").iterdir())
    for name in ("samples.jsonl", "aside.jsonl", *(f"final/{part}" for part in parts)):
        assert (wounded / name).read_bytes() == (unhurt / name).read_bytes(), name
    counts = json.loads((wounded / "manifest.json").read_text())["counts"]
    told = {rule: count for rule, count in counts.items() if count}
    assert told == {"kept": NUM_FILES * DOCUMENTS, "exact_duplicate": NUM_FILES}
    assert not (wounded / "work").exists()


@pytest.mark.long
def test_a_task_that_stands_still_is_named_with_its_stack_and_the_run_goes_on_afterwards(
    start: Callable[..., Command], config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = start("run", config, "stall_s=12", "--run-dir", run)
    wait_for(lambda: finished(run) >= 1 or not command.running, 120, "a finished unit")

    def stop_one() -> int:
        for pid in command.processes("ray::Map("):
            os.kill(pid, signal.SIGSTOP)
            if pid in command.processes("ray::Map("):
                return pid
            os.kill(pid, signal.SIGCONT)  # between two tasks
        return 0

    stopped = wait_for(stop_one, 30, "a task")
    before = finished(run)
    start_s = time.monotonic()
    status, _, errors = command.finish(90)
    print(f"a task stopped to exit: {time.monotonic() - start_s:.1f} s")
    assert status == 1
    assert re.fullmatch(
        r"failed: no task of Ray Data has given anything for 12 s \(`stall_s` sets the limit\): ray::Map\(task\) "
        rf"\(process {stopped} on 127.0.0.1\) is stopped at .*--resume.*\n",
        errors,
    ), errors
    *_, stuck, failed = read_lines(run / "events.jsonl")
    assert (stuck["event"], failed["event"]) == ("stuck", "failed")
    assert {one["pid"] for one in stuck["processes"] if one["is_stopped"] and one["stacks"]} == {stopped}
    command.assert_nothing_left()

    status, _, errors = start("run", config, "--run-dir", run, "--resume").finish(400)
    assert (status, errors) == (0, "")
    assert units_of(run)[-1]["finished_before"] >= before
