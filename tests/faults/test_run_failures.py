"""Runs that go on in spite of something, or end with status 1 and one line: rewards that break, a disk that is full."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Command, read_lines
from tests.faults.conftest import BrokenRewards

pytestmark = [pytest.mark.engines, pytest.mark.slow]


@pytest.mark.long
def test_a_hanging_reward_is_a_timeout_and_too_many_broken_ones_end_the_run(
    start: Callable[..., Command], write_config: Callable[..., Path], tmp_path: Path
) -> None:
    """`make test` sees the same in tests/e2e/one_engine/test_broken_rewards.py, without a Ray of its own."""
    broken = BrokenRewards(tmp_path)
    path = write_config(**broken.keys, **{"learner.workers": 1})
    command = start("run", path, "--run-dir", tmp_path / "run")
    status, _, errors = command.finish(600)
    assert status == 1 and errors.startswith("failed: ") and errors.endswith("\n"), errors
    broken.check(errors.removeprefix("failed: ").removesuffix("\n"), tmp_path / "run")
    command.assert_nothing_left()


IN_A_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
"""A mount namespace of its own needs no root, and is gone with its shell."""
FULL_OF_CHECKPOINTS = """
mkdir -p "$RUN/checkpoints"
mount -t tmpfs -o size="$SMALL" none "$RUN/checkpoints" || exit 99
"$PYTHON" -m rlreason run "$CONFIG" --run-dir "$RUN"
echo "status $?" >"$RUN/first"
cp -r "$RUN/checkpoints" "$RUN/kept"
mount -o remount,size=64m "$RUN/checkpoints"
exec "$PYTHON" -m rlreason run "$CONFIG" --run-dir "$RUN" --resume
"""
NO_ROOM_FOR_SAMPLES = """
mkdir -p "$RUN/small"
mount -t tmpfs -o size=4k none "$RUN/small" || exit 99
head -c 4096 /dev/zero >"$RUN/small/filled"
ln -s small/samples.jsonl "$RUN/samples.jsonl"
exec "$PYTHON" -m rlreason run "$CONFIG" --run-dir "$RUN"
"""


SMALL_HOSTS = {
    "little shared memory": (
        "mount -t tmpfs -o size=4k none /dev/shm",
        r"/dev/shm: 0.00391 MiB are free, .* share 1 MiB there; make it larger \(docker run --shm-size=8g; .*",
    ),
    "no shared memory": ("mount -t tmpfs -o ro none /dev/shm", "/dev/shm cannot be written to; .*"),
    "no temporary folder": (
        "for d in /tmp /var/tmp; do mount --bind $d $d; mount -o remount,ro,bind $d; done; cd /proc",
        "no folder for temporary files can be written to; set TMPDIR to one that can",
    ),
}


@pytest.mark.parametrize("host", SMALL_HOSTS)
def test_a_host_that_lacks_what_engines_need_is_told_before_anything_starts(
    host: str, start: Callable[..., Command], write_config: Callable[..., Path], tmp_path: Path
) -> None:
    mounts, says = SMALL_HOSTS[host]
    script = f'{mounts} || exit 99; exec "$PYTHON" -m rlreason run "$CONFIG" --run-dir "$RUN"'
    variables = {"RUN": str(tmp_path / "run"), "CONFIG": str(write_config()), "PYTHON": sys.executable}
    status, stdout, errors = start("-c", script, program=(*IN_A_NAMESPACE, "bash"), env=variables).finish(120)
    if status == 99 or "unshare" in errors:
        pytest.skip(f"no mount in a user namespace here: {errors.strip()}")
    assert status == 2 and re.fullmatch(f"error: {says}\n", errors), errors
    assert "starting" not in stdout and not (tmp_path / "run/metrics.jsonl").exists()


@pytest.fixture
def on_small_disk(start: Callable[..., Command], tiny_model: Path, tmp_path: Path) -> Callable[..., Command]:
    """on_small_disk(script, run_dir, **keys): the command, with a stage of four steps from the tiny model's weights."""
    allowed = subprocess.run([*IN_A_NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    if allowed.returncode:
        pytest.skip(f"no mount in a user namespace here: {allowed.stderr.strip()}")

    def begin(script: str, run_dir: Path, **keys: Any) -> Command:
        data = {"generate": "rlreason.tasks.chains:texts", "args": {"num": 50, "seed": 1}}
        config = {"stage": "pretrain", "model": str(tiny_model), "data": data, "steps": 4, "tokens_per_step": 64}
        config |= {"context_tokens": 64, "learner": {"cpus": 0.5, "threads": 1, "lr": 1e-3}}
        path = tmp_path / "pretrain.yaml"
        path.write_text(yaml.safe_dump(config | keys))
        # A checkpoint takes 0.77 MB, so the second one does not fit.
        variables = {"RUN": str(run_dir), "CONFIG": str(path), "PYTHON": sys.executable, "SMALL": "1200k"}
        return start("-c", script, program=(*IN_A_NAMESPACE, "bash"), env=variables)

    return begin


def test_a_full_disk_costs_no_earlier_checkpoint_and_the_run_can_be_resumed(
    on_small_disk: Callable[..., Command], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run[1]*"  # no pattern: checkpoints are found again
    command = on_small_disk(FULL_OF_CHECKPOINTS, run_dir, checkpoints={"every": 2})
    status, _, errors = command.finish(600)
    assert status == 0, errors
    assert (run_dir / "first").read_text() == "status 1\n"
    assert errors.count("\n") == 1 and errors.startswith("failed: step 4: no checkpoint: "), errors
    assert re.search(r"\(0\.\d MB are free on that disk\)", errors) and "--resume to go on from step 2" in errors
    assert [folder.name for folder in (run_dir / "kept").iterdir()] == ["step-000002"]
    assert [row["step"] for row in read_lines(run_dir / "metrics.jsonl")] == [1, 2, 3, 4]
    assert any(row["event"] == "resume" and row["step"] == 2 for row in read_lines(run_dir / "events.jsonl"))
    command.assert_nothing_left()


@pytest.mark.long
def test_a_disk_without_room_for_samples_ends_in_one_line_and_a_report(
    on_small_disk: Callable[..., Command], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    held_out = {"share": 0.1, "prompts": ["1+1="], "continuation_tokens": 4}
    command = on_small_disk(NO_ROOM_FOR_SAMPLES, run_dir, held_out=held_out)
    status, _, errors = command.finish(600)
    assert (status, errors.count("\n")) == (1, 1), errors
    assert errors.startswith("failed: ") and "samples.jsonl" in errors and "No space left on device" in errors
    report = (run_dir / "report.html").read_text()
    assert "No space left on device" in report
    command.assert_nothing_left()
