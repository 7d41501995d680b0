"""The warm interpreter that runs are forked from. One run at a time; the parent decides how many zygotes there are.

Started by `host` with nothing but a socket and the sources of this package. It never sees a test, an expected answer
or a program: those are in memory files whose descriptors it hands to the children it forks. It confines each child
before that child reads a byte of the program, kills it at the deadline, and reaps whatever it left.
"""

import builtins
import contextlib
import gc
import json
import os
import select
import shutil
import signal
import site
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from rlreason.sandbox import confine, driver, namespaces, prelude, solution
from rlreason.sandbox import syscalls as sc

# What programs import most; anything else of the standard library loads when it is asked for.
_PRELOAD = (
    "math", "cmath", "random", "re", "string", "collections", "heapq", "bisect", "itertools", "functools", "operator",
    "copy", "typing", "dataclasses", "enum", "abc", "array", "struct", "fractions", "decimal", "datetime", "time",
    "calendar", "json", "statistics", "textwrap", "pprint", "hashlib", "hmac", "secrets", "uuid", "base64",
    "binascii", "io", "contextlib", "inspect", "traceback", "types", "weakref", "queue", "threading", "asyncio",
    "numbers", "graphlib", "difflib", "unicodedata", "zlib", "csv", "html", "locale", "logging", "unittest", "ast",
    "tokenize", "tempfile", "sys", "os",
)  # fmt: skip
_COMMAND_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OPENSSL_CONF": "/dev/null",  # node ends where it may not read the system's
}
MOST_TASKS = 64
"""Processes and threads of one run: the program's, its judge's, a compiler's."""
_CROWDED = 32
"""So many more of others, of the same user, in the course of a run may be why it could start no thread."""
_MAX_FD = 1 << 16
_CONFINED, _NOT_STARTED = b"c", b"n"
STOP = b"x"
"""The parent's word, between orders, to end the present run."""


class Zygote:
    """The loop. `serve` returns when the parent closes the socket."""

    def __init__(
        self, control: socket.socket, in_namespaces: bool, is_alone: bool, abi: int, temp: str, readable: list[str]
    ) -> None:
        """is_alone: no other process counts towards the limit of this user's."""
        self.control, self.in_namespaces, self.abi, self.temp = control, in_namespaces, abi, temp
        self.ruleset = confine.python_ruleset(abi, readable)
        confine.filter_program("python", 0, abi)  # built once, for all children
        self.null = os.open("/dev/null", os.O_RDWR)
        self.builtins = prelude.builtins_module()  # for programs
        self.folders: set[str] = set()
        self.confined: dict[int, int] = {}
        """Of each child the pipe on which it says, before it reads the program, that it is confined."""
        self.others = None if is_alone else Others()

    def serve(self) -> None:
        while True:
            try:
                body, fds, _, _ = socket.recv_fds(self.control, 1 << 16, 8)
            except OSError:
                return
            if not body:
                return
            if body == STOP:
                continue  # meant for a run that ended by itself meanwhile
            order = json.loads(body)
            before = self.others.count() if self.others else 0
            self.most_tasks = before + MOST_TASKS
            try:
                result = self._run(order, fds)
            finally:
                for fd in fds:
                    os.close(fd)
            if self.others and self.others.count() > before + _CROWDED:
                result = {"failed": "other processes of this user may have taken the place of the program's threads"}
            with contextlib.suppress(OSError):  # a parent that has gone: the next read says so
                self.control.sendall(json.dumps(result).encode())

    def _run(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        match order["op"]:
            case "script":
                return self._script(order, *fds)
            case "functions":
                return self._functions(order, *fds)
            case "checker":
                return self._checker(order, *fds)
            case "command":
                return self._command(order, *fds)
            case "folder":
                return self._folder(*fds)
        self.folders.discard(order["folder"])
        shutil.rmtree(order["folder"], ignore_errors=True)
        return {}

    def leave(self) -> None:
        """Removes what a parent that ended in the middle has left."""
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _script(self, order: dict[str, Any], source: int, stdin: int, stdout: int, stderr: int) -> dict[str, Any]:
        def body() -> int:
            return solution.run_script(_take(source), self.builtins)

        return self._wait(order, self._fork(order, body, {0: stdin, 1: stdout, 2: stderr}, {source}))

    def _functions(self, order: dict[str, Any], source: int, tests: int, verdict: int) -> dict[str, Any]:
        answers, questions = os.pipe(), os.pipe()  # from and to the program

        def program() -> int:
            solution.serve_functions(_take(source), self.builtins, questions[0], answers[1])
            return 0

        def judge() -> int:
            sys.setrecursionlimit(prelude.RECURSION_LIMIT)  # tests compare long lists node by node
            given = json.loads(_read_all(tests))
            pipes: dict[str, Any] = {"replies": answers[0], "requests": questions[1]}
            _write_lines(verdict, driver.run_tests(**given, given=self.builtins, **pipes))
            return 0

        quiet = dict.fromkeys(range(3), self.null)
        other = self._fork(order, program, quiet, {source, questions[0], answers[1]})
        watched = self._fork(order, judge, quiet, {tests, verdict, answers[0], questions[1]})
        for fd in (*answers, *questions):
            os.close(fd)
        return self._wait(order, watched, other)

    def _checker(self, order: dict[str, Any], task: int, verdict: int) -> dict[str, Any]:
        def body() -> int:
            given = json.loads(_read_all(task))
            _write_lines(verdict, driver.run_checker(given.pop("code"), given))
            return 0

        return self._wait(order, self._fork(order, body, dict.fromkeys(range(3), self.null), {task, verdict}))

    def _folder(self, source: int) -> dict[str, Any]:
        """A work folder with the program in it, for the languages that want a file."""
        folder = self._new_folder()
        self.folders.add(folder)
        path = os.path.join(folder, "program")
        _write_file(path, 0o600, _read_all(source))
        return {"folder": folder}

    def _new_folder(self) -> str:
        if self.in_namespaces:
            return tempfile.mkdtemp(prefix="rlreason-", dir=namespaces.WORK)
        with contextlib.suppress(PermissionError):  # the trainer's own folder need not be this user's to write to
            return tempfile.mkdtemp(prefix="rlreason-", dir=self.temp)
        return tempfile.mkdtemp(prefix="rlreason-")

    def _command(self, order: dict[str, Any], stdin: int, stdout: int, stderr: int) -> dict[str, Any]:
        folder, role = order["folder"], order["role"]
        if order.get("file"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(os.path.join(folder, "program"), os.path.join(folder, order["file"]))
        stdin_files = [namespaces.STDIN] if self.in_namespaces and role == "run" else []
        for path in stdin_files:
            _write_file(path, 0o400, _read_all(stdin))
        writable = role == "compile"
        ruleset = confine.command_ruleset(self.abi, folder, writable=writable, readable=stdin_files)

        def body() -> int:
            os.chdir(folder)
            os.execve(order["argv"][0], order["argv"], {**_COMMAND_ENVIRONMENT, "HOME": folder, "TMPDIR": folder})

        try:
            child = self._fork(order, body, {0: stdin, 1: stdout, 2: stderr}, set(), role, ruleset)
            return self._wait(order, child)
        finally:
            os.close(ruleset)
            for path in stdin_files:
                os.unlink(path)

    def _fork(
        self,
        order: dict[str, Any],
        body: Callable[[], int],
        streams: dict[int, int],
        keep: set[int],
        role: confine.Role = "python",
        ruleset: int | None = None,
    ) -> int:
        confined, say = os.pipe()
        pid = os.fork()
        if pid:
            os.close(say)
            self.confined[pid] = confined
            return pid
        try:
            self._become_child(order, streams, {*keep, say}, role, self.ruleset if ruleset is None else ruleset)
            os.write(say, _CONFINED)
            if role == "python":
                os.close(say)
            os._exit(body())
        except BaseException as error:
            if role != "python":  # else the execution has closed it
                os.write(say, _NOT_STARTED)
            with contextlib.suppress(OSError):
                os.write(2, f"{type(error).__name__}: {error}\n".encode("utf-8", "backslashreplace"))
        os._exit(70)

    def _become_child(
        self, order: dict[str, Any], streams: dict[int, int], keep: set[int], role: confine.Role, ruleset: int
    ) -> None:
        parent = os.getppid()
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number, fd in streams.items():
            os.dup2(fd, number)
        _close_all_but({0, 1, 2, ruleset, *keep})
        sc.die_with(parent)
        limits = confine.Limits(
            memory_bytes=order["memory_bytes"],
            address_space=order.get("address_space", True),
            cpu_s=order["cpu_s"],
            processes=self.most_tasks,
        )
        confine.confine(role, ruleset, limits, self.abi)
        os.close(ruleset)

    def _wait(self, order: dict[str, Any], watched: int, *others: int) -> dict[str, Any]:
        """Until `watched` ends, the deadline passes or the parent says stop; then nothing of the run is left."""
        handle = os.pidfd_open(watched)
        poll = select.poll()
        for fd in (handle, self.control.fileno()):
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(order["timeout_s"] * 1000)]
        os.close(handle)
        ended = self._end((watched, *others))
        # One that was killed here before it came so far is just out of time.
        said = {pid: self._said(pid) for pid in (watched, *others)}
        failed = [pid for pid in said if not said[pid].startswith(_CONFINED) and ended[pid] != -signal.SIGKILL]
        if handle not in ready and self.control.fileno() in ready and not self.control.recv(1):
            self.leave()
            os._exit(0)  # the parent is gone
        if failed:
            return {"failed": "a child could not be confined"}
        not_started = said[watched].endswith(_NOT_STARTED)
        return {"timed_out": not ready, "status": ended[watched], "not_started": not_started}

    def _said(self, pid: int) -> bytes:
        """_CONFINED, and _NOT_STARTED after it where the program could not be executed."""
        fd = self.confined.pop(pid)
        said = os.read(fd, 2)
        os.close(fd)
        return said

    def _end(self, pids: tuple[int, ...]) -> dict[int, int]:
        """Kills and reaps these, their sessions, and whatever became ours when its parent died."""
        for pid in pids:
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(pid, signal.SIGKILL)
        ended: dict[int, int] = {}
        while True:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                return ended
            ended[pid] = os.waitstatus_to_exitcode(status)


def main(
    fd: int, *, in_namespaces: bool, is_alone: bool, abi: int, temp: str, packages: list[str], folders: list[str]
) -> None:
    """Entry point, in a fresh interpreter. Says its version of Landlock, or why it does not serve.

    temp: where work folders are made, if this user may.
    packages: names of those to load. folders: in which they may be, beside those of this interpreter.
    """
    control = socket.socket(fileno=fd)
    folders = [*folders, *site.getsitepackages()] if packages else []
    readable = _files_of(packages, folders)
    try:
        sc.require_machine()
        if in_namespaces:
            namespaces.enter(readable)
        sc.drop_capabilities()  # root that may not become another user still has them
        sc.prctl(sc.PR_SET_CHILD_SUBREAPER, 1)
        sc.prctl(sc.PR_SET_DUMPABLE, 0)
        abi = min(abi, sc.landlock_abi())
        if abi < 1:
            raise OSError("the kernel has no Landlock")
        warnings.simplefilter("ignore")
        sys.set_int_max_str_digits(0)  # programs and tests convert integers of any length; their time is limited
        # The call is denied, since it names the host.
        os.uname = lambda: os.uname_result(("Linux", "sandbox", "", "", sc.MACHINE))
        for name in _PRELOAD:
            with contextlib.suppress(ImportError):
                __import__(name)
        _load(packages, folders)
        # The site module, which is left out, would have defined these; programs end with them.
        builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]
        zygote = Zygote(control, in_namespaces, is_alone, abi, temp, readable)
        gc.freeze()  # a collection in a child would touch, and so copy, every page
    except OSError as error:
        control.sendall(json.dumps({"failed": str(error)}).encode())
        return
    control.sendall(json.dumps({"abi": abi}).encode())
    zygote.serve()
    zygote.leave()


def _files_of(names: list[str], folders: list[str]) -> list[str]:
    """Folders and files of packages; what their wheels put beside them is in NAME.libs."""
    paths = [os.path.join(folder, name + end) for folder in folders for name in names for end in ("", ".libs", ".py")]
    return [path for path in paths if os.path.exists(path)]


def _load(names: list[str], folders: list[str]) -> None:
    """Imports packages for all programs, which find them loaded. OSError for one that is in none of the folders."""
    before = sys.path[:]
    sys.path += folders
    for name in names:
        try:
            __import__(name)
        except ImportError as error:
            hidden = [folder for folder in folders if not os.access(folder, os.R_OK | os.X_OK)]
            why = f"the sandbox's user may not read {', '.join(hidden)}" if hidden else str(error)
            raise OSError(f"package {name} cannot be imported: {why}") from None
    sys.path[:] = before


class Others:
    """Processes and threads of this user that are there beside a run. To look at each takes milliseconds, so that is
    done where the number of all on this host has changed.
    """

    def __init__(self) -> None:
        self._all = self._ours = -_CROWDED

    def count(self) -> int:
        with open("/proc/loadavg") as file:
            everyone = int(file.read().split()[3].split("/")[1])
        if abs(everyone - self._all) >= _CROWDED // 2:
            self._all, self._ours = everyone, sum(map(_num_tasks, filter(str.isdigit, os.listdir("/proc"))))
        return self._ours


def _num_tasks(pid: str) -> int:
    """0 for a process of another user, or one that has ended."""
    try:
        with open(f"/proc/{pid}/status") as file:  # the folder's owner is root's where a process is not dumpable
            fields = dict(line.partition(":\t")[::2] for line in file)
        return int(fields["Threads"]) if int(fields["Uid"].split()[0]) == os.getuid() else 0
    except (OSError, ValueError, KeyError):
        return 0


def _close_all_but(keep: set[int]) -> None:
    low = 0
    for fd in sorted(keep):
        if fd > low:  # closerange(0, 0) would close everything
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, _MAX_FD)


def _take(fd: int) -> bytes:
    data = _read_all(fd)
    os.close(fd)
    return data


def _read_all(fd: int) -> bytes:
    """What a memory file holds; where a reader of it stands does not change."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _write_lines(fd: int, results: Iterable[list[Any]]) -> None:
    """Each as it comes: what was judged stands if the time ends in the next."""
    with open(fd, "wb", closefd=False) as file:
        for result in results:
            file.write(json.dumps(result).encode() + b"\n")
            file.flush()


def _write_file(path: str, mode: int, data: bytes) -> None:
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
