"""The way in: runs programs at the strongest isolation level that this host allows, from any thread.

    sandbox = Sandbox()
    run = sandbox.script(b"print(int(input()) * 2)", b"21")     # run.outputs[0] == b"42\n"

One warm zygote for each caller at a time, at most one for each processor; each proves itself in a self-test before it
serves and again after each restart. A zygote that is lost is replaced and the run repeated once; then SandboxError.
Does not decide right or wrong.
"""

import atexit
import json
import math
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar, get_args

from rlreason.sandbox.host import Ended, Host, Level, Lost, Unavailable, pythons
from rlreason.sandbox.names import resolve
from rlreason.sandbox.probes import self_test

MAX_OUTPUT_BYTES = 12 << 20
LEVELS: tuple[Level, ...] = get_args(Level)
"""Weakest first."""
REMEDY = (
    "rlreason needs Linux 5.13 or later with Landlock switched on (`landlock` in the kernel's lsm= list), and for "
    "`namespaces` a host that allows user namespaces; or name a remote sandbox"
)
_T = TypeVar("_T")


class SandboxError(RuntimeError):
    """The sandbox itself failed. Says nothing about the program."""


class SandboxUnavailable(SandboxError):
    """No level that is allowed works here; the message lists what each one lacked, and what to do."""


class Sandbox:
    """Nothing starts before the first run, or `start`."""

    def __init__(
        self, min_level: Level = "landlock", *, level: Level | None = None, packages: tuple[str, ...] = ()
    ) -> None:
        """`min_level`: refuse anything weaker. `level`: just this one, where the strongest is not wanted.

        packages: installed ones, beside the standard library, that every program may import.
        """
        self._packages = packages
        self._allowed = [level] if level else list(LEVELS[LEVELS.index(min_level) :])[::-1]
        self._chosen: tuple[Level, str] | None = None
        self._begin()
        _open.add(self)

    def _begin(self) -> None:
        self._hosts: set[Host] = set()
        self._free: list[Host] = []
        self._lock = threading.Lock()
        self._places = threading.Semaphore(max(2, os.cpu_count() or 2))

    def start(self) -> str:
        """Starts one zygote. Returns what runs: level, interpreter, version of Landlock."""
        host = self._take()
        self._give(host)
        group = ", a cgroup of its own" if host.group else ""
        return f"level {host.level} (Landlock {host.abi}{group}), programs run on {self._chosen and self._chosen[1]}"

    @property
    def level(self) -> Level | None:
        """None before the start."""
        return self._chosen[0] if self._chosen else None

    def script(self, source: bytes, stdin: bytes, *, timeout_s: float = 10.0, memory_bytes: int = 512 << 20) -> Ended:
        """Runs a Python program; outputs are (stdout, stderr)."""
        order = _order("script", timeout_s, memory_bytes)
        return self._run(lambda host: host.run(order, [source, stdin], 2, MAX_OUTPUT_BYTES))

    def functions(
        self,
        source: bytes,
        tests: list[dict[str, Any]],
        entry_point: str | None,
        *,
        program_names: Sequence[str] = (),
        partial: bool = False,
        timeout_s: float = 10.0,
        memory_bytes: int = 512 << 20,
    ) -> tuple[Ended, list[list[Any]]]:
        """Runs assert and call tests on a program's functions; see `driver.run_tests` for the results.

        program_names: what the tests may use of the program beside the entry point. ValueError as `names.resolve` has.
        """
        names = resolve(tests, entry_point, program_names, self._packages)
        given = json.dumps(
            {"tests": tests, "entry_point": entry_point, "names": asdict(names), "partial": partial}
        ).encode()
        order = _order("functions", timeout_s, memory_bytes)
        ended = self._run(lambda host: host.run(order, [source, given], 1, MAX_OUTPUT_BYTES))
        return ended, _verdicts(ended)

    def checker(
        self, code: str, *, input: str, output: str, expected: str, timeout_s: float, host: Host | None = None
    ) -> list[Any]:
        """Runs the data set's own checker program; see `driver.run_checker`. `host`: one that is borrowed already."""
        given = json.dumps({"code": code, "input": input, "output": output, "expected": expected}).encode()
        order = _order("checker", timeout_s, 1 << 30)

        def use(host: Host) -> Ended:
            return host.run(order, [given], 1, MAX_OUTPUT_BYTES)

        return _verdicts(use(host) if host else self._run(use))[0]

    def borrow(self, use: Callable[[Host], _T]) -> _T:
        """One zygote for several orders that belong together. Not repeated if it is lost."""
        host = self._take()
        try:
            result = use(host)
        except Lost as error:
            self._drop(host)
            raise SandboxError(str(error)) from None
        except BaseException:
            self._drop(host)  # in the middle of an order it is out of step
            raise
        (self._drop if host.is_gone else self._give)(host)
        return result

    def close(self) -> None:
        """Ends all free zygotes; a later run starts new ones."""
        with self._lock:
            free, self._free = self._free, []
        for host in free:
            self._end(host)

    def _end(self, host: Host) -> None:
        self._hosts.discard(host)
        host.close()

    def forget(self) -> None:
        """In the child of a fork: the zygotes are the parent's, and must see its end by the end of their sockets."""
        for host in self._hosts:
            host.forget()
        self._begin()

    def _run(self, use: Callable[[Host], _T]) -> _T:
        try:
            return self.borrow(use)
        except SandboxUnavailable:
            raise
        except SandboxError:
            return self.borrow(use)

    def _take(self) -> Host:
        self._places.acquire()
        try:
            with self._lock:
                if self._free:
                    return self._free.pop()
                host = self._start_one()
                self._hosts.add(host)
                return host
        except BaseException:
            self._places.release()
            raise

    def _give(self, host: Host) -> None:
        with self._lock:
            self._free.append(host)
        self._places.release()

    def _drop(self, host: Host) -> None:
        self._end(host)
        self._places.release()

    def _start_one(self) -> Host:
        if self._chosen is not None:
            try:
                return _proven(*self._chosen, self._packages)
            except Unavailable as error:
                raise SandboxError(f"the sandbox does not start again: {error}") from None
        refusals = []
        for level in self._allowed:
            for python in pythons():
                try:
                    host = _proven(level, python, self._packages)
                except Unavailable as error:
                    refusals.append(f"{level} with {python}: {error}")
                else:
                    self._chosen = level, python
                    return host
        raise SandboxUnavailable(f"no sandbox here: {'; '.join(refusals)}. {REMEDY}")


def _proven(level: Level, python: str, packages: tuple[str, ...]) -> Host:
    host = Host(level, python, packages=packages)
    try:
        self_test(host)
    except Lost as error:
        host.close()
        raise Unavailable(str(error)) from None
    except BaseException:
        host.close()
        raise
    return host


def _order(op: str, timeout_s: float, memory_bytes: int) -> dict[str, Any]:
    # Threads add up their CPU time, so this only stops what the wall clock would not.
    return {"op": op, "timeout_s": timeout_s, "memory_bytes": memory_bytes, "cpu_s": math.ceil(timeout_s) + 1}


def _verdicts(ended: Ended) -> list[list[Any]]:
    """What the judge wrote; if it was ended before it was done, why."""
    found: list[list[Any]] = [json.loads(line) for line in ended.outputs[0].split(b"\n")[:-1]]
    if ended.timed_out:
        found.append(["timeout", "ran out of time"])
    elif ended.status or not found:
        found.append(["gone", "the judge ran out of memory or CPU time"])
    return found


_open: weakref.WeakSet[Sandbox] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for sandbox in _open:
        sandbox.close()


def _forget_all() -> None:
    for sandbox in _open:
        sandbox.forget()


os.register_at_fork(after_in_child=_forget_all)
