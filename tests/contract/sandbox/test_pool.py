"""The pool: what it refuses, what it repeats, and that nothing stays behind."""

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlreason.sandbox import host as host_module
from rlreason.sandbox.host import Host, Unavailable, pythons
from rlreason.sandbox.pool import LEVELS, Sandbox, SandboxError, SandboxUnavailable
from rlreason.sandbox.probes import self_test
from rlreason.sandbox.syscalls import landlock_abi

ROOT = Path(__file__).resolve().parents[3]
SLEEP = b"import time\ntime.sleep(30)"


def children(pid: int) -> set[int]:
    """All below it."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


def gone(pids: set[int], within_s: float) -> bool:
    """A zombie that its new parent has not reaped yet counts as gone."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(_alive(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def usable_python(level: str) -> str:
    """As the pool finds it."""
    opened = Sandbox(level=level)  # type: ignore[arg-type]
    try:
        opened.start()
        assert opened._chosen is not None
        return opened._chosen[1]
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    finally:
        opened.close()


def test_a_level_that_no_interpreter_gives_is_refused_with_its_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_base_executable", "/nowhere/python")
    monkeypatch.setattr("rlreason.sandbox.pool.pythons", lambda: pythons()[:1])
    with pytest.raises(SandboxUnavailable, match="landlock with /nowhere/python: .* does not start: .*No such file"):
        Sandbox().start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's sandbox has a user of its own")
def test_a_package_that_the_sandboxs_user_may_not_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seen_by_root.py").write_text("")
    tmp_path.chmod(0o700)
    monkeypatch.syspath_prepend(tmp_path)
    usable_python("landlock")
    refused = f"package seen_by_root cannot be imported: the sandbox's user may not read {tmp_path}"
    with pytest.raises(SandboxUnavailable, match=re.escape(refused)):
        Sandbox(level="landlock", packages=("seen_by_root",)).start()


def test_a_zygote_killed_in_the_middle_is_replaced_and_the_run_repeated(sandbox: Sandbox) -> None:
    sandbox.script(b"", b"")
    (zygote,) = {host.pid for host in sandbox._hosts}
    threading.Timer(0.3, os.kill, (zygote, signal.SIGKILL)).start()
    ended = sandbox.script(b"import time\ntime.sleep(0.6)\nprint(7)", b"")
    assert ended.outputs[0] == b"7\n" and not ended.timed_out
    assert zygote not in {host.pid for host in sandbox._hosts}
    assert sandbox.script(b"print(8)", b"").outputs[0] == b"8\n"


def test_a_zygote_killed_while_idle_is_replaced(sandbox: Sandbox) -> None:
    sandbox.script(b"", b"")
    for host in list(sandbox._hosts):
        os.kill(host.pid, signal.SIGKILL)
    assert sandbox.script(b"print(8)", b"").outputs[0] == b"8\n"


def test_what_is_killed_each_time_is_an_error_and_no_verdict(sandbox: Sandbox) -> None:
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.05):
            for host in list(sandbox._hosts):
                os.kill(host.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(SandboxError):
            sandbox.script(SLEEP, b"")
    finally:
        stop.set()
        killer.join()
    assert sandbox.script(b"print(8)", b"").outputs[0] == b"8\n"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("forks", [False, True], ids=["alone", "with a forked child"])
def test_nothing_outlives_a_parent_that_is_killed(level: str, forks: bool) -> None:
    usable_python(level)
    program = (
        "import os, sys, time\nfrom rlreason.sandbox.pool import Sandbox\n"
        f"s = Sandbox(level={level!r})\ns.start()\n"
        f"if {forks} and os.fork() == 0: time.sleep(30); os._exit(0)\n"
        "print(os.getpid(), flush=True)\ns.script(b'import time; time.sleep(30)', b'', timeout_s=30)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdout.readline()
    time.sleep(0.3)
    forked = {
        pid
        for pid in children(parent.pid)
        if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(program.encode() + b"\0")
    }
    below = children(parent.pid) - forked
    assert len(below) >= 2 and len(forked) == forks
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        assert gone(below, 2.0)
    finally:
        for pid in forked:
            os.kill(pid, signal.SIGKILL)


def test_a_forked_child_has_zygotes_of_its_own(sandbox: Sandbox) -> None:
    sandbox.script(b"", b"")
    before = {host.pid for host in sandbox._hosts}
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = sandbox.script(b"print(5)", b"").outputs[0]
        os.write(write, said if not before & {host.pid for host in sandbox._hosts} else b"shared")
        sandbox.close()
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"5\n"
    os.close(read)
    assert sandbox.script(b"print(6)", b"").outputs[0] == b"6\n"
    assert {host.pid for host in sandbox._hosts} == before


def test_threads_share_a_sandbox(sandbox: Sandbox) -> None:
    def run(number: int) -> bool:
        return sandbox.script(b"print(int(input()) * 2)", b"%d" % number).outputs[0] == b"%d\n" % (2 * number)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(run, range(160)))


@pytest.mark.parametrize("level", LEVELS)
def test_a_closed_sandbox_leaves_no_process_and_no_descriptor(level: str) -> None:
    usable_python(level)
    before, below = len(os.listdir("/proc/self/fd")), children(os.getpid())
    opened = Sandbox(level=level)  # type: ignore[arg-type]
    test = [{"type": "assert", "code": "assert f(1) == 1", "timeout_s": 5.0}]
    opened.script(b"", b"")
    during = len(os.listdir("/proc/self/fd"))
    for _ in range(60):
        opened.script(b"print(1)", b"")
        opened.functions(b"def f(x): return x", test, "f")
    assert len(os.listdir("/proc/self/fd")) <= during
    opened.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert gone(children(os.getpid()) - below, 2.0)


def test_descriptors_with_large_numbers(sandbox: Sandbox) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limits[1]), limits[1]))
    opened: list[int] = []
    sandbox.close()
    try:
        opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
        assert sandbox.script(b"print(8)", b"").outputs[0] == b"8\n"
    finally:
        for fd in opened:
            os.close(fd)
        sandbox.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("abi", [1, 2, 3, 4, 5, 6])
def test_an_older_landlock_passes_the_self_test(abi: int) -> None:
    if landlock_abi() < abi:
        pytest.skip(f"the kernel has Landlock {landlock_abi()}")
    host = Host("landlock", usable_python("landlock"), abi=abi)
    try:
        assert host.abi == abi
        self_test(host)
    finally:
        host.close()


HOLES = {
    "Landlock": ("    sc.landlock_restrict(ruleset)\n", "", "read a file"),
    "seccomp": ("    sc.install_filter(", "    (", "start a process"),
    "network": ('"socket", "connect"', '"bind"', "send by UDP"),
    "modes": ('"chmod", "fchmod", "fchmodat", ', "", "change a file's mode"),
    # Where there is a control group, the kernel ends the program in the middle.
    "memory": ("limits.memory_bytes),", "1 << 40),", "take twice the memory|did not come to its end"),
    "processes": ('all_of("clone", 0, _CLONE_THREAD, _CLONE_FILES)', "pass", "start a process"),
    "signals": ('for name in ("kill", "tgkill"):', "for name in ():", "signal"),
    "parent's death": ("sc.PR_SET_PDEATHSIG, sc", "sc", "outlive the parent"),
    "datagrams": ("(_JSET, 0, 1, _NOT_STREAM)", "(_JSET, 0, 1, 0)", "send to a named socket"),
    "buffers": ('"setsockopt", ', "", "enlarge a buffer"),
    "links": ('"readlink", "readlinkat", ', "", "follow a link"),
    "host's name": ("*_HOST_NAME]", "]", "name the host"),
    "watching": ('"inotify_init", ', "", "watch a folder"),
    "owned pipes": ('only("fcntl"', 'only("nothing"', "send signals through a pipe"),
    "other processes": ("for name in _OF_A_PROCESS:", "for name in ():", "limit the parent, move the parent"),
    "namespaces": ('"unshare", ', "", "make a namespace"),
    "right programs": (
        "(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSED)]",
        "(_RETURN, 0, 0, _KILL), (_RETURN, 0, 0, _REFUSED)]",
        "could not be confined",
    ),
}


@pytest.mark.parametrize(("text", "instead", "found"), HOLES.values(), ids=HOLES)
def test_the_self_test_finds_a_hole(text: str, instead: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    python = usable_python("landlock")
    sources = dict(host_module.SOURCES)
    assert sources["confine"].count(text) == 1
    sources["confine"] = sources["confine"].replace(text, instead)
    monkeypatch.setattr(host_module, "SOURCES", list(sources.items()))
    host = Host("landlock", python)
    try:
        with pytest.raises((Unavailable, host_module.Lost), match=found):
            self_test(host)
    finally:
        host.close()


def test_a_run_cut_off_before_it_began_is_out_of_time_and_no_failure(sandbox: Sandbox) -> None:
    for timeout_s in (0.0, 0.0005, 0.001, 0.002):
        ended = sandbox.script(b"while True: pass", b"", timeout_s=timeout_s)
        assert ended.timed_out
        test = {"type": "assert", "code": "assert f()", "timeout_s": timeout_s}
        ended, results = sandbox.functions(b"while True: pass", [test], None, timeout_s=timeout_s)
        assert results[-1][0] == "timeout"


BESIDE_MANY_THREADS = """
import os, threading
from rlreason.sandbox.pool import Sandbox
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(1000, 1000, 1000)
    os.setresuid(1000, 1000, 1000)
sandbox = Sandbox(level="landlock")
sandbox.start()
stop = threading.Event()
threading.stack_size(32768)
for _ in range(1600):
    threading.Thread(target=stop.wait, daemon=True).start()
COUNT = b'''
import os, threading, time
threading.stack_size(32768)
started = 0
try:
    while started < int(input()):
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        started += 1
except RuntimeError: pass
print(started, flush=True)
os._exit(0)
'''
for wanted in (8, 4000):
    print(sandbox.script(COUNT.replace(b"int(input())", b"%d" % wanted), b"").outputs[0].decode().strip())
stop.set()
"""


def test_threads_of_this_user_take_no_place_and_give_none() -> None:
    """They were started after the sandbox, which counts them anew for each run."""
    words = [sys.executable, "-c", BESIDE_MANY_THREADS]
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=path, cwd="/")
    few, many = map(int, done.stdout.split())
    assert few == 8, "a right program is right beside them"
    assert 8 <= many <= 64, "and a wrong one has no more than its own"
