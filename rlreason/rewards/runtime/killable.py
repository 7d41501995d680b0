"""A function in a warm child process that a deadline can really kill.

Waiting with a timeout leaves the work running, and signal.alarm fails off the main thread. Here the child gets
SIGKILL, and so does whatever it started, daemons too; a new child starts at the next call. Works from any thread,
under asyncio.to_thread and in Ray actors; calls on one instance run one after the other.

Not a sandbox: the function has this user's rights. Linux only. Does not retry, and does not bound the memory unless
told to.
"""

import atexit
import contextlib
import json
import os
import pickle
import queue
import re
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from rlreason.rewards.runtime.killable_child import ENDING_S, HEADER

MAX_REPLY_BYTES = 16 << 20
"""A child that answers more than this is treated as broken."""
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from rlreason.rewards.runtime.killable_child import main; main(int(sys.argv[2]))"
)
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"://[^/@\s]+:[^/@\s]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The function returned; `value` went through JSON."""

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """The deadline passed and the child was killed."""

    seconds: float
    at_load: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed:
    """The child went away, or broke the protocol; `detail` says how ("exit code 3", "signal SIGSEGV")."""

    detail: str
    at_load: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """The function raised, or could not be loaded."""

    error: str
    """Name of the exception's class."""
    message: str
    traceback: str
    at_load: bool = False


Result = Returned | TimedOut | Crashed | Raised


class KillableFunction:
    """Calls a function in a child process. Example: `KillableFunction("pkg.mod:fn", timeout_s=1.0).call(2)`.

    path: `FILE.py:FUNCTION` or `package.module:FUNCTION`, as `paths.find_function` reads it.
    factory_args: if given, the function is called once with them at start, and what it returns serves the calls.
    keep_environment: variables that the child sees although they look like secrets.
    """

    def __init__(
        self,
        path: str,
        *,
        timeout_s: float,
        factory_args: tuple[Any, ...] | None = None,
        memory_bytes: int | None = None,
        start_timeout_s: float = 60.0,
        keep_environment: Collection[str] = (),
    ) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self.start_timeout_s = start_timeout_s
        self._setup = {"path": path, "factory_args": factory_args, "memory_bytes": memory_bytes}
        self._keep_environment = tuple(keep_environment)
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner_pid = os.getpid()
        self._num_calls = 0
        _instances.add(self)

    @property
    def pid(self) -> int | None:
        """Of the child, None while there is none."""
        child = self._child
        return None if child is None else child.pid

    def start(self) -> TimedOut | Crashed | Raised | None:
        """Load the function now rather than at the first call. None if it is ready."""
        with self._lock:
            return self._ensure_child()

    def call(self, *args: Any, timeout_s: float | None = None) -> Result:
        """Run the function on `args`; the deadline counts from the moment a loaded child takes the call.

        Never raises for what the function does; arguments that cannot be pickled come back as `Raised`.
        """
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        with self._lock:
            failure = self._ensure_child()
            if failure is not None:
                return failure
            self._num_calls += 1
            try:
                body = pickle.dumps((self._num_calls, args), protocol=pickle.HIGHEST_PROTOCOL)
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                return Raised(error=type(error).__name__, message=str(error), traceback=f"arguments: {error}")
            reply = self._exchange(body, limit_s)
            if not isinstance(reply, dict):
                return reply
            if reply.get("kind") == "ok" and reply.get("id") == self._num_calls:
                return Returned(value=reply["value"])
            return self._failed(reply)

    def close(self) -> None:
        """Kill the child. A later call starts a new one."""
        with self._lock:
            self._kill()

    def _ensure_child(self) -> TimedOut | Crashed | Raised | None:
        if self._owner_pid != os.getpid():
            # After a fork the pipes belong to the parent: two writers would mix their calls.
            self._kill()
            self._owner_pid = os.getpid()
        if self._child is not None:
            return None
        self._child = start_process(_BOOT, keep=self._keep_environment)
        assert self._child.stdin is not None
        os.set_blocking(self._child.stdin.fileno(), False)
        reply = self._exchange(pickle.dumps(self._setup), self.start_timeout_s)
        if isinstance(reply, TimedOut):
            return TimedOut(seconds=reply.seconds, at_load=True)
        if isinstance(reply, Crashed):
            return Crashed(detail=reply.detail, at_load=True)
        if reply.get("kind") == "ready":
            return None
        failure = self._failed(reply)
        self._kill()
        if isinstance(failure, Crashed):
            return Crashed(detail=failure.detail, at_load=True)
        return Raised(error=failure.error, message=failure.message, traceback=failure.traceback, at_load=True)

    def _failed(self, reply: dict[str, Any]) -> Crashed | Raised:
        if reply.get("kind") != "raised":
            self._kill()
            return Crashed(detail="the child's answer broke the protocol")
        if reply.get("error") == "MemoryError":
            self._kill()  # what is left of an interpreter that ran out of memory is not to be relied on
        return Raised(error=str(reply["error"]), message=str(reply["message"]), traceback=str(reply["traceback"]))

    def _exchange(self, body: bytes, limit_s: float) -> dict[str, Any] | TimedOut | Crashed:
        """Send one message, read one. The child is gone unless a dict comes back."""
        deadline = time.monotonic() + limit_s
        try:
            self._send(HEADER.pack(len(body)) + body, deadline)
            (length,) = HEADER.unpack(self._receive(HEADER.size, deadline))
            if length > MAX_REPLY_BYTES:
                raise ValueError(f"answer of {length} bytes")
            reply = json.loads(self._receive(length, deadline))
            if not isinstance(reply, dict):
                raise ValueError("answer is no object")
            return reply
        except TimeoutError:
            self._kill()
            return TimedOut(seconds=limit_s)
        except (EOFError, OSError):
            assert self._child is not None
            ending = _how_it_ended(self._child.pid)
            self._kill()
            return Crashed(detail=ending)
        except ValueError as error:
            self._kill()
            return Crashed(detail=f"the child's answer broke the protocol: {error}")
        except BaseException:
            self._kill()  # an interrupt in mid-message: the pipe is out of step
            raise

    def _send(self, data: bytes, deadline: float) -> None:
        assert self._child is not None and self._child.stdin is not None
        fd, view = self._child.stdin.fileno(), memoryview(data)
        while view:
            self._wait(fd, select.POLLOUT, deadline)
            view = view[os.write(fd, view) :]

    def _receive(self, num_bytes: int, deadline: float) -> bytes:
        assert self._child is not None and self._child.stdout is not None
        fd, parts, missing = self._child.stdout.fileno(), [], num_bytes
        while missing:
            self._wait(fd, select.POLLIN, deadline)
            part = os.read(fd, min(missing, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        """Until fd is ready. TimeoutError at the deadline, EOFError if the child is dead."""
        assert self._child is not None
        poll = select.poll()
        poll.register(fd, event)
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            # In slices: a grandchild may hold the pipe open after the child itself has died.
            if poll.poll(min(left_s, 0.5) * 1000):
                return
            if os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                raise EOFError

    def _kill(self) -> None:
        """Ends the child with all that it started. A child inherited over a fork is only forgotten: it serves the
        parent.
        """
        child, self._child = self._child, None
        if child is None:
            return
        _close_pipes(child)
        if self._owner_pid != os.getpid():
            child.returncode = 0  # not ours to reap
            return
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(2 * ENDING_S)
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def child_environment(environment: Mapping[str, str], keep: Collection[str] = ()) -> dict[str, str]:
    """Without anything that looks like a secret: by name (KEY, TOKEN, SECRET, PASSW, CREDENTIAL), or a URL that
    holds a password; but with those named by `keep`."""
    return {
        name: value
        for name, value in environment.items()
        if name in keep or not (_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))
    }


def start_process(
    boot: str,
    *,
    stdin: int = subprocess.PIPE,
    stdout: int | None = subprocess.PIPE,
    keep: Collection[str] = (),
    **variables: str,
) -> "subprocess.Popen[bytes]":
    """A Python process in a session of its own that runs `boot` with this process's import path.

    Its arguments are that path, as JSON, and this process's number; `variables` join its scrubbed environment, in which
    those named by `keep` are left.
    """
    # The import path goes along, since Ray extends sys.path without touching PYTHONPATH.
    # -P: no implicit first entry, else a json.py in the working directory would be imported instead.
    path = json.dumps([entry or os.getcwd() for entry in sys.path])
    return _spawner.run(
        lambda: subprocess.Popen(
            [sys.executable, "-P", "-c", boot, path, str(os.getpid())],
            stdin=stdin,
            stdout=stdout,
            bufsize=0,
            env=child_environment(os.environ, keep) | variables,
            start_new_session=True,
        )
    )


def _how_it_ended(pid: int) -> str:
    """ "exit code 3" or "signal SIGSEGV" of a child whose pipe has closed; gives a dying one a second."""
    for _ in range(200):
        try:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return "reaped by another part of this process"
        if ended is not None and ended.si_code == os.CLD_EXITED:
            return f"exit code {ended.si_status}"
        if ended is not None:
            return f"signal {signal.Signals(ended.si_status).name}"
        time.sleep(0.005)
    return "closed its pipe"


def _close_pipes(child: "subprocess.Popen[bytes]") -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


_Start = Callable[[], "subprocess.Popen[bytes]"]


class _Spawner:
    """One daemon thread that starts all children. The parent-death signal is sent when the thread that forked
    ends, so a child started from a pool's thread would die with that thread, not with this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.orders: queue.SimpleQueue[tuple[_Start, Future[subprocess.Popen[bytes]]]] | None = None

    def run(self, start: _Start) -> "subprocess.Popen[bytes]":
        with self.lock:
            if self.orders is None:
                self.orders = queue.SimpleQueue()
                threading.Thread(target=self._run, args=(self.orders,), name="killable-spawner", daemon=True).start()
        order: Future[subprocess.Popen[bytes]] = Future()
        self.orders.put((start, order))
        return order.result()

    def _run(self, orders: "queue.SimpleQueue[tuple[_Start, Future[subprocess.Popen[bytes]]]]") -> None:
        while True:
            start, order = orders.get()
            try:
                order.set_result(start())
            except OSError as error:
                order.set_exception(error)


_instances: "weakref.WeakSet[KillableFunction]" = weakref.WeakSet()
_spawner = _Spawner()


def _after_fork() -> None:
    """The forked process has neither the spawner's thread nor the threads that held these locks."""
    global _spawner
    _spawner = _Spawner()
    for instance in _instances:
        instance._lock = threading.Lock()


@atexit.register
def _close_all() -> None:
    for instance in list(_instances):
        # A call that is still running elsewhere keeps its lock; the parent-death signal then ends its child.
        if instance._lock.acquire(timeout=0.1):
            instance._kill()
            instance._lock.release()


os.register_at_fork(after_in_child=_after_fork)
