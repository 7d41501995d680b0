"""The parent's side of one zygote: starts it, hands it runs, collects what they print, ends it.

Not for several threads at once: `pool` lends each zygote to one caller. Raises Lost where the zygote is gone or does
not answer, Unavailable where it cannot be started; never turns either into a verdict.
"""

import contextlib
import importlib.util
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlreason.sandbox.cgroup import group_for
from rlreason.sandbox.namespaces import NOBODY
from rlreason.sandbox.zygote import MOST_TASKS, STOP

Level = Literal["landlock", "namespaces"]
"""`landlock`: Landlock, seccomp, rlimits, no_new_privs. `namespaces`: the same inside namespaces of its own."""

START_TIMEOUT_S = 20.0
_FIRST_USER, _PROCESSES, _ZYGOTES = 1 << 30, 1 << 18, 1 << 10
"""Users with a number of their own for each zygote of each process; none that a person or a service has."""
_OWN_TASKS = 4
GRACE_S = 5.0
"""The zygote ends runs at their deadline; past so much more it is itself taken for dead."""
# In the order in which they load. Read here and now: on the far side, and to a process that has changed its user since,
# the package need not be readable.
_MODULES = (
    "syscalls",
    "confine",
    "namespaces",
    "framing",
    "nodes",
    "codec",
    "prelude",
    "settling",
    "solution",
    "driver",
    "zygote",
)
SOURCES = [(name, (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")) for name in _MODULES]
LOADER = """
import json, sys, types
def add(name, text=None, path=""):
    module = sys.modules[name] = types.ModuleType(name)
    above, _, last = name.rpartition(".")
    if above:
        setattr(sys.modules[above], last, module)
    if text is None:
        module.__path__ = []
    else:
        exec(compile(text, path, "exec"), module.__dict__)
def add_all(sources):
    add("rlreason")
    add("rlreason.sandbox")
    for name, text in sources:
        add("rlreason.sandbox." + name, text, "rlreason/sandbox/" + name + ".py")
"""
"""Puts modules of this package where they are not installed."""
_BOOT = f"""
{LOADER}
sys.path[:] = [entry for entry in sys.path if entry]
add_all(json.load(sys.stdin))
sys.modules["rlreason.sandbox.zygote"].main(int(sys.argv[1]), **json.loads(sys.argv[2]))
"""
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/",
    "PYTHONHASHSEED": "0",  # the same program prints the same set order in every run
    "OPENBLAS_NUM_THREADS": "1",  # and so on: threads would not live through a fork
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",  # address space is limited: one arena of 64 MiB a thread would spend it
}


class Unavailable(Exception):
    """This level cannot be had here; the message says why."""


class Lost(Exception):
    """The zygote died or fell silent in the middle of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How one run ended."""

    status: int
    """Exit status; negative: the signal that ended it."""
    timed_out: bool
    overflowed: bool
    """It printed more than it may, and was ended."""
    outputs: tuple[bytes, ...]
    """What came out of each pipe."""
    not_started: bool = False
    """The command could not be executed."""


class Host:
    """One zygote."""

    def __init__(self, level: Level, python: str, *, abi: int = 99, packages: tuple[str, ...] = ()) -> None:
        """Starts it with these packages loaded. `abi` pretends an older Landlock. Unavailable says what refused."""
        self.level: Level = level
        self.folders: set[str] = set()
        """Work folders in use; of a zygote that is killed they are removed here."""
        # Root's files are many, and no limit of processes binds it; a namespace maps its user away by itself.
        self.user = _own_user() if level == "landlock" and os.geteuid() == 0 else None
        """That programs run as, if not this process's."""
        self.control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stdin, self._errors = _memory_file(json.dumps(SOURCES).encode()), _memory_file(b"")
        is_alone = level == "namespaces" or self.user not in (None, NOBODY)
        given: dict[str, Any] = {"in_namespaces": level == "namespaces", "is_alone": is_alone, "abi": abi}
        given |= {"temp": tempfile.gettempdir(), **_located(packages)}
        try:
            self._process = subprocess.Popen(
                [python, "-S", "-s", "-B", "-c", _BOOT, str(far.fileno()), json.dumps(given)],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=_ENVIRONMENT,
                cwd="/",
                pass_fds=(far.fileno(),),
                start_new_session=True,
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
            )
        except (OSError, subprocess.SubprocessError) as error:
            self.control.close()
            os.close(self._errors)
            raise Unavailable(f"{python} does not start: {error}") from None
        finally:
            far.close()
            os.close(stdin)
        # It and those that its start takes, one beyond what its programs may be.
        self.group = group_for(self._process.pid, MOST_TASKS + _OWN_TASKS)
        self.is_gone = False
        """Ended with the last run, which took too much memory."""
        self.abi: int = self._hello()["abi"]

    def _hello(self) -> dict[str, Any]:
        try:
            return self._reply(time.monotonic() + START_TIMEOUT_S)
        except Lost as error:
            self.close()
            raise Unavailable(str(error)) from None

    def _last_words(self) -> str:
        size = os.fstat(self._errors).st_size
        lines = os.pread(self._errors, 4096, max(0, size - 4096)).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its process ended"

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, order: Mapping[str, Any], contents: Sequence[bytes] = ()) -> dict[str, Any]:
        """An order that starts no run. Of a zygote that is gone nothing is asked: `close` removes its folders."""
        if self.is_gone:
            return {}
        self._send(order, contents, ())
        return self._reply(time.monotonic() + GRACE_S)

    def run(
        self, order: Mapping[str, Any], contents: Sequence[bytes], num_outputs: int, max_output_bytes: int
    ) -> Ended:
        """Runs the order; it gets a file in memory for each of `contents`, then the pipes that are read here."""
        if self.group is None:
            return self._run(order, contents, num_outputs, max_output_bytes)
        # The program that has cost the zygote its life has failed, and not the sandbox: later tests of it as well.
        killed = Ended(status=-signal.SIGKILL, timed_out=False, overflowed=False, outputs=(b"",) * num_outputs)
        if self.is_gone:
            return killed
        num_children = 2 if order["op"] == "functions" else 1
        self.group.limit(num_children * order["memory_bytes"])
        num_killed = self.group.num_killed()
        try:
            return self._run(order, contents, num_outputs, max_output_bytes)
        except Lost:
            if self.group.num_killed() == num_killed:
                raise
        self.is_gone = True
        return killed

    def _run(
        self, order: Mapping[str, Any], contents: Sequence[bytes], num_outputs: int, max_output_bytes: int
    ) -> Ended:
        pipes = [os.pipe() for _ in range(num_outputs)]
        try:
            try:
                self._send(order, contents, [written for _, written in pipes])
            finally:
                for _, written in pipes:
                    os.close(written)
            return self._collect([read for read, _ in pipes], max_output_bytes, order["timeout_s"])
        finally:
            for read, _ in pipes:
                os.close(read)

    def _send(self, order: Mapping[str, Any], contents: Sequence[bytes], outputs: Sequence[int]) -> None:
        files = [_memory_file(content) for content in contents]
        try:
            socket.send_fds(self.control, [json.dumps(order).encode()], [*files, *outputs])
        except OSError as error:
            raise Lost(str(error)) from None
        finally:
            for file in files:
                os.close(file)

    def _reply(self, deadline: float) -> dict[str, Any]:
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise Lost("no answer")
        try:
            body = self.control.recv(1 << 16)
        except OSError as error:
            raise Lost(str(error)) from None
        if not body:
            raise Lost(self._last_words())
        reply: dict[str, Any] = json.loads(body)
        if "failed" in reply:
            raise Lost(reply["failed"])
        return reply

    def _collect(self, reads: list[int], max_output_bytes: int, timeout_s: float) -> Ended:
        deadline = time.monotonic() + timeout_s + GRACE_S
        found: dict[int, bytearray] = {read: bytearray() for read in reads}
        poll = select.poll()
        for fd in (self.control.fileno(), *reads):
            poll.register(fd, select.POLLIN)
        overflowed, reply = False, None
        while reply is None:
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                raise Lost("no answer")
            for fd, _ in ready:
                if fd == self.control.fileno():
                    reply = self._reply(deadline)
                elif not _read_into(found[fd], fd, max_output_bytes):
                    poll.unregister(fd)
                if not overflowed and fd in found and len(found[fd]) > max_output_bytes:
                    overflowed = True
                    self.control.send(STOP)
        for fd in reads:  # what was printed just before the end
            os.set_blocking(fd, False)
            with contextlib.suppress(BlockingIOError):
                while len(found[fd]) <= max_output_bytes and _read_into(found[fd], fd, max_output_bytes):
                    pass
        return Ended(
            status=reply["status"],
            timed_out=reply["timed_out"],
            overflowed=overflowed or any(len(body) > max_output_bytes for body in found.values()),
            outputs=tuple(bytes(body) for body in found.values()),
            not_started=reply["not_started"],
        )

    def forget(self) -> None:
        """Lets go of a zygote that belongs to another process."""
        self.control.close()
        os.close(self._errors)

    def close(self) -> None:
        """Ends the zygote and, with it, whatever runs there."""
        self.control.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        if self.group is not None:
            self.group.close()
        os.close(self._errors)
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


def _located(packages: tuple[str, ...]) -> dict[str, list[str]]:
    """The packages and the folders of this interpreter in which they are."""
    specs = [importlib.util.find_spec(name) for name in packages]
    folders = {
        str(Path(spec.origin).parents[spec.submodule_search_locations is not None])
        for spec in specs
        if spec is not None and spec.origin
    }
    return {"packages": list(packages), "folders": sorted(folders)}


_users = itertools.count()


def _own_user() -> int | None:
    """A user that nothing else runs as, so that what is counted by user is this zygote's alone; None in a namespace
    that has no user but root, whom limits bind as the one who he is outside. Unavailable for root that may not become
    another: no limit of processes binds him.
    """
    with open("/proc/self/status", encoding="ascii") as file:
        effective = next(line.split()[1] for line in file if line.startswith("CapEff"))
    if int(effective, 16) >> 6 & 3 != 3:  # CAP_SETGID and CAP_SETUID, which root of a container need not have
        raise Unavailable("root without CAP_SETUID and CAP_SETGID; run as another user, or allow it these capabilities")
    wanted = _FIRST_USER + os.getpid() % _PROCESSES * _ZYGOTES + next(_users) % _ZYGOTES
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ranges = [(int(first), int(number)) for first, _, number in map(str.split, file)]
    there = [one for one in (wanted, NOBODY) if any(first <= one < first + number for first, number in ranges)]
    return there[0] if there else None


def _read_into(body: bytearray, fd: int, limit: int) -> bool:
    """Reads once. False at the end, and beyond the limit."""
    part = os.read(fd, 1 << 16)
    body += part
    return bool(part) and len(body) <= limit


def _memory_file(data: bytes) -> int:
    """Descriptor of a file in memory that holds `data`."""
    fd = os.memfd_create("rlreason")
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def pythons() -> list[str]:
    """Interpreters to try: this one's own, then the system's, which another user may be allowed to run."""
    own = getattr(sys, "_base_executable", None) or sys.executable
    return list(dict.fromkeys(path for path in (own, "/usr/bin/python3", "/usr/local/bin/python3")))
