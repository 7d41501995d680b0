"""Messages on a pipe or a socket: the length in bytes, then the body. Bounds the time where given a deadline.

Light: what imports it is started often. Does not say what is in a body.
"""

import os
import select
import struct
import time

MAX_MESSAGE_BYTES = 16 << 20
"""What a process that is not trusted may send."""
_HEADER = struct.Struct(">I")


def send(fd: int, body: bytes, deadline: float | None = None, process: int | None = None) -> None:
    """One message of any length; for the rest as `receive`."""
    if deadline is not None:
        os.set_blocking(fd, False)
    view = memoryview(_HEADER.pack(len(body)) + body)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            _wait(fd, select.POLLOUT, deadline, process)


def receive(
    fd: int, deadline: float | None = None, process: int | None = None, max_bytes: int = MAX_MESSAGE_BYTES
) -> bytes:
    """One message. EOFError or OSError if the other end is gone, TimeoutError past the deadline (time.monotonic).

    process: pidfd of the other end, whose own children might hold the connection open after its death.
    """
    if deadline is not None:
        os.set_blocking(fd, False)
    (length,) = _HEADER.unpack(_read(fd, _HEADER.size, deadline, process))
    if length > max_bytes:
        raise ValueError("message too long")
    return _read(fd, length, deadline, process)


def _read(fd: int, count: int, deadline: float | None, process: int | None) -> bytes:
    parts = []
    while count:
        try:
            part = os.read(fd, min(count, 1 << 20))
        except BlockingIOError:
            _wait(fd, select.POLLIN, deadline, process)
            continue
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _wait(fd: int, event: int, deadline: float | None, process: int | None) -> None:
    poll = select.poll()
    poll.register(fd, event)
    if process is not None:
        poll.register(process, select.POLLIN)
    left_ms = None if deadline is None else max(0.0, 1000 * (deadline - time.monotonic()))
    ready = [one for one, _ in poll.poll(left_ms)]
    if not ready:
        raise TimeoutError
    if fd not in ready:
        raise EOFError
