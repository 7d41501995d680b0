"""The process that judges functions. It holds the tests, never runs a line of the program, and is confined too.

The program's names are stand-ins here that ask the `solution` process; what comes back is data. Tests are trusted
text (they come with the data set), the program's answers are not. A test is told as broken, which says nothing of the
program, where it does not compile or ends this process.
"""

import ast
import builtins
import importlib
import re
import secrets
import sys
import time
import types
import unittest
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from rlreason.sandbox import codec, nodes
from rlreason.sandbox.settling import FILE_NAME, SETTLE, running, settling

FLOAT_TOLERANCE = 1e-9
"""Relative; between a float and a number."""
MAX_DETAIL_CHARS = 500
PROGRAM_MODULES = ("solution", "main", "program", "submission", "your_module")
"""What tests that import the program call it."""
_HAS_CASES = re.compile(r"^(?:def test|class )", re.MULTILINE)
_SHOWN_DIGITS = 4300
_CHANGEABLE = (list, dict, set, deque)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The names that assert tests use and neither define nor import; made by `names.resolve`, where no program runs."""

    program: Sequence[str]
    """Stand-ins here."""
    prelude: Sequence[str]
    """Of the module that `prelude.builtins_module` makes."""
    modules: Mapping[str, str]
    """{name: the module that it stands for}."""
    nodes: bool
    """True if the tests use linked lists or trees, which then cross by value."""


class Broken(Exception):
    """The test is at fault, not the program."""


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
    classes: Mapping[str, type] | None = None
    """Node classes of the tests, whose objects cross by value; None: nodes of the program stay there, as any object."""
    changed: list[tuple[Any, Any, set[types.FrameType]]] = field(default_factory=list)
    """(argument, what the program left in it, what ran of the tests at that call), for `settle`."""

    def ask(self, **request: Any) -> dict[str, Any]:
        # Unguessable, so that an answer written ahead of its question is not taken for one.
        request["id"] = secrets.token_hex(8)
        if self.classes is not None:
            request["nodes"] = True
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
            return codec.decode(coded, lambda number: Remote(self, number), self.classes or nodes.CLASSES)
        except Exception:
            raise Gone("the program's process broke the protocol") from None

    def call(self, target: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        reply = self.ask(**target, args=self._sent(args), kwargs=self._sent(dict(kwargs)))
        args_after, kwargs_after = self.value(reply.get("args")), self.value(reply.get("kwargs"))
        if isinstance(args_after, tuple) and isinstance(kwargs_after, dict):
            pairs = [*zip(args, args_after, strict=False), *((kwargs.get(name), x) for name, x in kwargs_after.items())]
            self.changed += [(*pair, running(sys._getframe())) for pair in pairs if _may_become(*pair)]
        return self.value(reply.get("value"))

    def settle(self) -> None:
        """Gives arguments what calls left in them, of calls whose statements have ended. See `settling`."""
        here = sys._getframe(1)
        first = len(self.changed)
        while first and here in self.changed[first - 1][2]:
            first -= 1
        # Entered from the tests' code, it is within a statement that settled; else what was before may have ended.
        if first and not (here.f_back and here.f_back.f_code.co_filename == FILE_NAME):
            now = running(here)
            while first and not self.changed[first - 1][2] & now:
                first -= 1
        due, self.changed[first:] = self.changed[first:], []
        for given, after, _ in due:
            _become(given, after)

    def _sent(self, value: Any) -> Any:
        return codec.encode(value, _number_of, nodes_by_value=self.classes is not None)


def _may_become(given: Any, after: Any) -> bool:
    kind = type(given)
    return kind is type(after) and (issubclass(kind, _CHANGEABLE) or kind.__name__ in nodes.FIELDS)


def _become(given: Any, after: Any) -> None:
    """Gives an argument of a test what the program left in it."""
    if isinstance(given, list):
        given[:] = after
    elif isinstance(given, deque):
        given.clear()
        given.extend(after)
    elif isinstance(given, dict | set):
        given.clear()
        given.update(after)
    else:
        given.__dict__.update(after.__dict__)


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
    tests: list[dict[str, Any]],
    entry_point: str | None,
    names: dict[str, Any],
    partial: bool,
    given: types.ModuleType,
    replies: int,
    requests: int,
) -> Iterator[list[Any]]:
    """[passed, detail] of each test, up to the first that fails unless `partial`; `timeout` or `gone` is the last.

    names: the fields of Resolved. given: the builtins module of `prelude`.
    """
    link = Link(replies, requests, deadline=time.monotonic() + max(test["timeout_s"] for test in tests))
    try:
        codes = [test["code"] for test in tests if test["type"] == "assert"]
        scope = Names(link, codes, entry_point, Resolved(**names), given)
        loaded = codec.receive(replies, link.deadline)
        if not isinstance(loaded, dict) or loaded.get("loaded") is not True:
            failed = loaded.get("failed") if isinstance(loaded, dict) else None
            yield ["gone", f"the program does not load: {_short(_exception(failed))}"]
            return
        for test in tests:
            link.deadline = time.monotonic() + test["timeout_s"]
            result = _run_one(test, entry_point, link, scope)
            yield result
            if not (result[0] or partial):
                return
    except Broken as error:
        yield ["broken", str(error)]
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
        found = link.call({"name": entry_point, "plain": True}, tuple(args), kwargs)
        passed = same(codec.decode(test["expected"]), found, test["tolerance"], tuples_as_lists=test["tuples_as_lists"])
        return [passed, "" if passed else f"returned {_show(found)}"]
    except Broken:
        raise
    except SystemExit as error:  # the program's own arrives as a RuntimeError
        if error.code:
            return [False, f"a test ended with status {error.code}"[:MAX_DETAIL_CHARS]]
        raise Broken("a test ends its process before its end") from None
    except AssertionError as error:
        return [False, f"assertion failed {error}"[:MAX_DETAIL_CHARS]]
    except Exception as error:
        return [False, _short(error)]


class Names:
    """What the assert tests see: their own names, the builtins, real things, and stand-ins for the program's names."""

    def __init__(
        self, link: Link, codes: list[str], entry_point: str | None, resolved: Resolved, given: types.ModuleType
    ) -> None:
        """Broken for a test that does not compile."""
        self._link, self._entry_point = link, entry_point
        # As a script: a test may stand behind `if __name__ == "__main__"`. Its cases are called below, once.
        self.scope: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins, SETTLE: link.settle}
        unittest.main = lambda *_, **__: None  # type: ignore[assignment]
        try:
            self._compiled = {code: compile(settling(ast.parse(code)), FILE_NAME, "exec") for code in codes}
        except (SyntaxError, ValueError) as error:
            raise Broken(f"a test does not compile: {_short(error)}") from None
        if entry_point is not None:
            self.scope["candidate"] = Function(link, {"name": entry_point})  # HumanEval's word for it
        if resolved.nodes:
            # Theirs where they define them. Nodes that the tests make are then the tests' own.
            self.scope |= {**nodes.CLASSES, **nodes.HELPERS}
            link.classes = self.scope
        self.scope |= {name: Function(link, {"name": name}) for name in resolved.program}
        self.scope |= {name: vars(given)[name] for name in resolved.prelude}
        try:
            self.scope |= {name: importlib.import_module(module) for name, module in resolved.modules.items()}
        except ImportError as error:
            raise Broken(f"a test uses a module that is not there: {error}") from None
        for name in PROGRAM_MODULES:
            sys.modules[name] = _Program(name, link)

    def run(self, code: str) -> None:
        """One test. What it defines and nothing calls is called, as the tools would that such tests are written for:
        HumanEval's `check` with the entry point, pytest's functions and classes, unittest's cases.
        """
        exec(self._compiled[code], self.scope)
        if (
            isinstance(self.scope.get("check"), types.FunctionType)
            and self._entry_point is not None
            and not _calls_check(code)
        ):
            self.scope["check"](Function(self._link, {"name": self._entry_point}))
        if _HAS_CASES.search(code):
            self._run_cases(ast.parse(code))

    def _run_cases(self, tree: ast.Module) -> None:
        for node in cases_of(tree):
            found = self.scope[node.name]
            if isinstance(node, ast.FunctionDef):
                if needs_arguments(node):
                    raise Broken(f"{node.name} has parameters, for which there is no value")
                found()
            elif isinstance(found, type) and issubclass(found, unittest.TestCase):
                _run_unittest(found)
            elif node.name.startswith("Test"):
                for name in [name for name in dir(found) if name.startswith("test")]:
                    getattr(found(), name)()


def cases_of(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    """Functions and classes that a test leaves to a tool to call: pytest's by their names, and unittest's."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    return [
        node
        for node in tree.body
        if (isinstance(node, ast.FunctionDef) and node.name.startswith("test") and node.name not in called)
        or (isinstance(node, ast.ClassDef) and node.name not in called)
    ]


def needs_arguments(function: ast.FunctionDef) -> bool:
    """True for a test function with a fixture of pytest's."""
    return len(function.args.args) > len(function.args.defaults) or bool(function.args.posonlyargs)


class _Program(types.ModuleType):
    """`from solution import f` in a test."""

    def __init__(self, name: str, link: Link) -> None:
        super().__init__(name)
        self._link = link

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Function(self._link, {"name": name})


def _run_unittest(case: type[unittest.TestCase]) -> None:
    """AssertionError with the last line of the first failure; Broken where there is nothing to run."""
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    if not result.testsRun:
        raise Broken(f"{case.__name__} has no test")
    for _, text in (*result.failures, *result.errors):
        raise AssertionError(text.strip().splitlines()[-1])


def _calls_check(code: str) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"
        for statement in ast.parse(code).body
        if not isinstance(statement, ast.FunctionDef)
        for node in ast.walk(statement)
    )


def same(expected: Any, found: Any, tolerance: float | None = None, *, tuples_as_lists: bool = True) -> bool:
    """Equality of plain data. 1 is True where a bool is expected, True is no number; numbers may differ by `tolerance`,
    relative or absolute, floats by FLOAT_TOLERANCE without one. A list equals an iterator, and a tuple if so wished.
    """

    def rows(first: Any, second: Any) -> bool:
        return len(first) == len(second) and all(
            same(a, b, tolerance, tuples_as_lists=tuples_as_lists) for a, b in zip(first, second, strict=True)
        )

    if type(found).__module__ == "numpy":
        found = found.tolist()
    if isinstance(expected, bool) or isinstance(found, bool):
        return isinstance(expected, bool) and isinstance(found, int) and expected == found
    if expected is None and isinstance(found, nodes.Values):
        return not found
    if expected is None or found is None:
        return expected is found
    if isinstance(expected, int | float) and isinstance(found, int | float):
        return _same_number(expected, found, tolerance)
    if isinstance(expected, dict):
        if not isinstance(found, dict) or not _same_members(expected.keys(), found.keys()):
            return False
        return rows(list(expected.values()), [found[key] for key in expected])
    if _is_row(expected) and _is_row(found):
        if not tuples_as_lists and isinstance(expected, tuple) != isinstance(found, tuple):
            return False
        return rows(list(expected), list(found))
    if isinstance(expected, set | frozenset):
        return isinstance(found, set | frozenset) and _same_members(expected, found)
    return type(expected) is type(found) and bool(expected == found)


def _same_members(expected: Set[Any], found: Set[Any]) -> bool:
    """Of sets and of the keys of dicts. Here too True is no number."""
    bools = [{value for value in values if isinstance(value, bool)} for values in (expected, found)]
    return expected == found and bools[1] <= bools[0]


def _is_row(value: Any) -> bool:
    return isinstance(value, list | tuple | deque | range) or type(value) is type(iter([]))


def _same_number(expected: float, found: float, tolerance: float | None) -> bool:
    if expected == found or (expected != expected and found != found):
        return True
    if isinstance(expected, int) and isinstance(found, int):
        return False
    try:
        largest = max(abs(expected), abs(found))
        allowed = FLOAT_TOLERANCE * largest if tolerance is None else tolerance * max(1.0, abs(expected))
        return abs(expected - found) <= allowed < float("inf")
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
    sys.set_int_max_str_digits(_SHOWN_DIGITS)  # a huge integer would take all the time that is left
    try:
        return repr(value)[:MAX_DETAIL_CHARS]
    except Exception:
        return type(value).__name__
    finally:
        sys.set_int_max_str_digits(0)
