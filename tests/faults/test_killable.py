"""The deadline kills, crashes are typed, and nothing is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlreason.rewards.runtime.killable import Crashed, KillableFunction, Raised, Returned, TimedOut, child_environment

TARGETS = """
import os, subprocess, sys, time

def double(x):
    return 2 * x

def act(what):
    if what == "hang":
        while True: pass
    if what == "hang with a child":
        child = subprocess.Popen(["sleep", "60"])
        open(os.environ["PID_FILE"], "w").write(str(child.pid))
        time.sleep(60)
    if what in ("hang with a daemon", "exit with a daemon"):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                open(os.environ["PID_FILE"], "w").write(str(os.getpid()))
                time.sleep(60)
            os._exit(0)
        os.wait()
        while not os.path.exists(os.environ["PID_FILE"]):
            time.sleep(0.01)
        if what.startswith("exit"):
            os._exit(3)
        time.sleep(60)
    if what == "exit":
        os._exit(3)
    if what == "abort":
        os.abort()
    if what == "sys.exit":
        sys.exit("bye")
    if what == "memory":
        return len(bytearray(4 << 30))
    if what == "noise":
        print("x" * 100_000); os.write(1, b"noise" * 1000); sys.stdout.flush()
        return sys.stdin.read()
    if what == "fork" and os.fork() == 0:
        return "the copy"
    if what == "object":
        return object()
    if what == "environment":
        return sorted(os.environ)
    return what

def silent_exit(x):
    if os.fork() == 0:
        time.sleep(3)  # holds the pipe open
        os._exit(0)
    os._exit(5)
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    file = tmp_path / "targets.py"
    file.write_text(TARGETS)
    return file


@pytest.fixture
def act(target: Path) -> Iterator[KillableFunction]:
    function = KillableFunction(f"{target}:act", timeout_s=5.0, memory_bytes=1 << 30)
    yield function
    function.close()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_dead(pid: int) -> bool:
    for _ in range(100):
        if not is_alive(pid):
            return True
        time.sleep(0.02)
    return False


def test_returns_and_keeps_the_child_warm(act: KillableFunction) -> None:
    assert act.pid is None
    assert act.call([1, "a", None]) == Returned(value=[1, "a", None])
    pid = act.pid
    assert act.call(2) == Returned(value=2)
    assert act.pid == pid


def test_deadline_kills_the_process_and_its_children(
    act: KillableFunction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))
    assert act.start() is None
    pid = act.pid
    assert pid is not None
    began = time.monotonic()
    assert act.call("hang with a child", timeout_s=0.8) == TimedOut(seconds=0.8)
    assert time.monotonic() - began < 1.5
    assert act.pid is None
    assert wait_until_dead(pid)
    assert wait_until_dead(int((tmp_path / "pid").read_text()))
    assert act.call("again") == Returned(value="again")


def test_deadline_interrupts_a_busy_loop(act: KillableFunction) -> None:
    act.start()
    assert isinstance(act.call("hang", timeout_s=0.2), TimedOut)


@pytest.mark.parametrize(("what", "detail"), [("exit", "exit code 3"), ("abort", "signal SIGABRT")])
def test_crashes_are_typed(act: KillableFunction, what: str, detail: str) -> None:
    assert act.call(what) == Crashed(detail=detail)
    assert act.call("next") == Returned(value="next")


def test_a_child_killed_between_calls_is_replaced(act: KillableFunction) -> None:
    act.start()
    assert act.pid is not None
    served = Path(f"/proc/{act.pid}/task/{act.pid}/children").read_text().split()
    os.kill(act.pid, signal.SIGKILL)
    assert served and all(wait_until_dead(int(pid)) for pid in served)
    assert act.call(1) == Crashed(detail="signal SIGKILL")
    assert act.call(1) == Returned(value=1)


def test_a_grandchild_that_holds_the_pipe_does_not_hide_the_crash(target: Path) -> None:
    function = KillableFunction(f"{target}:silent_exit", timeout_s=10.0)
    began = time.monotonic()
    assert function.call(0) == Crashed(detail="exit code 5")
    assert time.monotonic() - began < 2.0
    function.close()


def test_memory_limit(act: KillableFunction) -> None:
    result = act.call("memory")
    assert isinstance(result, Raised) and result.error == "MemoryError"
    assert act.pid is None, "an interpreter that ran out of memory is not used again"


def test_exceptions_come_back_with_their_traceback(act: KillableFunction) -> None:
    for what, error in (("sys.exit", "SystemExit"), ("object", "TypeError")):
        result = act.call(what)
        assert isinstance(result, Raised) and result.error == error and not result.at_load
        assert "Traceback" in result.traceback
    assert isinstance(act.call(lambda: 0), Raised), "arguments that cannot be pickled"
    assert act.call(1) == Returned(value=1)


def test_stdout_stdin_and_forks_do_not_touch_the_protocol(act: KillableFunction) -> None:
    assert act.call("noise") == Returned(value="")
    assert act.call("fork") == Returned(value="fork")
    assert act.call("x" * 1_000_000) == Returned(value="x" * 1_000_000)


def test_load_failures_are_told_apart(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import os\nos._exit(7)\n")
    assert KillableFunction(f"{bad}:f", timeout_s=1.0).call() == Crashed(detail="exit code 7", at_load=True)
    bad.write_text("import time\ntime.sleep(60)\n")
    slow = KillableFunction(f"{bad}:f", timeout_s=1.0, start_timeout_s=0.5)
    assert slow.start() == TimedOut(seconds=0.5, at_load=True)
    missing = KillableFunction("json:dumsp", timeout_s=1.0).start()
    assert isinstance(missing, Raised) and missing.at_load and "dumps" in missing.message


def test_threads_share_one_instance(target: Path) -> None:
    function = KillableFunction(f"{target}:double", timeout_s=5.0)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(function.call, range(200))) == [Returned(value=2 * x) for x in range(200)]
    function.close()


def test_child_outlives_the_thread_that_started_it(target: Path) -> None:
    function = KillableFunction(f"{target}:double", timeout_s=5.0)
    thread = threading.Thread(target=function.start)
    thread.start()
    thread.join()
    pid = function.pid
    time.sleep(0.2)
    assert function.call(4) == Returned(value=8)
    assert function.pid == pid
    function.close()


def test_asyncio(act: KillableFunction) -> None:
    async def many() -> list[object]:
        return await asyncio.gather(*(asyncio.to_thread(act.call, i) for i in range(20)))

    assert asyncio.run(many()) == [Returned(value=i) for i in range(20)]


@pytest.mark.parametrize("what", ["hang with a daemon", "exit with a daemon"])
def test_no_daemon_of_the_function_survives(
    act: KillableFunction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It has left the session, and its parent has ended."""
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))
    result = act.call(what, timeout_s=1.0)
    assert result == (TimedOut(seconds=1.0) if what.startswith("hang") else Crashed(detail="exit code 3"))
    assert wait_until_dead(int((tmp_path / "pid").read_text()))


def test_environment_is_scrubbed(act: KillableFunction, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "hf_token", "MY_SECRET", "DB_PASSWORD"):
        monkeypatch.setenv(name, "x")
    result = act.call("environment")
    assert isinstance(result, Returned)
    assert not {"OPENAI_API_KEY", "hf_token", "MY_SECRET", "DB_PASSWORD"} & set(result.value)
    assert "PATH" in result.value
    assert child_environment({"URL": "https://me:pw@host/", "LANG": "C"}) == {"LANG": "C"}


def test_no_descriptors_or_processes_are_left(target: Path) -> None:
    function = KillableFunction(f"{target}:act", timeout_s=5.0)
    function.call(0)
    function.close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        function.call(0)
        function.call("hang", timeout_s=0.05)
        function.call("exit")
        function.close()
    assert len(os.listdir("/proc/self/fd")) == before
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if children.exists():
        assert all(is_alive(int(pid)) for pid in children.read_text().split()), "a zombie is left"


@pytest.mark.parametrize("ending", ["os.kill(os.getpid(), 9)", "sys.exit()"])
def test_no_child_outlives_its_parent(target: Path, ending: str) -> None:
    code = f"""
import os, sys, threading
from rlreason.rewards.runtime.killable import KillableFunction
function = KillableFunction({str(target)!r} + ":act", timeout_s=60)
function.start()
print(function.pid, flush=True)
threading.Thread(target=function.call, args=("hang",), daemon=True).start()
{ending}
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert wait_until_dead(int(ended.stdout)), ended.stderr


def test_a_forked_process_gets_its_own_child(act: KillableFunction) -> None:
    act.start()
    read_end, write_end = os.pipe()
    forked = os.fork()
    if forked == 0:
        result = act.call("forked")
        os.write(write_end, b"ok" if result == Returned(value="forked") else b"no")
        act.close()
        os._exit(0)
    os.close(write_end)
    assert os.read(read_end, 2) == b"ok"
    os.waitpid(forked, 0)
    os.close(read_end)
    assert act.call("parent") == Returned(value="parent")
