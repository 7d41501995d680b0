"""The self-test of a sandbox: a program that tries what no program may do, and a right one that must pass.

Run on each zygote before it serves. It tries on harmless targets of its own (a file with a made-up secret, sockets of
this process), so a hole shows without doing damage.
"""

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from rlreason.sandbox.host import Ended, Host, Unavailable

MEMORY_BYTES = 256 << 20
TIMEOUT_S = 20.0
SECRET = "rlreason-canary"

PROGRAM = b"""
import ctypes, fcntl, json, os, resource, socket
target = json.load(open(0))
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, act):
    try:
        if act() is not False:
            print("breach", name)
    except (OSError, MemoryError, ValueError):
        pass
def libc_call(name, *args):
    return getattr(libc, name)(*args) >= 0
def connect(kind, family, address):
    with socket.socket(family, kind) as s:
        s.connect(address)
        s.send(b"x")
def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
attempt("read a file", lambda: open(target["canary"]).read())
attempt("write a file", lambda: open(target["canary"], "a").write("x"))
attempt("make a file", lambda: open(target["folder"] + "/made", "w"))
attempt("change a file's mode", lambda: os.chmod(target["canary"], 0o600))
attempt("change a file's time", lambda: os.utime(target["canary"]))
attempt("remove a file", lambda: os.unlink(target["canary"]))
attempt("truncate a file", lambda: os.truncate(target["canary"], 0))
attempt("list a folder", lambda: os.listdir(target["folder"]))
attempt("make a link", lambda: os.symlink("/", target["folder"] + "/link"))
attempt("connect by TCP", lambda: connect(socket.SOCK_STREAM, socket.AF_INET, ("127.0.0.1", target["tcp"])))
attempt("send by UDP", lambda: connect(socket.SOCK_DGRAM, socket.AF_INET, ("127.0.0.1", target["tcp"])))
attempt("connect to a Unix socket", lambda: connect(socket.SOCK_STREAM, socket.AF_UNIX, target["unix"]))
attempt("send to a named socket", lambda: socket.socketpair(type=2)[0].sendto(b"x", target["datagram"]))
attempt("watch a folder", lambda: libc_call("inotify_init"))
attempt("start a process", fork)
attempt("start a program", lambda: os.posix_spawn("/bin/true", ["true"], {}))
attempt("signal the parent", lambda: os.kill(os.getppid() or 1, 0))
attempt("signal everything", lambda: os.kill(-1, 0))
attempt("send signals through a pipe", lambda: fcntl.fcntl(os.pipe()[0], 8, os.getpid()))
attempt("limit the parent", lambda: resource.prlimit(os.getppid() or 1, resource.RLIMIT_CORE))
attempt("move the parent", lambda: os.sched_setaffinity(os.getppid() or 1, os.sched_getaffinity(0)))
attempt("trace the parent", lambda: libc_call("ptrace", 16, os.getppid() or 1, 0, 0))
attempt("read /proc", lambda: open("/proc/self/environ").read())
attempt("look at the parent", lambda: os.getpgid(os.getppid() or 1))
attempt("name the host", lambda: libc_call("uname", ctypes.create_string_buffer(512)))
attempt("follow a link", lambda: os.readlink("/bin"))
attempt("enlarge a buffer", lambda: socket.socketpair()[0].setsockopt(1, 7, 1 << 24))
attempt("make a namespace", lambda: libc_call("unshare", 0x10000000))
attempt("raise a limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)))
attempt("take twice the memory", lambda: bytearray(2 * target["memory"]) and None)
attempt("outlive the parent", lambda: libc_call("prctl", 1, 0, 0, 0, 0))
print("done")
"""


def self_test(host: Host) -> None:
    """Unavailable, with the names of what got through, unless everything is stopped and a right program runs."""
    with _targets(host.user) as target:
        first = _run(host, PROGRAM, json.dumps({**target, "memory": MEMORY_BYTES}).encode())
        unchanged = _is_unchanged(str(target["canary"]))
    said = first.outputs[0].decode(errors="replace").splitlines()
    breaches = [line.removeprefix("breach ") for line in said if line.startswith("breach ")]
    if breaches or not unchanged:
        raise Unavailable(f"the self-test could {', '.join(breaches) or 'change a file'}")
    if said[-1:] != ["done"]:
        raise Unavailable(f"the self-test did not come to its end: {last_line(first.outputs[1])}")
    second = _run(host, b"import fileinput, decimal, threading\nprint(sorted(map(int, input().split())))", b"3 1 2")
    if second.outputs[0] != b"[1, 2, 3]\n":
        raise Unavailable(f"a right program does not run: {last_line(second.outputs[1])}")


def _is_unchanged(path: str) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read() == SECRET
    except OSError:
        return False


def last_line(printed: bytes) -> str:
    """Of what a program wrote on its error stream."""
    return (printed.decode(errors="replace").strip().splitlines() or ["no message"])[-1]


def _run(host: Host, source: bytes, stdin: bytes) -> Ended:
    order = {"op": "script", "memory_bytes": MEMORY_BYTES, "cpu_s": int(TIMEOUT_S), "timeout_s": TIMEOUT_S}
    return host.run(order, [source, stdin], 2, 1 << 16)


@contextmanager
def _targets(owner: int | None) -> Iterator[dict[str, str | int]]:
    """A readable file and three open sockets, all ours."""
    with (
        tempfile.TemporaryDirectory(prefix="rlreason-probe-") as folder,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram,
    ):
        os.chmod(folder, 0o777)
        canary = os.path.join(folder, "canary")
        with open(canary, "w", encoding="utf-8") as file:
            file.write(SECRET)
        os.chmod(canary, 0o666)
        if owner is not None:
            # The program's own, so that nothing but the sandbox keeps it from changing the mode.
            with contextlib.suppress(PermissionError):
                os.chown(canary, owner, owner)
        names = {"unix": os.path.join(folder, "stream"), "datagram": os.path.join(folder, "datagram")}
        for opened, name in ((unix, names["unix"]), (datagram, names["datagram"])):
            opened.bind(name)
            os.chmod(name, 0o777)
        unix.listen()
        yield {"canary": canary, "folder": folder, "tcp": tcp.getsockname()[1], **names}
