"""The process that judges functions. It holds the tests, never runs a line of the program, and is confined too.

The program's names are stand-ins here that ask the `solution` process; what comes back is data. Tests are trusted
text (they come with the data set), the program's answers are not.
"""

import ast
import builtins
import importlib
import secrets
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rlreason.sandbox import codec

FLOAT_TOLERANCE = 1e-9
"""Relative; between a float and a number."""
MAX_DETAIL_CHARS = 500


class Gone(BaseException):
    """The program's process ended, or talks nonsense. No test can pass any more."""


class OutOfTime(BaseException):
    """A test's time is up."""


@dataclass(slots=True)
class Link:
    """The two pipes to the solution process."""

    replies: int
    requests: int
    deadline: float

    def ask(self, **request: Any) -> dict[str, Any]:
        # Unguessable, so that an answer written ahead of its question is not taken for one.
        request["id"] = secrets.token_hex(8)
        try:
            codec.send(self.requests, request)
            reply = codec.receive(self.replies, self.deadline)
        except TimeoutError:
            raise OutOfTime from None
        except (EOFError, OSError):
            raise Gone("the program ended its process") from None
        except (ValueError, RecursionError, MemoryError):
            raise Gone("the program's process broke the protocol") from None
        if not isinstance(reply, dict) or reply.get("id") != request["id"]:
            raise Gone("the program's process broke the protocol")
        if "failed" in reply:
            raise _exception(reply["failed"])
        return reply

    def value(self, coded: Any) -> Any:
        try:
            return codec.decode(coded, lambda number: Remote(self, number))
        except Exception:
            raise Gone("the program's process broke the protocol") from None

    def call(self, target: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        reply = self.ask(**target, args=codec.encode(args, _number_of), kwargs=codec.encode(dict(kwargs), _number_of))
        changed = self.value(reply.get("args"))
        for given, now in zip(args, changed if isinstance(changed, tuple) else (), strict=False):
            if type(given) is type(now) and type(given) in (list, dict, set, deque):
                given.clear()
                given.extend(now) if isinstance(given, list | deque) else given.update(now)
        return self.value(reply.get("value"))


class Function:
    """Stand-in for a name of the program: it can be called, and has the attributes of what it stands for."""

    def __init__(self, link: Link, target: Mapping[str, Any]) -> None:
        self._link, self._target = link, target

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._link.call(self._target, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        target = {**self._target, "of": name}
        reply = self._link.ask(**target)
        return Function(self._link, target) if reply.get("callable") is True else self._link.value(reply.get("value"))


class Remote(Function):
    """Stand-in for an object of the program. Never equal to a value of the tests, and it contains one only if a
    comparison here says so: what the program claims about itself is data like any other.
    """

    def __init__(self, link: Link, number: int) -> None:
        super().__init__(link, {"ref": number})

    def _ask(self, operator: str, *args: Any) -> Any:
        return self._link.call({"operator": operator}, (self, *args), {})

    def _compare(self, other: Any, operator: str) -> bool:
        if not isinstance(other, Remote):
            raise TypeError("an object of the program cannot be compared with a value")
        return self._ask(operator, other) is True

    def __eq__(self, other: object) -> bool:
        return self._compare(other, "eq")

    def __ne__(self, other: object) -> bool:
        return self._compare(other, "ne")

    def __lt__(self, other: object) -> bool:
        return self._compare(other, "lt")

    def __le__(self, other: object) -> bool:
        return self._compare(other, "le")

    def __gt__(self, other: object) -> bool:
        return self._compare(other, "gt")

    def __ge__(self, other: object) -> bool:
        return self._compare(other, "ge")

    def __bool__(self) -> bool:
        return self._ask("truth") is True

    def __len__(self) -> int:
        return self._ask("len")

    def __iter__(self) -> Any:
        return self._ask("iter")

    def __getitem__(self, key: Any) -> Any:
        return self._ask("getitem", key)

    def __str__(self) -> str:
        return self._ask("str")

    def __repr__(self) -> str:
        return self._ask("repr")

    __hash__ = None  # type: ignore[assignment]


def _number_of(value: Any) -> int:
    if isinstance(value, Remote):
        return int(value._target["ref"])
    raise codec.NotPlain(f"a test passes a {type(value).__name__}, which cannot be sent to the program")


def _exception(described: Any) -> Exception:
    """The nearest builtin exception. One that would end this process becomes a RuntimeError."""
    name, message = described if isinstance(described, list) and len(described) == 2 else ("", "")
    kind = getattr(builtins, str(name), None)
    stops = StopIteration, StopAsyncIteration  # would end a loop of the test early, `all(map(...))` for one
    if not (isinstance(kind, type) and issubclass(kind, Exception)) or issubclass(kind, stops):
        return RuntimeError(f"{name}: {message}")
    try:
        return kind(message)
    except TypeError:  # UnicodeDecodeError and its like want more
        return RuntimeError(f"{name}: {message}")


def run_tests(
    tests: list[dict[str, Any]], entry_point: str | None, partial: bool, replies: int, requests: int
) -> Iterator[list[Any]]:
    """[passed, detail] of each test, up to the first that fails unless `partial`; `timeout` or `gone` is the last."""
    link = Link(replies, requests, deadline=time.monotonic() + max(test["timeout_s"] for test in tests))
    names = Names(link, [test["code"] for test in tests if test["type"] == "assert"], entry_point)
    try:
        loaded = codec.receive(replies, link.deadline)
        if not isinstance(loaded, dict) or loaded.get("loaded") is not True:
            failed = loaded.get("failed") if isinstance(loaded, dict) else None
            yield ["gone", f"the program does not load: {_short(_exception(failed))}"]
            return
        for test in tests:
            link.deadline = time.monotonic() + test["timeout_s"]
            result = _run_one(test, entry_point, link, names)
            yield result
            if not (result[0] or partial):
                return
    except (OutOfTime, TimeoutError):
        yield ["timeout", "ran out of time"]
    except Gone as error:
        yield ["gone", str(error)]
    except (EOFError, OSError, ValueError):
        yield ["gone", "the program ended its process before it was loaded"]


def _run_one(test: dict[str, Any], entry_point: str | None, link: Link, names: "Names") -> list[Any]:
    try:
        if test["type"] == "assert":
            names.run(test["code"])
            return [True, ""]
        args, kwargs = codec.decode(test["args"]), codec.decode(test["kwargs"])
        found = link.call({"name": entry_point}, tuple(args), kwargs)
        passed = same(codec.decode(test["expected"]), found)
        return [passed, "" if passed else f"returned {_show(found)}"]
    except AssertionError as error:
        return [False, f"assertion failed {error}"[:MAX_DETAIL_CHARS]]
    except Exception as error:
        return [False, _short(error)]


class Names:
    """What the assert tests see: their own names, the builtins, and stand-ins for all others.

    A name that is also a builtin belongs to the program only if it is the entry point, or if the tests call nothing
    else: a program cannot put its own `set` or `sorted` in the place of the tests'.
    """

    def __init__(self, link: Link, codes: list[str], entry_point: str | None) -> None:
        self._link, self._entry_point = link, entry_point
        self.scope: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
        used, self._defined = _names_of(codes)
        programs = {name for name in used if not hasattr(builtins, name)}
        if entry_point is not None:
            programs.add(entry_point)
            self.scope["candidate"] = Function(link, {"name": entry_point})  # HumanEval's word for it
        elif not programs - self._defined:
            programs |= _first_called(codes)
        for name in programs - self.scope.keys():
            module = _is_module(name, codes)
            self.scope[name] = importlib.import_module(name) if module else Function(link, {"name": name})

    def run(self, code: str) -> None:
        """One test. A HumanEval test that defines `check` and does not call it is called with the entry point."""
        exec(compile(code, "test", "exec"), self.scope)
        if "check" in self._defined and self._entry_point is not None and not _calls_check(code):
            self.scope["check"](Function(self._link, {"name": self._entry_point}))


def _names_of(codes: list[str]) -> tuple[set[str], set[str]]:
    """(names that are read, names that the tests themselves define)."""
    used: set[str] = set()
    defined: set[str] = set()
    for node in (node for code in codes for node in ast.walk(ast.parse(code))):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.alias):
            defined.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            defined.add(node.name)
    return used, defined


def _is_module(name: str, codes: list[str]) -> bool:
    """`sys` in `sys.getsizeof(x)`: a test may rely on an import of the reference solution."""
    if name not in sys.stdlib_module_names:
        return False
    nodes = [node for code in codes for node in ast.walk(ast.parse(code))]
    bases = {node.value for node in nodes if isinstance(node, ast.Attribute)}
    return all(node in bases for node in nodes if isinstance(node, ast.Name) and node.id == name)


def _first_called(codes: list[str]) -> set[str]:
    for node in (node for code in codes for node in ast.walk(ast.parse(code))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return {node.func.id}
    return set()


def _calls_check(code: str) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"
        for statement in ast.parse(code).body
        if not isinstance(statement, ast.FunctionDef)
        for node in ast.walk(statement)
    )


def same(expected: Any, found: Any) -> bool:
    """Equality of plain data. True is not 1; a list equals a tuple or an iterator; floats up to FLOAT_TOLERANCE."""
    if isinstance(expected, bool) or isinstance(found, bool) or expected is None or found is None:
        return type(expected) is type(found) and bool(expected == found)
    if isinstance(expected, int | float) and isinstance(found, int | float):
        return _same_number(expected, found)
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and _tagged(expected) == _tagged(found)
            and all(same(value, found[key]) for key, value in expected.items())
        )
    if _is_row(expected) and _is_row(found):
        first, second = list(expected), list(found)
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(expected, set | frozenset):
        return isinstance(found, set | frozenset) and _tagged(expected) == _tagged(found)
    return type(expected) is type(found) and bool(expected == found)


def _tagged(values: Iterable[Any]) -> set[tuple[bool, Any]]:
    return {(isinstance(value, bool), value) for value in values}


def _is_row(value: Any) -> bool:
    return isinstance(value, list | tuple | deque | range) or type(value) is type(iter([]))


def _same_number(expected: float, found: float) -> bool:
    if expected == found or (expected != expected and found != found):
        return True
    if isinstance(expected, int) and isinstance(found, int):
        return False
    try:
        return abs(expected - found) <= FLOAT_TOLERANCE * max(abs(expected), abs(found)) < float("inf")
    except OverflowError:
        return False


def run_checker(code: str, task: dict[str, str]) -> Iterator[list[Any]]:
    """The data set's own checker: `check(input, output, expected)` gives a truth value or a number from 0 to 1."""
    scope: dict[str, Any] = {"__name__": "checker"}
    try:
        exec(compile(code, "checker.py", "exec"), scope)
        verdict = scope["check"](task["input"], task["output"], task["expected"])
        result = [float(verdict) >= 1.0, "" if float(verdict) >= 1.0 else "the checker says no"]
    except (Exception, SystemExit) as error:
        result = ["broken", f"the checker program failed: {_short(error)}"]
    yield result


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_DETAIL_CHARS]


def _show(value: Any) -> str:
    try:
        return repr(value)[:MAX_DETAIL_CHARS]
    except Exception:
        return type(value).__name__
