"""The child's side of `killable`: loads one function and answers calls until its input closes.

Two processes: the function's, and above it a keeper, which whatever the function starts falls to when its parent ends.
When the function's process ends, or the parent says so, the keeper ends all of that and then itself in the same way.

Started by `killable.KillableFunction` and by nothing else. Requests come as pickles (they are the parent's own data),
answers go back as JSON: a child that was fooled by hostile text must not run code in its parent.
Does not bound time (the parent does) and is no sandbox: the function has the rights of this user.
"""

import json
import os
import pickle
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from typing import Any, BinaryIO, NoReturn

from rlreason.paths import find_function
from rlreason.sandbox.syscalls import PR_SET_CHILD_SUBREAPER, die_with, prctl

HEADER = struct.Struct("!Q")
"""Length in bytes of the message that follows."""
MAX_MESSAGE_CHARS = 20_000
ENDING_S = 2.0
"""The keeper takes at most so long to end what the function started."""


def main(parent_pid: int) -> None:
    """Serve one parent. Exits when the parent closes the pipe, dies, or sends SIGTERM."""
    ends = {signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    die_with(parent_pid, signal.SIGTERM)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    keeper = os.getpid()
    child = os.fork()
    if child:
        _keep(child, ends)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)
    die_with(keeper)
    _answer()


def _keep(child: int, ends: set[signal.Signals]) -> NoReturn:
    os.close(0)  # so that the parent sees the pipes close with the function's process
    os.close(1)
    ended = None
    while ended is None and signal.sigwait(ends) != signal.SIGTERM:
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG)
    deadline = time.monotonic() + ENDING_S
    while (pids := _descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    if ended is not None and ended.si_code != os.CLD_EXITED:
        os.kill(os.getpid(), ended.si_status)
    os._exit(ended.si_status if ended else 0)


def _descendants(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        return []
    return [*children, *chain.from_iterable(map(_descendants, children))]


def _answer() -> None:
    requests, replies = _take_protocol_pipes()
    setup = pickle.loads(_read(requests))
    _limit(setup["memory_bytes"])
    try:
        function = find_function(setup["path"])
        if setup["factory_args"] is not None:
            function = function(*setup["factory_args"])
    except BaseException as error:
        _write(replies, _raised(error))
        return
    _write(replies, {"kind": "ready"})
    _serve(function, requests, replies)


def _serve(function: Callable[..., Any], requests: BinaryIO, replies: BinaryIO) -> None:
    own_pid = os.getpid()
    while True:
        try:
            call = _read(requests)
        except EOFError:
            return
        try:
            call_id, args = pickle.loads(call)
            reply = {"kind": "ok", "id": call_id, "value": function(*args)}
            encoded = json.dumps(reply).encode()
        # The boundary: whatever the user's function throws, SystemExit too, goes back as a typed result.
        except BaseException as error:
            encoded = json.dumps(_raised(error)).encode()
        if os.getpid() != own_pid:
            os._exit(0)  # the function forked and its copy came back here
        _write_bytes(replies, encoded)


def _take_protocol_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move the pipes off 0 and 1, so that print and input of the function cannot touch the protocol."""
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def _limit(memory_bytes: int | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _raised(error: BaseException) -> dict[str, str]:
    text = "".join(traceback.format_exception(error, limit=-20))
    return {
        "kind": "raised",
        "error": type(error).__name__,
        "message": str(error)[:MAX_MESSAGE_CHARS],
        "traceback": text[-MAX_MESSAGE_CHARS:],
    }


def _read(pipe: BinaryIO) -> bytes:
    header = pipe.read(HEADER.size)
    if len(header) < HEADER.size:
        raise EOFError
    (length,) = HEADER.unpack(header)
    body = pipe.read(length)
    if len(body) < length:
        raise EOFError
    return body


def _write(pipe: BinaryIO, message: dict[str, Any]) -> None:
    _write_bytes(pipe, json.dumps(message).encode())


def _write_bytes(pipe: BinaryIO, body: bytes) -> None:
    pipe.write(HEADER.pack(len(body)) + body)
    pipe.flush()


if __name__ == "__main__":
    sys.exit("started by rlreason.rewards.runtime.killable, not by hand")
