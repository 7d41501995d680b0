"""Processes of this host as somebody sees them who wants to know why they do not answer.

Each is read from outside, so that one which is stopped, or waits for ever in a library, can be read too.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

READING_S = 10.0
PR_SET_PTRACER, ANY = 0x59616D61, -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One process at one moment."""

    pid: int
    title: str
    """Its command line; Ray and vLLM write there what it is."""
    is_stopped: bool
    """By a signal or a debugger."""
    stacks: dict[str, list[str]]
    """`function (file:line)`, innermost first, by thread; {} for a process without Python."""
    unread: str = ""
    """Why there are no stacks."""


def let_be_read() -> None:
    """Lets other processes of this user read this one: where the kernel has Yama, as on Ubuntu, only ancestors may."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(ANY), 0, 0, 0)  # refused, as needless, by other kernels


def family(pid: int) -> list[int]:
    """The process and all its descendants that have not ended."""
    try:
        tasks = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return []  # it ended in the meantime
    return [pid, *(one for text in tasks for child in text.split() for one in family(int(child)))]


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and all its descendants; pages that they share count once for each."""
    pages = 0
    for one in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def look(pid: int) -> list[Seen]:
    """At the process and all its descendants."""
    return [seen for one in family(pid) if (seen := _look(one)) is not None]


def siblings() -> list[Seen]:
    """What the parent of this process has started beside it, with all descendants."""
    own = {os.getpid(), os.getppid(), *family(os.getpid())}
    return [seen for seen in look(os.getppid()) if seen.pid not in own]


def end(pids: list[int]) -> None:
    """At once, also those that are stopped."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _look(pid: int) -> Seen | None:
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None
    stacks, unread = _stacks(pid)
    return Seen(pid=pid, title=title[:200], is_stopped=state in "tT", stacks=stacks, unread=unread)


def _stacks(pid: int) -> tuple[dict[str, list[str]], str]:
    """By thread; or why they cannot be read."""
    import json  # late, as these are: a child that asks for its `family` alone is started often
    import shutil
    import subprocess

    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        return {}, "py-spy is not installed"
    # Without --nonblocking it would stop the process to read it, which one that is stopped does not allow.
    words = [program, "dump", "--nonblocking", "--json", "--pid", str(pid)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=READING_S)
    except subprocess.TimeoutExpired:
        return {}, f"py-spy did not read them within {READING_S:g} s"
    if done.returncode:
        causes = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return {}, next((line for line in causes if line.startswith(("Error", "Permission"))), "py-spy failed")
    return {
        f"{thread['thread_name'] or 'thread'} {thread['os_thread_id']}": [
            f"{frame['name']} ({frame['short_filename'] or frame['filename']}:{frame['line']})"
            for frame in thread["frames"]
        ]
        for thread in json.loads(done.stdout)
    }, ""
