"""An arena for hostile programs: targets of our own to attack, and what must be as before after every attack."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlreason.rewards.code import checker as code
from rlreason.sandbox.host import Level
from rlreason.sandbox.pool import LEVELS, Sandbox, SandboxUnavailable
from rlreason.sandbox.syscalls import NUMBERS
from rlreason.types import Score

SECRET = "canary-5f1d"
SLACK_S = 2.0
DOUBLE = [{"type": "stdio", "input": "21\n", "output": "42\n"}]
# What a program of the arena knows of its targets, and how it calls the kernel past Python.
HEAD = """
import ctypes, errno, json, mmap, os, signal, socket, sys, threading, time
CANARY, FOLDER, UNIX, UNIX_DATAGRAM, ABSTRACT, PORT, PARENT, NR = {targets!r}
libc = ctypes.CDLL(None, use_errno=True)
def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result
def libc_call(name, *args):
    return checked(getattr(libc, name)(*args))
def system_call(name, *args):
    libc.syscall.restype = ctypes.c_long
    return checked(libc.syscall(ctypes.c_long(NR[name]), *args))
def denied(act):
    try:
        act()
    except OSError as error:
        if error.errno != errno.EPERM:
            print("breach", flush=True)
            os._exit(0)
        raise
"""
ATTEMPT = """
try:
{body}
except (OSError, MemoryError, ValueError, ImportError) as error:
    print("refused", type(error).__name__)
else:
    print("breach")
"""


class Arena:
    """One sandbox and its surroundings."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox, self.folder, self.canary = sandbox, folder, folder / "canary"
        folder.chmod(0o777)
        self.canary.write_text(SECRET)
        self.canary.chmod(0o666)
        tcp = socket.create_server(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", port))
        names = [str(folder / "stream"), str(folder / "datagram"), f"\0rlreason-{os.getpid()}-{id(self)}"]
        kinds = [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_STREAM]
        local = [socket.socket(socket.AF_UNIX, kind) for kind in kinds]
        for opened, name, kind in zip(local, names, kinds, strict=True):
            opened.bind(name)
            if kind == socket.SOCK_STREAM:
                opened.listen()
        for name in names[:2]:
            os.chmod(name, 0o777)
        self.sockets = dict(zip(("tcp", "udp", "unix", "datagram", "abstract"), (tcp, udp, *local), strict=True))
        for opened in self.sockets.values():
            opened.setblocking(False)
        self.head = HEAD.format(targets=(str(self.canary), str(folder), *names, port, os.getpid(), dict(NUMBERS)))
        self.before = self._state()

    def _state(self) -> list[Any]:
        found = self.canary.stat()
        limits = [os.sched_getaffinity(0), os.nice(0), *(Path("/proc/self/limits").read_text().splitlines())]
        return [
            self.canary.read_text(),
            found.st_mode,
            found.st_mtime_ns,
            found.st_nlink,
            sorted(os.listdir(self.folder)),
            os.getcwd(),
            os.environ["RLREASON_TEST_SECRET"],
            limits,
        ]

    def _reached(self) -> list[str]:
        """The sockets that something came in on."""
        reached = []
        for name, opened in self.sockets.items():
            try:
                opened.recv(1) if opened.type == socket.SOCK_DGRAM else opened.accept()
            except BlockingIOError:
                continue
            reached.append(name)
        return reached

    def check(
        self,
        program: str,
        tests: list[dict[str, Any]],
        *,
        entry_point: str | None = None,
        timeout_s: float = 5.0,
        memory_bytes: int = 256 << 20,
    ) -> Score:
        """Scores it, and asserts that it was ended in time."""
        start = time.monotonic()
        limits: Any = {"timeout_s": timeout_s, "memory_bytes": memory_bytes}
        score = code.check(program, tests, entry_point=entry_point, **limits)
        took_s = time.monotonic() - start
        assert took_s < timeout_s + SLACK_S, f"{took_s:.2f} s of {timeout_s:g} s"
        assert score.status not in ("sandbox_error", "verifier_error"), score.detail
        assert SECRET not in score.detail
        return score

    def assert_untouched(self) -> None:
        """Nothing was changed, reached or left behind, and a right program is still right."""
        assert self.leftovers() == []
        before, self.before = self.before, self._state()
        assert self.before == before
        assert self._reached() == []
        assert code.check("print(int(input()) * 2)", DOUBLE).value == 1.0

    def attempt(self, body: str, **options: Any) -> None:
        """A forbidden act: Python lines that raise OSError, MemoryError, ValueError or ImportError if it fails."""
        lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
        program = self.head + ATTEMPT.format(body=lines)
        score = self.check(program, [{"type": "stdio", "input": "", "output": "breach\n"}], **options)
        assert score.value == 0.0
        assert "refused" in score.detail, score.detail

    def leftovers(self) -> list[int]:
        """What the zygotes have for children: nothing outlives a run, and what lost its parent would become theirs."""
        zygotes = [host.pid for host in self.sandbox._hosts]
        if self.sandbox.level == "namespaces":  # each waits for the first process of its namespace, the real one
            zygotes = [child for pid in zygotes for child in _children(pid)]
        return [child for pid in zygotes for child in _children(pid)]

    def close(self) -> None:
        for opened in self.sockets.values():
            opened.close()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="session", params=LEVELS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Of just this level; skips where the host does not allow it."""
    os.environ["RLREASON_TEST_SECRET"] = SECRET  # before the start, so that a zygote could have inherited it
    opened = Sandbox(level=request.param)
    try:
        opened.start()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    yield opened
    opened.close()
    del os.environ["RLREASON_TEST_SECRET"]


@pytest.fixture
def level(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Level | None:
    """`check` uses the sandbox of the level under test."""
    monkeypatch.setitem(code._backends, ("landlock", None), sandbox)
    return sandbox.level


@pytest.fixture(scope="session")
def targets(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("arena")
    for parent in (folder.parent, folder.parent.parent):
        parent.chmod(0o755)  # so that nothing but the sandbox stands between a program and its targets
    opened = Arena(sandbox, folder)
    yield opened
    opened.close()


@pytest.fixture
def arena(targets: Arena, level: Level) -> Iterator[Arena]:
    yield targets
    targets.assert_untouched()
