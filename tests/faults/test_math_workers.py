"""The comparing processes: killed, replaced in milliseconds, shared by threads, gone with their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlreason.rewards.math import prepare
from rlreason.rewards.math import workers as math_workers
from rlreason.rewards.runtime.killable import Crashed, Result, Returned, TimedOut
from rlreason.sandbox.syscalls import landlock_abi

ENDLESS = r"\sin(\sin(\sin(\sin(\sin(\sin(\sin(\sin(" * 8 + "x" + "))))))))" * 8
"""More than any limit here; the guards would refuse it before it came to a worker."""


@pytest.fixture(scope="module")
def pool() -> Iterator[math_workers.Pool]:
    pool = math_workers.Pool()
    yield pool
    pool.close()


def ask(pool: math_workers.Pool, answer: str = "1+x", timeout_s: float = 20.0) -> Result:
    return pool.compare("x+1", answer, math_workers.Budget(left_s=timeout_s))


def worker_pids(pool: math_workers.Pool) -> list[int]:
    assert pool.pid is not None
    template = pool.pid
    return [int(pid) for pid in Path(f"/proc/{template}/task/{template}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, f"still alive: {[pid for pid in pids if alive(pid)]}"
        time.sleep(0.01)


def test_verdicts(pool: math_workers.Pool) -> None:
    assert ask(pool) == Returned(value="equal")
    assert ask(pool, "x+2") == Returned(value="different")
    assert ask(pool, "][") == Returned(value="answer_unread")
    assert pool.compare("][", "x", math_workers.Budget(left_s=20.0)) == Returned(value="gold_unread")


def test_processor_time_is_bounded_and_the_next_check_pays_no_import(pool: math_workers.Pool) -> None:
    ask(pool)
    assert isinstance(ask(pool, ENDLESS), TimedOut)
    assert worker_pids(pool) == [], "the worker is killed and reaped"
    began = time.monotonic()
    assert ask(pool) == Returned(value="equal")
    assert time.monotonic() - began < 0.5
    assert len(worker_pids(pool)) == 1


def test_a_short_deadline_kills_too(pool: math_workers.Pool) -> None:
    ask(pool)
    began = time.monotonic()
    assert isinstance(ask(pool, ENDLESS, timeout_s=0.2), TimedOut)
    assert time.monotonic() - began < 0.7


def test_wall_time_is_bounded_where_no_processor_time_is_spent(pool: math_workers.Pool) -> None:
    ask(pool)
    (pid,) = worker_pids(pool)
    os.kill(pid, signal.SIGSTOP)
    assert ask(pool, timeout_s=0.3) == TimedOut(seconds=0.3)
    assert ask(pool) == Returned(value="equal")


@pytest.mark.parametrize("victim", ["worker", "template"])
def test_what_died_between_checks_is_replaced(pool: math_workers.Pool, victim: str) -> None:
    ask(pool)
    assert pool.pid is not None
    pids = [pool.pid, *worker_pids(pool)]
    os.kill(pids[0] if victim == "template" else pids[1], signal.SIGKILL)
    wait_until_gone(pids if victim == "template" else pids[1:])
    assert ask(pool) == Returned(value="equal")


@pytest.mark.parametrize("victim", ["worker", "template"])
def test_death_during_a_check_is_told(pool: math_workers.Pool, victim: str) -> None:
    ask(pool)
    assert pool.pid is not None
    pid = pool.pid if victim == "template" else worker_pids(pool)[0]
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    result = ask(pool, ENDLESS)
    assert isinstance(result, Crashed) and ("SIGKILL" in result.detail or "template" in result.detail), result
    assert ask(pool) == Returned(value="equal")


def test_waiting_for_a_worker_is_not_charged(pool: math_workers.Pool) -> None:
    ask(pool)
    budget = math_workers.Budget(left_s=20.0)
    busy = [threading.Thread(target=ask, args=(pool, ENDLESS)) for _ in os.sched_getaffinity(0)]
    for thread in busy:
        thread.start()
    time.sleep(0.1)
    assert pool.compare("x+1", "1+x", budget) == Returned(value="equal")
    for thread in busy:
        thread.join()
    assert budget.left_s > 19.5, "the others took more than half a second"


def test_threads_share_the_workers(pool: math_workers.Pool) -> None:
    results: list[Result] = []

    def check(n: int) -> None:
        answer = ENDLESS if n % 4 == 3 else f"x+{n % 4}"
        results.append(ask(pool, answer, timeout_s=0.2 if answer == ENDLESS else 20.0))

    threads = [threading.Thread(target=check, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = [r.value if isinstance(r, Returned) else type(r).__name__ for r in results]
    assert sorted(kinds) == ["TimedOut"] * 4 + ["different"] * 8 + ["equal"] * 4
    assert len(worker_pids(pool)) <= len(os.sched_getaffinity(0))


def test_a_worker_ends_after_its_number_of_checks(pool: math_workers.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "max_calls", 3)
    pool.close()
    seen = set()
    for _ in range(7):
        assert ask(pool) == Returned(value="equal")
        seen |= set(worker_pids(pool))
    assert len(seen) == 3 and len(worker_pids(pool)) == 1


def test_a_worker_is_confined(pool: math_workers.Pool) -> None:
    ask(pool)
    for pid in worker_pids(pool):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")


def test_the_confinement_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = math_workers.Pool()
    try:
        assert pool.landlock() == landlock_abi() > 0
        assert len(worker_pids(pool)) == 1
        assert ask(pool) == Returned(value="equal")
        assert len(worker_pids(pool)) == 1, "the worker that answered stays"
    finally:
        pool.close()
    for abi, told in ((4, "Landlock 4, seccomp"), (0, "a memory limit alone")):
        monkeypatch.setattr(math_workers, "landlock", lambda abi=abi: abi)
        assert told in prepare(timeout_s=2.0)


def test_a_reader_that_cannot_be_confined_says_so() -> None:
    """A child, since what it sets holds for good; the kernel plays one without Landlock."""
    code = """
from rlreason.sandbox import confine
confine.sc.landlock_abi = lambda: 0
assert confine.confine_reader(["/usr"], 1 << 32) == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_rights_and_memory_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "s3cret-value")
    pool = math_workers.Pool()
    ask(pool)
    (pid,) = worker_pids(pool)
    assert b"s3cret-value" not in Path(f"/proc/{pid}/environ").read_bytes()
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert str(math_workers.MEMORY_BYTES) in next(line for line in limits.splitlines() if "address space" in line)
    kinds = [os.readlink(fd).partition(":")[0] for fd in Path(f"/proc/{pid}/fd").iterdir() if int(fd.name) > 2]
    assert kinds == ["pipe", "pipe"], "a worker has its own pipes, and not the fork server's socket"
    pool.close()
    wait_until_gone([pid])


PARENT = """
import os, sys, threading, time
from rlreason.rewards.math import workers as math_workers
from rlreason.rewards.math import verify
assert verify(r"\\boxed{1+x}", "x+1", timeout_s=20.0).value == 1.0
template = math_workers._pool.pid
print(template, *open(f"/proc/{template}/task/{template}/children").read().split(), flush=True)
if sys.argv[1] == "exit":
    sys.exit()
if sys.argv[1] == "busy":
    math_workers.compare("x", sys.argv[2], math_workers.Budget(left_s=60.0))
time.sleep(60)
"""


@pytest.mark.parametrize("ending", ["exit", "idle", "busy"])
def test_nothing_outlives_the_parent(ending: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, ending, ENDLESS], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    if ending != "exit":
        time.sleep(0.2)
        parent.kill()
    parent.wait(20)
    parent.stdout.close()
    wait_until_gone(pids)


def test_a_forked_process_gets_its_own_workers() -> None:
    code = """
import os
from rlreason.rewards.math import verify
assert verify(r"\\boxed{1+x}", "x+1").value == 1.0
pid = os.fork()
if pid == 0:
    os._exit(0 if verify(r"\\boxed{2+x}", "x+2").value == 1.0 else 1)
assert verify(r"\\boxed{3+x}", "x+3").value == 1.0
assert os.waitpid(pid, 0)[1] == 0
assert verify(r"\\boxed{4+x}", "x+4").value == 1.0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
