"""The child's side of `killable`: a fork server and its workers, which answer calls of one function.

The server takes orders to fork a worker, and to end one with whatever it has started: that falls to the server when its
parent ends. It ends all of them, and itself, when the process that started it closes the connection or dies.

Started by `killable.ForkServer` and by nothing else. Requests come as pickles (they are the parent's own data),
answers go back as JSON: a worker that was fooled by hostile text must not run code in its parent.
Does not bound time (the parent does). No sandbox unless told to confine: the function has the rights of this user.
"""

import gc
import json
import os
import pickle
import resource
import select
import signal
import socket
import struct
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from rlreason.paths import find_function
from rlreason.processes import family
from rlreason.sandbox import framing
from rlreason.sandbox.syscalls import PR_SET_CHILD_SUBREAPER, die_with, prctl

NUMBER = struct.Struct("!q")
"""An order: 0 to fork a worker onto the two pipes that come along, else the pid of a worker to end.
Its answer: the new worker's pid, or the exit code of the one that ended, as `os.waitstatus_to_exitcode` has it."""
MAX_MESSAGE_CHARS = 20_000
ENDING_S = 2.0
"""The server takes at most so long to end what a worker has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a fork server is to serve."""

    path: str
    """Of the function, as `paths.find_function` reads it."""
    factory_args: tuple[Any, ...] | None
    """If given, the function is called once with them, and what it returns serves the calls."""
    memory_bytes: int | None
    """Address space of each worker."""
    is_trusted: bool
    """True for a function of ours that reads hostile text: the server loads it for all workers, which are confined."""


def main() -> None:
    """Serve orders on descriptor 0."""
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # print and input of the function cannot touch the protocol
    os.dup2(2, 1)
    os.close(null)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the end of a call's processor time; a parent may have ignored it
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    setup: Setup = pickle.loads(framing.receive(control.fileno(), max_bytes=sys.maxsize))
    function, limit = None, _limit_memory
    if setup.is_trusted:
        from rlreason.sandbox.confine import confine_reader

        packages = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
        function, limit = _load(setup), partial(confine_reader, packages)
    gc.collect()
    gc.freeze()  # the collector of a worker would copy every page that it shares with this process
    workers: set[int] = set()
    with suppress(OSError):  # the parent is gone
        _obey(control, partial(_work, os.getpid(), setup, function, limit), workers)
    for worker in list(workers):
        _end(worker, workers)
    os._exit(0)


def _obey(control: socket.socket, work: Callable[[int, int], None], workers: set[int]) -> None:
    parent = os.pidfd_open(os.getppid())  # a copy of its socket in a process that it forked may outlive it
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(parent, select.POLLIN)
    while control.fileno() in [fd for fd, _ in poll.poll()]:
        order, pipes, _, _ = socket.recv_fds(control, NUMBER.size, 2)
        if len(order) < NUMBER.size:
            return
        (number,) = NUMBER.unpack(order)
        if number == 0:
            number = os.fork()
            if number == 0:
                control.close()
                os.close(parent)
                work(*pipes)
            for pipe in pipes:
                os.close(pipe)
            workers.add(number)
        else:
            number = _end(number, workers)
        control.sendall(NUMBER.pack(number))


def _end(worker: int, workers: set[int]) -> int:
    """Kill a worker and all that it started; its exit code. Until it is reaped nobody else can be given its number."""
    os.kill(worker, signal.SIGKILL)
    ended = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    workers.remove(worker)
    deadline = time.monotonic() + ENDING_S
    while (left := _orphans(workers)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
    return ended


def _orphans(workers: set[int]) -> set[int]:
    """What is below this process and below none of these workers."""
    return set(family(os.getpid())).difference([os.getpid()], *map(family, workers))


def _work(
    server: int,
    setup: Setup,
    function: Callable[..., Any] | None,
    limit: Callable[[int | None], int],
    requests: int,
    replies: int,
) -> None:
    """The life of one worker; never returns."""
    try:
        die_with(server)
        landlock = limit(setup.memory_bytes)
        try:
            function = function or _load(setup)
        except BaseException as error:
            framing.send(replies, json.dumps(_raised(error)).encode())
            return
        framing.send(replies, json.dumps({"kind": "ready", "value": landlock}).encode())
        with suppress(EOFError):
            _serve(function, requests, replies)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _limit_memory(memory_bytes: int | None) -> int:
    """As `confine_reader`, without the confinement."""
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    return 0


def _load(setup: Setup) -> Callable[..., Any]:
    function = find_function(setup.path)
    return function if setup.factory_args is None else function(*setup.factory_args)


def _serve(function: Callable[..., Any], requests: int, replies: int) -> None:
    own_pid = os.getpid()
    while True:
        call = framing.receive(requests, max_bytes=sys.maxsize)
        cpu_s = None
        try:
            call_id, args, cpu_s = pickle.loads(call)
            if cpu_s is not None:  # at its end the kernel kills, whatever the code is doing
                signal.setitimer(signal.ITIMER_PROF, cpu_s)
            reply = json.dumps({"kind": "ok", "id": call_id, "value": function(*args)}).encode()
        # The boundary: whatever the user's function throws, SystemExit too, goes back as a typed result.
        except BaseException as error:
            reply = json.dumps(_raised(error)).encode()
        if cpu_s is not None:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if os.getpid() != own_pid:
            os._exit(0)  # the function forked and its copy came back here
        framing.send(replies, reply)


def _raised(error: BaseException) -> dict[str, str]:
    text = "".join(traceback.format_exception(error, limit=-20))
    return {
        "kind": "raised",
        "error": type(error).__name__,
        "message": str(error)[:MAX_MESSAGE_CHARS],
        "traceback": text[-MAX_MESSAGE_CHARS:],
    }
