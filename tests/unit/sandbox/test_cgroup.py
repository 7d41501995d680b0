"""A control group bounds what a zygote and its children take together."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlreason.sandbox import cgroup, languages
from rlreason.sandbox.cgroup import BASE_BYTES, Group, group_for
from rlreason.sandbox.host import Host
from rlreason.sandbox.pool import LEVELS, Sandbox, SandboxUnavailable
from rlreason.sandbox.zygote import MOST_TASKS

MEMORY_BYTES = 64 << 20
WAITS = "import sys; sys.stdin.readline(); "


@pytest.fixture
def waiting(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], Group]]:
    """A process that does `request.param` when it is told to, in a group of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITS + request.param], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        group = group_for(process.pid, 8)
        try:
            if group is None:
                pytest.skip("no control group may be made here")
            yield process, group
        finally:
            process.kill()
            process.wait()
            if group is not None:
                group.close()


@pytest.mark.parametrize(
    "waiting",
    [
        f"x = bytearray({4 * (MEMORY_BYTES + BASE_BYTES)})",
        f"import os; fd = os.memfd_create('x'); [os.write(fd, bytes(1 << 20)) for _ in range({BASE_BYTES >> 18})]",
    ],
    ids=["memory", "a file in memory"],
    indirect=True,
)
def test_what_takes_more_than_the_group_may_is_killed(waiting: tuple[subprocess.Popen[str], Group]) -> None:
    process, group = waiting
    group.limit(MEMORY_BYTES)
    assert group.num_killed() == 0
    process.communicate("go\n", timeout=60)
    assert process.returncode == -9 and group.num_killed() == 1


@pytest.mark.parametrize(
    "waiting",
    ["import os, time\ntry:\n while True: os.fork() or time.sleep(9)\nexcept BlockingIOError: print('no more')"],
    ids=["processes"],
    indirect=True,
)
def test_there_are_no_more_processes_than_the_group_may_have(waiting: tuple[subprocess.Popen[str], Group]) -> None:
    process, _ = waiting
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "no more\n"


@pytest.mark.parametrize("level", LEVELS)
def test_a_program_that_costs_the_zygote_its_life_has_failed_and_the_next_one_runs(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = Sandbox(level=level)  # type: ignore[arg-type]
    try:
        said = sandbox.start()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    try:
        if "a cgroup of its own" not in said:
            pytest.skip("no control group may be made here")
        # As if each process were within its own limit and all together above that of the group.
        monkeypatch.setattr(cgroup, "BASE_BYTES", -(900 << 20))
        ended = sandbox.script(b"x = bytearray(700 << 20)", b"", memory_bytes=1 << 30)
        assert ended.status == -9 and not ended.timed_out
        monkeypatch.undo()
        assert sandbox.script(b"print(1)", b"").outputs[0] == b"1\n"
    finally:
        sandbox.close()


HOARDS = b"""
#include <cstdlib>
#include <cstring>
#include <unistd.h>
int main() {
    usleep(1000000);
    for (;;) memset(malloc(1 << 20), 1, 1 << 20);
}
"""


@pytest.mark.parametrize("level", LEVELS)
def test_a_program_for_which_the_kernel_ends_the_zygote_is_wrong_in_all_its_tests(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not a failure of the sandbox, which a policy would not be charged for."""
    if languages.missing_tool(languages.LANGUAGES["cpp"]):
        pytest.skip("no C++ compiler is installed")
    sandbox = Sandbox(level=level)  # type: ignore[arg-type]
    folders: set[str] = set()

    def use(host: Host) -> list[int]:
        with languages.built(host, languages.LANGUAGES["cpp"], HOARDS, 1 << 30) as run:
            folders.update(host.folders)
            assert host.group is not None
            monkeypatch.setattr(cgroup, "BASE_BYTES", (128 << 20) - (1 << 30))
            members = host.group._limit.with_name("cgroup.procs")
            threading.Timer(0.4, offer, (members,)).start()
            return [run(b"", 10.0).status for _ in range(3)]

    def offer(members: Path) -> None:
        for pid in members.read_text().split():
            if "python" in Path(f"/proc/{pid}/cmdline").read_text():
                Path(f"/proc/{pid}/oom_score_adj").write_text("1000")

    try:
        if "a cgroup of its own" not in sandbox.start():
            pytest.skip("no control group may be made here")
        (before,) = sandbox._hosts
        assert sandbox.borrow(use) == [-9, -9, -9]
        assert before.is_gone and before not in sandbox._hosts
        assert folders and not any(Path(folder).exists() for folder in folders)
        monkeypatch.undo()
        assert sandbox.script(b"print(1)", b"").outputs[0] == b"1\n"
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    finally:
        sandbox.close()


def test_a_run_s_limit_leaves_room_for_the_zygote_and_for_a_judge() -> None:
    sandbox = Sandbox()
    try:
        if "a cgroup of its own" not in sandbox.start():
            pytest.skip("no control group may be made here")
        (host,) = sandbox._hosts
        assert host.group is not None
        sandbox.script(b"", b"", memory_bytes=MEMORY_BYTES)
        assert int(host.group._limit.read_text()) == MEMORY_BYTES + BASE_BYTES
        test = {"type": "assert", "code": "assert f() == 1"}
        sandbox.functions(b"def f(): return 1", [test], "f", memory_bytes=MEMORY_BYTES)
        assert int(host.group._limit.read_text()) == 2 * MEMORY_BYTES + BASE_BYTES
        (folder,) = {one for one in host.group._folders if (one / "pids.max").exists()}
        assert MOST_TASKS <= int((folder / "pids.max").read_text()) <= MOST_TASKS + 8
    finally:
        sandbox.close()


def host_of(folder: Path, *, cgroups: str, mounts: str) -> Path:
    """Files as the kernel has them under /proc."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text(cgroups)
    (folder / "proc/self/mountinfo").write_text(mounts)
    return folder / "proc"


def test_version_2_is_used_beside_the_own_group_where_it_is_delegated(tmp_path: Path) -> None:
    scope = tmp_path / "fs/user.slice/app.slice/run.scope"
    scope.mkdir(parents=True)
    (scope / "cgroup.subtree_control").write_text("")
    (scope.parent / "cgroup.subtree_control").write_text("memory pids\n")
    proc = host_of(
        tmp_path,
        cgroups="0::/user.slice/app.slice/run.scope\n",
        mounts=f"29 23 0:26 / {tmp_path}/fs rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
    )
    group = group_for(17, 9, proc=proc)
    assert group is not None
    group.limit(MEMORY_BYTES)
    (folder,) = scope.parent.glob("rlreason-*")
    files = {path.name: path.read_text() for path in folder.iterdir()}
    assert files == {"pids.max": "9", "cgroup.procs": "17", "memory.max": str(MEMORY_BYTES + BASE_BYTES)}


@pytest.mark.parametrize(
    ("cgroups", "mounts"),
    [
        ("0::/\n", "29 23 0:26 / {folder} rw - cgroup2 cgroup2 rw\n"),
        ("0::/../../other\n", "29 23 0:26 / {folder} rw - cgroup2 cgroup2 rw\n"),
        ("4:memory:/a\n3:pids:/a\n", "29 23 0:26 /b {folder} rw - cgroup cgroup rw,memory\n"),
        ("0::/\n", "29 23 0:26 / / rw - ext4 /dev/vda rw\n"),
    ],
    ids=["not delegated", "outside of what is mounted", "another container's", "not mounted"],
)
def test_there_is_none_where_none_may_be_made(cgroups: str, mounts: str, tmp_path: Path) -> None:
    assert group_for(17, 9, proc=host_of(tmp_path, cgroups=cgroups, mounts=mounts.format(folder=tmp_path))) is None
    assert {path.name for path in tmp_path.iterdir()} == {"proc"}


def test_what_a_killed_process_has_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "fs/own").mkdir(parents=True)
    (tmp_path / "fs/cgroup.subtree_control").write_text("memory pids")
    proc = host_of(tmp_path, cgroups="0::/own\n", mounts=f"29 23 0:26 / {tmp_path}/fs rw - cgroup2 cgroup2 rw\n")
    (proc / "40").mkdir()
    for number in (40, 41):
        (tmp_path / f"fs/rlreason-{number}-0").mkdir()
    group_for(17, 9, proc=proc)
    assert (tmp_path / "fs/rlreason-40-0").exists() and not (tmp_path / "fs/rlreason-41-0").exists()
