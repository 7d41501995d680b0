"""A function in warm worker processes that a deadline can really kill.

Waiting with a timeout leaves the work running, and signal.alarm fails off the main thread. Here the worker gets
SIGKILL, and so does whatever it started, daemons too; a new one starts at the next call. Works from any thread,
under asyncio.to_thread and in Ray actors. Nothing outlives this process, however it ends.

A user's function is not sandboxed: it has this user's rights. Linux only. Does not retry, and does not bound the memory
unless told to.
"""

import atexit
import io
import json
import os
import pickle
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from rlreason.rewards.runtime.killable_child import ENDING_S, NUMBER, Setup
from rlreason.sandbox import framing

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from rlreason.rewards.runtime.killable_child import main; main()"
)
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"://[^/@\s]+:[^/@\s]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The function returned; `value` went through JSON."""

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """The deadline passed and the worker was killed."""

    seconds: float
    at_load: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed:
    """The worker went away, or broke the protocol; `detail` says how ("exit code 3", "signal SIGSEGV")."""

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


Failure = TimedOut | Crashed | Raised
Result = Returned | Failure


class KillableFunction:
    """Calls a function in worker processes. Example: `KillableFunction("pkg.mod:fn", timeout_s=1.0).call(2)`.

    path, factory_args, memory_bytes, is_trusted: as `killable_child.Setup` has them. A trusted function's fork server
    outlives its workers, so that a new one takes milliseconds; a user's ends with its worker.
    timeout_s: of a call that names none.
    keep_environment: variables that the function sees although they look like secrets.
    num_workers: so many calls run side by side; more wait. max_calls: a trusted worker is replaced after as many.
    """

    def __init__(
        self,
        path: str,
        *,
        timeout_s: float = 5.0,
        factory_args: tuple[Any, ...] | None = None,
        memory_bytes: int | None = None,
        is_trusted: bool = False,
        start_timeout_s: float = 60.0,
        keep_environment: Collection[str] = (),
        num_workers: int = 1,
        max_calls: int = sys.maxsize,
    ) -> None:
        self.timeout_s = timeout_s
        self.start_timeout_s = start_timeout_s
        self.max_calls = max_calls
        self._setup = Setup(path=path, factory_args=factory_args, memory_bytes=memory_bytes, is_trusted=is_trusted)
        self._keep_environment = tuple(keep_environment)
        self._num_workers = num_workers
        self._begin()
        _instances.add(self)

    def _begin(self) -> None:
        self._server: ForkServer | None = None
        self._idle: list[Worker] = []
        self._lock = threading.Lock()
        self._places = threading.Semaphore(self._num_workers)

    @property
    def pid(self) -> int | None:
        """The fork server's; None while there is none."""
        server = self._server
        return None if server is None else server.pid

    def start(self) -> Failure | None:
        """Load the function now rather than at the first call. None if it is ready."""
        with self.worker() as worker:
            return None if isinstance(worker, Worker) else worker

    def call(self, *args: Any, timeout_s: float | None = None) -> Result:
        """Run the function on `args`; the deadline counts from the moment a loaded worker takes the call.

        Never raises for what the function does; arguments that cannot be pickled come back as `Raised`.
        """
        with self.worker() as worker:
            if not isinstance(worker, Worker):
                return worker
            return worker.call(args, self.timeout_s if timeout_s is None else timeout_s)

    @contextmanager
    def worker(self) -> "Iterator[Worker | Failure]":
        """A loaded worker for one caller; or why there is none."""
        with self._places:
            worker = self._take()
            try:
                yield worker
            finally:
                self._give(worker)

    def close(self) -> None:
        """Kill the workers, busy ones too. A later call starts new ones."""
        with self._lock:
            server, self._server = self._server, None
            idle, self._idle = self._idle, []
        if server is not None:
            server.close()
        for worker in idle:
            worker.close()

    def forget(self) -> None:
        """In a forked process: let go of what belongs to the parent."""
        for worker in self._idle:
            worker.close()
        if self._server is not None:
            self._server.forget()
        self._begin()

    def _take(self) -> "Worker | Failure":
        try:
            with self._lock:
                while self._idle:
                    worker = self._idle.pop()
                    # The death of a user's function between two calls is the second call's result.
                    if not self._setup.is_trusted or (worker.num_calls < self.max_calls and not worker.has_ended()):
                        return worker
                    worker.end()
                if self._server is None or not self._server.is_open:
                    self._server = ForkServer(self._setup, self._keep_environment)
                server = self._server
            worker = server.fork(self.start_timeout_s)
        except TimeoutError:
            return TimedOut(seconds=self.start_timeout_s, at_load=True)
        except OSError as error:
            return Crashed(detail=f"could not start: {error}", at_load=True)
        failure = worker.load(self.start_timeout_s)
        return worker if failure is None else replace(failure, at_load=True)

    def _give(self, worker: "Worker | Failure") -> None:
        if isinstance(worker, Worker) and worker.is_open:
            if worker.server is self._server:
                self._idle.append(worker)
                return
            worker.end()
        if not self._setup.is_trusted:
            self.close()


class Worker:
    """One process that answers calls, and this side of its pipes. `ForkServer.fork` makes it."""

    def __init__(self, server: "ForkServer", pid: int, requests: io.FileIO, replies: io.FileIO) -> None:
        self.server = server
        self.pid = pid
        self.num_calls = 0
        self.landlock = 0
        """The version of Landlock that confines it; 0: its memory is limited at most."""
        self.is_open = True
        self._requests = requests
        self._replies = replies
        self._process = io.FileIO(os.pidfd_open(pid))

    def load(self, timeout_s: float) -> Failure | None:
        """Waits until it has the function."""
        result = self._answer(None, timeout_s)
        if isinstance(result, Returned):
            self.landlock = int(result.value)
            return None
        if self.is_open:
            self.end()
        return result

    def call(self, args: tuple[Any, ...], timeout_s: float, cpu_s: float | None = None) -> Result:
        """See `KillableFunction.call`. cpu_s: limit of processor time, as good as a deadline.

        The worker is gone unless the result is Returned or Raised.
        """
        self.num_calls += 1
        try:
            request = pickle.dumps((self.num_calls, args, cpu_s), protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            return Raised(error=type(error).__name__, message=str(error), traceback=f"arguments: {error}")
        return self._answer(request, timeout_s, cpu_s)

    def _answer(self, request: bytes | None, timeout_s: float, cpu_s: float | None = None) -> Result:
        deadline = time.monotonic() + timeout_s
        try:
            if request is not None:
                framing.send(self._requests.fileno(), request, deadline, self._process.fileno())
            match json.loads(framing.receive(self._replies.fileno(), deadline, self._process.fileno())):
                case {"kind": "ready", "value": value} if request is None:
                    return Returned(value=value)
                case {"kind": "ok", "id": self.num_calls, "value": value}:
                    return Returned(value=value)
                case {"kind": "raised", "error": str(error), "message": str(message), "traceback": str(text)}:
                    if error == "MemoryError":
                        self.end()  # what is left of an interpreter that ran out of memory is not to be relied on
                    return Raised(error=error, message=message, traceback=text)
            raise ValueError("not one that was expected")
        except TimeoutError:
            self.end()
            return TimedOut(seconds=timeout_s)
        except (EOFError, OSError):
            code = self.end()
            if cpu_s is not None and code == -signal.SIGPROF:
                return TimedOut(seconds=cpu_s)
            return Crashed(detail=f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}")
        except ValueError as error:
            self.end()
            return Crashed(detail=f"the worker's answer broke the protocol: {error}")
        except BaseException:
            self.end()  # an interrupt in mid-message: the pipes are out of step
            raise

    def has_ended(self) -> bool:
        """True where it died while nobody was asking."""
        poll = select.poll()
        poll.register(self._process, select.POLLIN)
        return bool(poll.poll(0))

    def end(self) -> int:
        """Kill it with what it started. Its exit code, negative for a signal; the server's if that has died first."""
        self.close()
        return self.server.end(self.pid)

    def close(self) -> None:
        """This side alone."""
        self.is_open = False
        for file in (self._requests, self._replies, self._process):
            file.close()


class ForkServer:
    """The process that forks workers and ends them; see `killable_child`."""

    def __init__(self, setup: Setup, keep_environment: Collection[str]) -> None:
        # The import path goes along, since Ray extends sys.path without touching PYTHONPATH.
        # -P: no implicit first entry, else a json.py in the working directory would be imported instead.
        path = json.dumps([entry or os.getcwd() for entry in sys.path])
        setup_body = pickle.dumps(setup)
        self._lock = threading.Lock()
        self._control, far = socket.socketpair()
        self.is_open = True
        with far:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, path],
                stdin=far.fileno(),
                # Sets and dictionaries in a fixed order: results must not change from run to run.
                env=child_environment(os.environ, keep_environment) | {"PYTHONHASHSEED": "0"},
                start_new_session=True,
            )
        with suppress(OSError):  # it has died; the first fork tells
            framing.send(self._control.fileno(), setup_body)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self, timeout_s: float) -> "Worker":
        """A worker that has not loaded yet. OSError, or TimeoutError, if there is none; the server is gone then."""
        far_requests, requests = os.pipe()
        replies, far_replies = os.pipe()
        files = io.FileIO(requests, "w"), io.FileIO(replies)
        try:
            return Worker(self, self._order(0, [far_requests, far_replies], timeout_s), *files)
        except BaseException:
            for file in files:
                file.close()
            self.close()
            raise
        finally:
            os.close(far_requests)
            os.close(far_replies)

    def end(self, worker_pid: int) -> int:
        """The worker's exit code, or, if the server has died and the worker with it, the server's."""
        try:
            return self._order(worker_pid, [], 2 * ENDING_S)
        except OSError:
            return self.close()

    def close(self) -> int:
        """End it and all its workers. Its exit code."""
        self.is_open = False
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2 * ENDING_S)
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._control.close()
        return self._process.wait()

    def forget(self) -> None:
        """After a fork of this process: the server belongs to the parent."""
        self._control.close()
        self._process.returncode = 0

    def _order(self, number: int, descriptors: list[int], timeout_s: float) -> int:
        with self._lock:
            socket.send_fds(self._control, [NUMBER.pack(number)], descriptors)
            self._control.settimeout(timeout_s)
            reply = self._control.recv(NUMBER.size, socket.MSG_WAITALL)
        if len(reply) < NUMBER.size:
            raise ConnectionError("the fork server has died")
        return int(NUMBER.unpack(reply)[0])


def child_environment(environment: Mapping[str, str], keep: Collection[str] = ()) -> dict[str, str]:
    """Without anything that looks like a secret: by name (KEY, TOKEN, SECRET, PASSW, CREDENTIAL), or a URL that
    holds a password; but with those named by `keep`."""
    return {
        name: value
        for name, value in environment.items()
        if name in keep or not (_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))
    }


_instances: "weakref.WeakSet[KillableFunction]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for instance in list(_instances):
        instance.close()


def _forget_all() -> None:
    for instance in list(_instances):
        instance.forget()


os.register_at_fork(after_in_child=_forget_all)
