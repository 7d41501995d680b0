"""Checks a program against tests. The verdict is made in processes that never run the program.

Standard input/output tests are compared here; assert and call tests run in a confined judge that asks the confined
program for values. Expected answers never reach the program's process. Isolation: `rlreason.sandbox`.
Does not judge style or speed, and does not install packages: programs have the standard library, the names that judges
import for them (`sandbox.prelude`), and what `packages` names.
"""

import codecs
import importlib.util
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from rlreason.rewards.code.printed import same_output
from rlreason.rewards.code.program import Program, find_program
from rlreason.rewards.code.program_tests import checked, header, program_names, tests_of
from rlreason.sandbox import codec
from rlreason.sandbox.driver import same
from rlreason.sandbox.host import Ended, Host, Level
from rlreason.sandbox.languages import LANGUAGES, DoesNotCompile, Language, built, missing_tool, require_works
from rlreason.sandbox.pool import LEVELS, Sandbox, SandboxError
from rlreason.sandbox.probes import last_line
from rlreason.sandbox.remote import RemoteSandbox
from rlreason.types import Score, ScoreStatus, Task, UserError

MIN_TEST_S = 0.05
MAX_CHECKER_S = 10.0
"""Of a checker program on the expected output, where it failed on what was printed."""
_Result = tuple[bool | None, str]
"""(passed; None: ran out of time, detail)."""


def check(
    response: str,
    tests: list[dict[str, Any]],
    *,
    entry_point: str | None = None,
    program_names: Sequence[str] = (),
    header: str = "",
    timeout_s: float = 10.0,
    memory_bytes: int = 512 << 20,
    partial: bool = False,
    level: str = "landlock",
    packages: Sequence[str] = (),
    languages: Mapping[str, Any] | Sequence[str] = (),
    ignore_exit_status: bool = False,
    tuples_as_lists: bool = True,
    url: str | None = None,
    token_env: str | None = None,
) -> Score:
    """Score 1.0 if every test passes; with `partial` the share that does.

    response: program text, or an answer with fenced blocks, of which the last counts; see `program.find_program`.
    tests: {"type": "stdio", "input", "output"}, {"type": "assert", "code"} or {"type": "call", "args", "kwargs",
    "expected"}; any may have `timeout_s`, a stdio or call test `tolerance` (of decimals, relative or absolute; default
    1e-6, of call tests 1e-9 relative), a stdio test `checker`: the text of a program with `check(input, output,
    expected)` for answers that are not unique.
    entry_point: the function that call tests call and HumanEval's `check` gets. program_names: what assert tests use of
    the program beside it; other names that they neither define nor import are never the program's. header: Python that
    assert and call tests put before the program.
    timeout_s: wall-clock seconds for all tests together. memory_bytes: of the program.
    level: the weakest isolation to accept. packages: installed ones that programs and tests may import, such as numpy.
    languages: names of `sandbox.languages`, or {name: {file, compile, run}}.
    ignore_exit_status: a stdio test counts what was printed although the program ended with a status or an exception.
    tuples_as_lists: in call tests a tuple equals a list, as in data sets kept as JSON.
    url: of a remote sandbox, token_env: the variable with its token.
    Status: ok, wrong, unparseable (no program in the response), timeout (the program took too long), verifier_error
    (the tests are wrong), sandbox_error (the sandbox failed, or none is strong enough).
    """
    try:
        wanted = checked(tests, entry_point, packages, program_names)
        spoken = _languages(languages)
        program = find_program(response, {tag: name for name, one in spoken.items() for tag in (name, *one.tags)})
        if isinstance(program, str):
            return Score(value=0.0, status="unparseable", detail=program)
        runner = _Runner(
            backend=_backend(level, url, token_env, packages),
            program=program,
            header=header,
            languages=spoken,
            entry_point=entry_point,
            program_names=program_names,
            memory_bytes=memory_bytes,
            deadline=time.monotonic() + timeout_s,
            partial=partial,
            ignore_exit_status=ignore_exit_status,
            tuples_as_lists=tuples_as_lists,
        )
        results = runner.run(wanted)
    except (ValueError, SyntaxError) as error:
        return Score(value=0.0, status="verifier_error", detail=str(error))
    except SandboxError as error:
        return Score(value=0.0, status="sandbox_error", detail=str(error))
    return _score(results, len(wanted), partial)


def reward(
    response: str,
    task: Task,
    *,
    timeout_s: float = 10.0,
    memory_bytes: int = 512 << 20,
    partial: bool = False,
    level: str = "landlock",
    packages: Sequence[str] = (),
    languages: Mapping[str, Any] | Sequence[str] = (),
    ignore_exit_status: bool = False,
    tuples_as_lists: bool = True,
    url: str | None = None,
    token_env: str | None = None,
) -> Score:
    """`check` against the tests of a task, in any of the forms of `code_tests.tests_of`.

    What the task's prompt defines is there for the program too. A HumanEval answer that is only the function's body is
    put behind its prompt. Options are those of `check`.
    """
    try:
        tests, entry_point = tests_of(task, packages)
        names = program_names(task.columns)
    except (ValueError, KeyError) as error:
        return Score(value=0.0, status="verifier_error", detail=f"{task.id}: {error}")
    is_completion = isinstance(task.prompt, str) and "```" not in response and f"def {entry_point}" not in response
    if entry_point and is_completion and f"def {entry_point}" in str(task.prompt):
        response = f"{task.prompt}{response}"
    return check(
        response,
        tests,
        entry_point=entry_point,
        program_names=names,
        header=header(task, entry_point).program,
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
        partial=partial,
        level=level,
        packages=packages,
        languages=languages,
        ignore_exit_status=ignore_exit_status,
        tuples_as_lists=tuples_as_lists,
        url=url,
        token_env=token_env,
    )


def check_task(task: Task, *, packages: Sequence[str] = (), **_: Any) -> None:
    """Before a run: UserError for a task whose tests no program could pass; takes the options of `reward`."""
    try:
        tests_of(task, packages)
    except (ValueError, KeyError) as error:
        raise UserError(f"task {task.id}: {error}") from None


def prepare(
    *,
    level: str = "landlock",
    packages: Sequence[str] = (),
    languages: Mapping[str, Any] | Sequence[str] = (),
    url: str | None = None,
    token_env: str | None = None,
    **_: Any,
) -> str:
    """Starts the sandbox before a run needs it; takes the options of `reward`.

    One line on what it is. UserError where the level cannot be had, or a toolchain or package is missing.
    """
    for name, language in _languages(languages).items():
        if (tool := missing_tool(language)) is not None:
            raise UserError(f"language {name!r}: {tool} is not installed")
    try:
        backend = _backend(level, url, token_env, packages)
        if isinstance(backend, RemoteSandbox):
            return f"sandbox: remote, {url}"
        for language in _languages(languages).values():
            backend.borrow(partial(require_works, language=language))
        return f"sandbox: {backend.start()}"
    except (SandboxError, ValueError) as error:
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        raise UserError(f"package {missing[0]!r} is not installed" if missing else str(error)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runner:
    """One program and its tests."""

    backend: Sandbox | RemoteSandbox
    program: Program
    header: str
    languages: Mapping[str, Language]
    entry_point: str | None
    program_names: Sequence[str]
    memory_bytes: int
    deadline: float
    """By time.monotonic."""
    partial: bool
    ignore_exit_status: bool
    tuples_as_lists: bool

    def run(self, tests: list[dict[str, Any]]) -> list[_Result]:
        """A result for each test up to the first that fails; with `partial` for all that there was time for."""
        printing = [test for test in tests if test["type"] == "stdio"]
        calling = [test for test in tests if test["type"] != "stdio"]
        results: list[_Result] = []
        # The program's language is the response's choice, so what cannot be run in it is wrong, not broken.
        foreign = self.program.language != "python"
        if foreign and isinstance(self.backend, RemoteSandbox):
            return [(False, f"a program in {self.program.language}, and the remote sandbox is used for Python only")]
        if printing:
            results = self._foreign(printing) if foreign else self._in_turn(printing, self._script)
        if calling and self._goes_on(results):
            if foreign:
                return [*results, (False, f"a program in {self.program.language}, and the tests call Python functions")]
            results += self._functions(calling)
        return results

    def _goes_on(self, results: list[_Result]) -> bool:
        return not results or results[-1][0] is True or (self.partial and results[-1][0] is not None)

    def _left_s(self, test: Mapping[str, Any]) -> float:
        left_s = max(MIN_TEST_S, self.deadline - time.monotonic())
        return min(left_s, float(test.get("timeout_s", left_s)))

    def _in_turn(
        self, tests: list[dict[str, Any]], result_of: Callable[[dict[str, Any], float], _Result]
    ) -> list[_Result]:
        """`result_of` gets a test and its seconds."""
        results: list[_Result] = []
        for test in tests:
            results.append(result_of(test, self._left_s(test)))
            if not self._goes_on(results):
                break
        return results

    def _script(self, test: dict[str, Any], timeout_s: float) -> _Result:
        limits: dict[str, Any] = {"timeout_s": timeout_s, "memory_bytes": self.memory_bytes}
        return self._judge(self.backend.script(self.program.source, _bytes(test["input"]), **limits), test, timeout_s)

    def _foreign(self, tests: list[dict[str, Any]]) -> list[_Result]:
        language = self.languages[self.program.language]
        assert isinstance(self.backend, Sandbox)

        def use(host: Host) -> list[_Result]:
            try:
                with built(host, language, self.program.source, self.memory_bytes) as run:
                    return self._in_turn(
                        tests, lambda test, s: self._judge(run(_bytes(test["input"]), s), test, s, host)
                    )
            except DoesNotCompile as error:
                return [(False, f"does not compile: {error}")]

        return self.backend.borrow(use)

    def _judge(self, ended: Ended, test: Mapping[str, Any], timeout_s: float, host: Host | None = None) -> _Result:
        if ended.timed_out:
            return None, f"ran longer than {timeout_s:.3g} s"
        if ended.overflowed:
            return False, "printed too much"
        if ended.status and not (self.ignore_exit_status and ended.status > 0):
            how = f"signal {-ended.status}" if ended.status < 0 else f"exit status {ended.status}"
            return False, f"{how}: {last_line(ended.outputs[1])}"
        printed, expected = ended.outputs[0], _bytes(test["output"])
        if "checker" in test:
            return self._ask_checker(test, printed, timeout_s, host)
        right = same_output(printed, expected, float(test.get("tolerance", 1e-6)))
        return right, "" if right else f"printed {printed[:100]!r}, not {expected[:100]!r}"

    def _ask_checker(self, test: Mapping[str, Any], printed: bytes, timeout_s: float, host: Host | None) -> _Result:
        backend = self.backend
        if isinstance(backend, RemoteSandbox):
            raise ValueError("checker programs need a local sandbox")

        def ask(output: str, limit_s: float) -> tuple[Any, str]:
            given = {"input": test["input"], "output": output, "expected": test["output"]}
            passed, detail = backend.checker(test["checker"], timeout_s=limit_s, host=host, **given)
            return passed, detail

        passed, detail = ask(printed.decode(errors="replace"), max(1.0, timeout_s))
        if isinstance(passed, bool):
            return passed, detail
        # What was printed may be the cause. If not, the checker fails on the right output too.
        alone, why = ask(test["output"], MAX_CHECKER_S)
        if not isinstance(alone, bool):
            raise ValueError(f"{why} ({alone}), on the expected output too")
        return False, f"on what the program printed {detail}"

    def _functions(self, tests: list[dict[str, Any]]) -> list[_Result]:
        coded = [self._coded(test) for test in tests]
        if isinstance(self.backend, RemoteSandbox):
            return self._in_turn(coded, self._call_remotely)
        limits: dict[str, Any] = {"timeout_s": self._left_s({}), "memory_bytes": self.memory_bytes}
        options: dict[str, Any] = {"program_names": self.program_names, "partial": self.partial, **limits}
        _, found = self.backend.functions(self._source(), coded, self.entry_point, **options)
        if found[-1][0] == "broken":
            raise ValueError(f"test {len(found)} of {len(tests)}: {found[-1][1]}")
        return [(None if passed == "timeout" else passed is True, detail) for passed, detail in found]

    def _source(self) -> bytes:
        """The program behind the task's own definitions; a `from __future__` has to stay first."""
        source = self.program.source.removeprefix(codecs.BOM_UTF8)
        return source if b"__future__" in source or not self.header else f"{self.header}\n".encode() + source

    def _coded(self, test: Mapping[str, Any]) -> dict[str, Any]:
        timed = {"type": test["type"], "timeout_s": self._left_s(test)}
        if test["type"] == "assert":
            return {**timed, "code": test["code"]}
        tolerance = None if test.get("tolerance") is None else float(test["tolerance"])
        try:
            return {
                **timed,
                "args": codec.encode(list(test["args"])),
                "kwargs": codec.encode(dict(test.get("kwargs") or {})),
                "expected": codec.encode(test["expected"]),
                "tolerance": tolerance,
                "tuples_as_lists": self.tuples_as_lists,
            }
        except codec.NotPlain as error:
            raise ValueError(f"a call test holds a value that cannot be sent: {error}") from None

    def _call_remotely(self, test: dict[str, Any], timeout_s: float) -> _Result:
        backend = cast(RemoteSandbox, self.backend)
        if test["type"] != "call":
            raise ValueError("a remote sandbox runs stdio and call tests; assert tests need a local one")
        limits: dict[str, Any] = {"timeout_s": timeout_s, "memory_bytes": self.memory_bytes}
        try:
            found = backend.call(self._source(), test, str(self.entry_point), **limits)
            passed = same(
                codec.decode(test["expected"]), found, test["tolerance"], tuples_as_lists=self.tuples_as_lists
            )
        except TimeoutError:
            return None, "ran out of time"
        except SandboxError:
            raise
        except Exception as error:  # of what the program sent
            return False, f"{type(error).__name__}: {error}"
        return passed, ""


def _score(results: list[_Result], num_tests: int, partial: bool) -> Score:
    num_passed = sum(passed is True for passed, _ in results)
    if num_passed == num_tests:
        return Score(value=1.0, status="ok", detail=f"{num_tests} tests passed")
    number, (passed, detail) = next((i, found) for i, found in enumerate(results, 1) if found[0] is not True)
    share = num_passed / num_tests if partial else 0.0
    # A timeout counts as nothing: what passed before it must not be lost.
    status: ScoreStatus = "timeout" if passed is None and not share else "wrong"
    return Score(value=share, status=status, detail=f"test {number} of {num_tests}: {detail}")


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")


def _languages(wanted: Mapping[str, Any] | Sequence[str]) -> dict[str, Language]:
    """ValueError, for a name that is not known or a description that lacks a key."""
    if not isinstance(wanted, Mapping):
        unknown = [name for name in wanted if name not in LANGUAGES]
        if unknown:
            raise UserError(f"language {unknown[0]!r} is not one of {', '.join(LANGUAGES)}; describe it by file, run")
        return {name: LANGUAGES[name] for name in wanted}
    try:
        return {
            name: Language(
                file=one["file"],
                compile=tuple(one.get("compile", ())),
                run=tuple(one["run"]),
                tags=tuple(one.get("tags", ())),
                reserves=bool(one.get("reserves", False)),
                self_test=one.get("self_test", ""),
            )
            for name, one in wanted.items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"languages: each needs `file` and `run`, and may have `compile`, `tags`, `reserves`: {error}"
        ) from None


_backends: dict[tuple[str | None, ...], Sandbox | RemoteSandbox] = {}
_lock = threading.Lock()


def _backend(
    level: str, url: str | None, token_env: str | None, packages: Sequence[str] = ()
) -> Sandbox | RemoteSandbox:
    """One sandbox for each demand in this process."""
    if level not in LEVELS:
        raise ValueError(f"sandbox level {level!r} is not one of {', '.join(LEVELS)}")
    if isinstance(packages, str) or not all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in packages):
        raise UserError("packages: give a list of top-level modules, such as [numpy]")
    key = (url, token_env) if url else (level, None, *sorted(packages))
    with _lock:
        if key not in _backends:
            remote = RemoteSandbox(url, token_env=token_env) if url else None
            _backends[key] = remote or Sandbox(min_level=cast(Level, level), packages=tuple(sorted(packages)))
        return _backends[key]
