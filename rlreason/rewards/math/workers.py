"""Compares two answers with sympy in worker processes that can be killed; see `template` for their side.

A worker that a limit ended is replaced by a fork of the template, in milliseconds and without another import of
sympy. Any number of threads may call; each processor has at most one worker. Nothing outlives this process, however
it ends. Linux only. Does not retry: what failed is told as a typed result.
"""

import atexit
import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Any

from rlreason.rewards.math.template import END, FORK, ORDER, REPLY
from rlreason.rewards.runtime.killable import Crashed, Raised, Result, Returned, TimedOut, start_process
from rlreason.sandbox import codec

CPU_LIMIT_S = 0.8
"""Processor time of one comparison. Not wall time: a verdict must not depend on how busy the machine is."""
MEMORY_BYTES = 1 << 30
"""Address space of one worker."""
MAX_CALLS = 1000
"""A worker is replaced after as many comparisons: sympy's caches grow, and a poisoned state ends there."""
MIN_TIMEOUT_S = 0.01
START_TIMEOUT_S = 60.0
FORK_TIMEOUT_S = 10.0
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from rlreason.rewards.math.template import main; main(int(sys.argv[2]))"
)


@dataclass(slots=True)
class Budget:
    """What one check may still take in workers; waiting for a free one costs nothing. Example: Budget(left_s=5.0)."""

    left_s: float


class Worker:
    """One forked process and this side of its socket."""

    def __init__(self, pid: int, channel: socket.socket, template: "Template") -> None:
        self.pid = pid
        self.num_calls = 0
        self._channel = channel
        channel.setblocking(False)  # a stuck worker must not hold up a send
        self._template = template

    @property
    def usable(self) -> bool:
        """False once it has ended, while nobody was asking, or has served its number of calls."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        return self.num_calls < MAX_CALLS and not poll.poll(0)

    def compare(self, gold: str, answer: str, timeout_s: float) -> Result:
        """The worker is gone unless the result is Returned or Raised."""
        self.num_calls += 1
        deadline = time.monotonic() + timeout_s
        cpu_s = min(CPU_LIMIT_S, timeout_s)
        try:
            reply = self.ask({"gold": gold, "answer": answer, "cpu_s": cpu_s}, deadline)
            return Returned(value=reply["verdict"]) if "verdict" in reply else _raised(str(reply["error"]))
        except TimeoutError:
            self.end()
            return TimedOut(seconds=timeout_s)
        except (EOFError, OSError):
            status = self.end()
            if status is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF:
                return TimedOut(seconds=cpu_s)
            return Crashed(detail="with the template" if status is None else _how(status))
        except (ValueError, KeyError) as error:
            self.end()
            return Crashed(detail=f"the worker's answer broke the protocol: {error}")
        except BaseException:
            self.end()  # an interrupt in mid-message: the socket is out of step
            raise

    def end(self) -> int | None:
        """Kill and reap. Its wait status; None if the template is gone, which took the worker with it."""
        self._channel.close()
        return self._template.end_worker(self.pid)

    def forget(self) -> None:
        """After a fork of this process: the socket is a copy, and the worker serves the parent."""
        self._channel.close()

    def ask(self, message: dict[str, Any], deadline: float) -> dict[str, Any]:
        codec.send(self._channel.fileno(), message)
        reply = codec.receive(self._channel.fileno(), deadline)
        if not isinstance(reply, dict):
            raise ValueError("no object")
        return reply


class Template:
    """The process that forks the workers. Raises OSError (TimeoutError is one) where it does not start."""

    def __init__(self) -> None:
        self._control, far_end = socket.socketpair()
        self._lock = threading.Lock()
        try:
            # Sets and dictionaries in a fixed order: sympy's results must not change from run to run.
            self._process: subprocess.Popen[bytes] = start_process(
                _BOOT, stdin=far_end.fileno(), stdout=None, PYTHONHASHSEED="0"
            )
        finally:
            far_end.close()
        self.is_alive = True
        try:
            self._reply(START_TIMEOUT_S)
        except OSError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self) -> Worker:
        """OSError if the template has died."""
        near, far = socket.socketpair()
        try:
            with self._lock:
                socket.send_fds(self._control, [ORDER.pack(FORK, MEMORY_BYTES)], [far.fileno()])
                return Worker(self._reply(FORK_TIMEOUT_S), near, self)
        except BaseException:
            near.close()
            self.close()
            raise
        finally:
            far.close()

    def end_worker(self, pid: int) -> int | None:
        try:
            with self._lock:
                self._control.sendall(ORDER.pack(END, pid))
                return self._reply(FORK_TIMEOUT_S)
        except OSError:
            self.close()
            return None

    def close(self) -> None:
        """Kill the process, and with it by their parent-death signal all its workers."""
        self.is_alive = False
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def forget(self) -> None:
        """After a fork of this process: the descriptors are copies, and the template serves the parent."""
        self._control.close()
        self._process.returncode = 0

    def _reply(self, timeout_s: float) -> int:
        self._control.settimeout(timeout_s)
        data = self._control.recv(REPLY.size, socket.MSG_WAITALL)
        if len(data) < REPLY.size:
            raise ConnectionError("the template of the comparing processes has died")
        return int(REPLY.unpack(data)[0])


class Pool:
    """The template and its workers. Nothing is started before the first comparison."""

    def __init__(self) -> None:
        self.template: Template | None = None
        self._start_lock = threading.Lock()
        self._idle: list[Worker] = []
        self._slots = threading.BoundedSemaphore(len(os.sched_getaffinity(0)))

    def compare(self, gold: str, answer: str, budget: Budget) -> Result:
        """`Returned(value=child.Comparison)`; charges the budget for the time that a worker takes."""
        with self._slots:
            try:
                worker = self._take()
            except OSError as error:
                return Crashed(detail=f"could not start: {error}", at_load=True)
            began = time.monotonic()
            result = worker.compare(gold, answer, max(MIN_TIMEOUT_S, budget.left_s))
            budget.left_s -= time.monotonic() - began
            if isinstance(result, Returned | Raised):
                self._idle.append(worker)
            return result

    def landlock(self) -> int:
        """Starts a worker. The version of Landlock that confines it; 0: its memory is limited and nothing else."""
        with self._slots:
            worker = self._take()
            try:
                abi = int(worker.ask({}, time.monotonic() + FORK_TIMEOUT_S)["abi"])
            except BaseException:
                worker.end()
                raise
            self._idle.append(worker)
            return abi

    def close(self) -> None:
        """End all processes; the next comparison starts anew."""
        template, self.template = self.template, None
        self._idle.clear()
        if template is not None:
            template.close()

    def forget(self) -> None:
        """In a forked process: let go of what belongs to the parent."""
        for worker in self._idle:
            worker.forget()
        if self.template is not None:
            self.template.forget()

    def _take(self) -> Worker:
        while True:
            try:
                worker = self._idle.pop()
            except IndexError:
                break
            if worker.usable:
                return worker
            worker.end()
        with self._start_lock:
            if self.template is None or not self.template.is_alive:
                self.template = Template()
            template = self.template
        return template.fork()


def compare(gold: str, answer: str, budget: Budget) -> Result:
    """`Pool.compare` of the one pool of this process."""
    return _pool.compare(gold, answer, budget)


def landlock() -> int:
    """`Pool.landlock` of the one pool of this process."""
    return _pool.landlock()


def _raised(text: str) -> Raised:
    name, _, message = text.partition(": ")
    return Raised(error=name, message=message, traceback=text)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"


_pool = Pool()


def _after_fork() -> None:
    global _pool
    _pool.forget()
    _pool = Pool()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _pool.close())
