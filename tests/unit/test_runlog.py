"""The run directory: one writer, no torn lines, nothing half-written."""

import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlreason.runlog import RunLog, checkpoint_steps, commit_folder, file_hash, has_run, read_rows, tree_hash
from rlreason.types import RunError, UserError

HOLD = """
import sys
from pathlib import Path
from rlreason.runlog import RunLog
log = RunLog(Path(sys.argv[1]), config_yaml="seed: 0")
print("open", flush=True)
sys.stdin.read()
"""


def lines(path: Path) -> list[dict]:
    """Every line must be JSON as the standard has it: NaN is not."""
    *whole, rest = path.read_text(encoding="utf-8").split("\n")
    assert rest == "", "the last line has no end"
    return [json.loads(line, parse_constant=pytest.fail) for line in whole]


def refusal(path: Path, *, resume: bool = False) -> str:
    """One line that names the directory and the way out."""
    with pytest.raises(UserError) as error:
        RunLog(path, config_yaml="seed: 0", resume=resume)
    text = str(error.value)
    assert "\n" not in text and str(path) in text and "--run-dir" in text
    return text


def test_a_run_in_another_process_is_named_and_its_lock_dies_with_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "open\n"
        assert f"in use by process {holder.pid}" in refusal(tmp_path, resume=True)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    RunLog(tmp_path, config_yaml="seed: 0", resume=True).close()


def test_a_second_run_in_this_process_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    log = RunLog(tmp_path, config_yaml="seed: 0")
    assert f"process {os.getpid()}" in refusal(tmp_path, resume=True)
    log.close()
    RunLog(tmp_path, config_yaml="seed: 0", resume=True).close()


def test_a_run_that_is_there_already_is_not_overwritten(tmp_path: Path) -> None:
    log = RunLog(tmp_path, config_yaml="seed: 0")
    log.metrics(1, {"loss": 1.0})
    log.close()
    with pytest.raises(UserError, match="--resume") as kept:
        RunLog(tmp_path, config_yaml="seed: 1")
    assert (tmp_path / "config.yaml").read_text() == "seed: 0"
    # The refusal has let go of the lock, even while its traceback is alive.
    RunLog(tmp_path, config_yaml="seed: 2", resume=True).close()
    assert "holds a run already" in str(kept.value)
    assert [row["event"] for row in lines(tmp_path / "events.jsonl")] == ["start", "start"]


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refusal(tmp_path / "file")
    refusal(tmp_path / "file" / "run")


def test_metrics_that_are_not_finite_become_null(tmp_path: Path) -> None:
    log = RunLog(tmp_path, config_yaml="")
    log.metrics(1, {"policy/loss": float("nan"), "policy/kl": float("-inf"), "reward/mean": 0.5})
    (row,) = lines(tmp_path / "metrics.jsonl")
    assert row.pop("time_s") >= 0
    assert row == {"step": 1, "policy/loss": None, "policy/kl": None, "reward/mean": 0.5}
    log.close()


def test_lines_are_there_as_soon_as_they_are_written(tmp_path: Path) -> None:
    log = RunLog(tmp_path, config_yaml="")
    log.metrics(1, {"a": 1.0})
    log.samples([{"step": 1, "response": "a × b\nc\u2028d \U0001f600"}])
    assert len(read_rows(tmp_path / "metrics.jsonl")) == 1
    assert read_rows(tmp_path / "samples.jsonl") == [{"step": 1, "response": "a × b\nc\u2028d \U0001f600"}]
    log.close()


def test_a_full_disk_is_one_line_and_the_rest_is_still_written(tmp_path: Path) -> None:
    log = RunLog(tmp_path, config_yaml="")
    (tmp_path / "samples.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"^cannot write .*samples\.jsonl: No space left on device$"):
        log.samples([{"step": 1, "response": "x" * size} for size in (10, 100_000)])
    log.metrics(1, {"a": 1.0})
    log.event("failed")
    log.close()
    assert [row["event"] for row in lines(tmp_path / "events.jsonl")] == ["start", "failed"]


def test_a_disk_that_takes_a_part_of_some_lines_has_none_of_them(tmp_path: Path) -> None:
    log = RunLog(tmp_path, config_yaml="")
    log.samples([{"step": 1, "response": "x" * 100}])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(RunError, match="File too large"):
            log.samples([{"step": step, "response": "x" * 400} for step in (2, 3, 4)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [row["step"] for row in lines(tmp_path / "samples.jsonl")] == [1]
    log.restore(log.unwritten, 3)
    assert [row["step"] for row in lines(tmp_path / "samples.jsonl")] == [1, 2, 3]
    log.close()


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "manifest.json"])
def test_no_file_of_a_run_directory_makes_a_traceback_of_a_full_disk(tmp_path: Path, name: str) -> None:
    log = RunLog(tmp_path, config_yaml="")
    log.metrics(1, {"a": 1.0 / 3, "b": 1.0 / 3, "c": 1.0 / 3})
    log.close()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    does = {
        "config.yaml": lambda: RunLog(tmp_path, config_yaml="x" * 5000, resume=True),
        "metrics.jsonl": lambda: log.cut_after(1),
        "manifest.json": lambda: log.manifest(kind="x" * 5000),
    }
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, limits[1]))
    try:
        with pytest.raises(RunError, match=f"^cannot write .*{name.partition('.')[0]}.*: File too large$"):
            does[name]()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    if name == "metrics.jsonl":
        assert [row["step"] for row in lines(tmp_path / "metrics.jsonl")] == [1], "as it was"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_with_what_it_means(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(file: Any, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    text = refusal(tmp_path)
    assert "no locks" in text and os.strerror(number) in text and "a second run" in text


def killed_run(path: Path, tail: bytes) -> RunLog:
    """A resumed run whose files hold steps 1 to 4, then what a kill left of the last line."""
    log = RunLog(path, config_yaml="")
    for step in range(1, 5):
        log.metrics(step, {"a": float(step)})
        log.samples([{"step": step, "response": f"{step}{place}"} for place in range(2)])
    log.close()
    for name in ("metrics.jsonl", "samples.jsonl"):
        with (path / name).open("ab") as file:
            file.write(tail)
    return RunLog(path, config_yaml="", resume=True)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b'{"step": 1, "a": 0.',  # torn, and its step is before the cut
        b'{"step": 5, "a": 1.0}\n',
        b"\n\n",
        b'"step"\n7\n',
        '{"step": 1, "response": "a × b'.encode()[:-3],  # torn in the middle of a letter of two bytes
    ],
)
def test_a_cut_forgets_later_steps_and_torn_lines(tmp_path: Path, tail: bytes) -> None:
    log = killed_run(tmp_path, tail)
    log.cut_after(2)
    assert [row["step"] for row in lines(tmp_path / "metrics.jsonl")] == [1, 2]
    assert [row["response"] for row in lines(tmp_path / "samples.jsonl")] == ["10", "11", "20", "21"]
    log.metrics(3, {"a": 9.0})
    log.samples([{"step": 3, "response": "new"}])
    assert [row["step"] for row in lines(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    assert lines(tmp_path / "samples.jsonl")[-1] == {"step": 3, "response": "new"}
    log.close()


def test_a_last_line_that_lost_only_its_end_does_not_spoil_the_next(tmp_path: Path) -> None:
    log = killed_run(tmp_path, b'{"step": 2, "a": 1.0}')
    log.cut_after(2)
    log.metrics(3, {"a": 9.0})
    assert [row["step"] for row in lines(tmp_path / "metrics.jsonl")][-1] == 3
    log.close()


def test_a_torn_event_does_not_spoil_the_next(tmp_path: Path) -> None:
    RunLog(tmp_path, config_yaml="").close()
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"time": 1.0, "eve')
    log = RunLog(tmp_path, config_yaml="", resume=True)
    log.event("checkpoint", step=3)
    log.close()
    last = (tmp_path / "events.jsonl").read_text().splitlines()[-2:]
    assert [json.loads(line)["event"] for line in last] == ["start", "checkpoint"]


def test_what_is_written_after_a_cut_is_kept_whatever_was_written_before(tmp_path: Path) -> None:
    log = RunLog(tmp_path, config_yaml="")
    for step in (1, 2, 3):
        log.metrics(step, {})
    log.cut_after(1)
    log.metrics(2, {})
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2]
    log.close()


def test_readers_leave_a_torn_last_line_out(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    assert read_rows(path) == []
    path.write_bytes('{"step": 1}\n{"step": 2, "response": "×'.encode()[:-1])
    assert read_rows(path) == [{"step": 1}]


def test_the_manifest_names_the_packages(tmp_path: Path) -> None:
    log = RunLog(tmp_path, config_yaml="")
    log.manifest(kind="rl", parents={"a": "b"})
    log.close()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["kind"] == "rl" and {"torch", "ray", "deepspeed"} <= manifest["packages"].keys()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_folder_is_committed_whole_in_place_of_the_old_one(tmp_path: Path) -> None:
    aside, target = tmp_path / ".writing", tmp_path / "final"
    for folder, name in ((aside, "new"), (target, "old")):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / name).write_text(name)
    commit_folder(aside, target)
    assert [path.name for path in target.rglob("*")] == ["sub", "new"]
    assert not aside.exists()


@pytest.mark.parametrize("is_new_there", [False, True])
def test_a_replacement_that_was_cut_off_between_its_renames_loses_nothing(tmp_path: Path, is_new_there: bool) -> None:
    target, old = tmp_path / "final", tmp_path / ".replaced-final"
    old.mkdir()
    (old / "model").write_text("old")
    if is_new_there:
        target.mkdir()
        (target / "model").write_text("new")
    RunLog(tmp_path, config_yaml="").close()
    assert (target / "model").read_text() == ("new" if is_new_there else "old")
    assert not old.exists()


def test_a_folder_that_is_there_is_never_removed_before_the_new_one_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside, target = tmp_path / ".writing", tmp_path / "final"
    for folder in (aside, target):
        folder.mkdir()
        (folder / "model").write_text(folder.name)
    removed = []

    def remove(path: Path, **options: bool) -> None:
        removed.append((path.name, (target / "model").read_text() if target.exists() else None))

    monkeypatch.setattr(shutil, "rmtree", remove)
    commit_folder(aside, target)
    assert [text for name, text in removed if name == ".replaced-final" and text == ".writing"] == [".writing"]
    assert all(name != "final" for name, _ in removed)


def test_half_written_checkpoints_do_not_count(tmp_path: Path) -> None:
    assert checkpoint_steps(tmp_path / "checkpoints") == []
    for name in ("step-000100", "step-000020", "step-1000000", ".writing-000200"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-000300").write_text("a file, not a checkpoint")
    assert checkpoint_steps(tmp_path) == [20, 100, 1000000]


def test_the_hash_of_a_tree_is_that_of_its_names_and_contents(tmp_path: Path) -> None:
    def tree(name: str, files: dict[str, str]) -> str:
        for path, text in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        return tree_hash(tmp_path / name)

    first = tree("a", {"config.json": "{}", "sub/x": "1"})
    assert first == tree("b", {"sub/x": "1", "config.json": "{}"})
    others = [
        tree("c", {"config.json": "{} ", "sub/x": "1"}),
        tree("d", {"config.jsom": "{}", "sub/x": "1"}),
        tree("e", {"config.json": "1", "sub/x": "{}"}),
        tree("f", {"config.json": "{}", "x": "1"}),
        tree("g", {"config.json": "{}"}),
    ]
    assert len({first, *others}) == 6


def test_a_file_is_read_again_only_if_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_text("a")
    first, times = file_hash(path), path.stat()
    assert first == hashlib.sha256(b"a").hexdigest()
    path.write_text("b")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_hash(path) == first, "it was read again"
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert file_hash(path) != first


def test_a_folder_in_which_nothing_ran_is_taken_again(tmp_path: Path) -> None:
    log = RunLog(tmp_path, config_yaml="seed: 0")
    log.manifest(status="running")
    log.event("failed", error="no such model")
    log.close()
    assert not has_run(tmp_path)
    RunLog(tmp_path, config_yaml="seed: 1").close()
    assert (tmp_path / "config.yaml").read_text() == "seed: 1"
    (tmp_path / "checkpoints").mkdir()
    assert has_run(tmp_path)
