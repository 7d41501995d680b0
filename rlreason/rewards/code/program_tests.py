"""Program tests in one form, whatever the data set calls them: stdio, assert and call tests, HumanEval, MBPP, LeetCode,
LiveCodeBench. Pure; raises ValueError with what is wrong with the row, never skips a test.
"""

import ast
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rlreason.rewards.runtime.response import blocks
from rlreason.sandbox.driver import PROGRAM_MODULES, cases_of, needs_arguments
from rlreason.sandbox.names import resolve
from rlreason.types import Task, read_json

_NEEDED = {"stdio": ("input", "output"), "assert": ("code",), "call": ("args", "expected")}
_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+(\w+)", re.MULTILINE)
# A statement of a test that is not indented and does something, or what the driver calls by itself.
_ACTS = re.compile(r"^(?:assert|for|while|with|try|if|[\w.]+\(|def test|class \w*Test)", re.MULTILINE | re.IGNORECASE)
_PARAMETERS = re.compile(r"^def test\w*\(\s*\w", re.MULTILINE)
_CHECK = re.compile(r"^def check\b", re.MULTILINE)
_DEFINES = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)


def checked(
    tests: Sequence[Mapping[str, Any]],
    entry_point: str | None = None,
    packages: Sequence[str] = (),
    program_names: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The tests with every key in place. ValueError names the test and the key, or what it needs and is not there."""
    if not tests:
        raise ValueError("there are no tests")
    result = []
    for number, test in enumerate(tests, 1):
        # Rows of one column have the keys of all of them; those of other kinds are None.
        given = {key: value for key, value in dict(test).items() if value is not None or key == "expected"}
        kind = given.get("type")
        if kind not in _NEEDED:
            raise ValueError(f"test {number}: type is {kind!r}, not one of {', '.join(_NEEDED)}")
        missing = [key for key in _NEEDED[kind] if key not in given]
        if missing:
            raise ValueError(f"test {number} ({kind}): no {missing[0]!r}")
        if kind == "stdio":
            odd = [key for key in ("input", "output") if isinstance(given[key], list | tuple | Mapping)]
            if odd:
                raise ValueError(f"test {number} (stdio): {odd[0]} is a {type(given[odd[0]]).__name__}, not text")
        if kind == "call" and not isinstance(given["args"], list | tuple):
            raise ValueError(f"test {number} (call): args is no list")
        if kind == "call" and entry_point is None:
            raise ValueError(f"test {number} (call): call tests need an entry_point, the name of the function to call")
        if kind == "assert" and (fault := _fault(given["code"], entry_point, tuple(packages))):
            raise ValueError(f"test {number} (assert) {fault}")
        result.append(given)
    resolve(result, entry_point, program_names, sorted(packages))
    return result


@lru_cache(maxsize=4096)
def _fault(code: str, entry_point: str | None, packages: tuple[str, ...]) -> str | None:
    """What keeps any program from passing, or lets every program pass. Looks closer only at what looks wrong."""
    known = {*sys.stdlib_module_names, *PROGRAM_MODULES, *packages}
    missing = [name for name in _IMPORT.findall(code) if name not in known]
    if missing and (missing := [name for name in _imported(code) if name not in known]):
        return (
            f"imports {missing[0]}, which is not there: tests have the standard library and the program "
            f"(`from solution import f`); where {missing[0]} is installed, name it in the reward's `args: packages`"
        )
    if _PARAMETERS.search(code) and (fixtures := _with_parameters(code)):
        return f"has {fixtures[0]} with parameters, for which there is no value: call it in the test"
    if not _ACTS.search(code) and not (entry_point and _CHECK.search(code)) and not _acts(code):
        defines = "defines check, for which there is no entry_point" if _CHECK.search(code) else "only defines names"
        return f"tests nothing: it {defines}"
    return None


def _acts(code: str) -> bool:
    """True if a statement outside of functions calls something or fails."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError):
        return True
    defines = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return any(isinstance(n, ast.Call | ast.Assert) for s in body if not isinstance(s, defines) for n in ast.walk(s))


def _with_parameters(code: str) -> list[str]:
    """Functions that the judge would call, and cannot."""
    try:
        cases = cases_of(ast.parse(code))
    except (SyntaxError, ValueError):
        return []
    return [node.name for node in cases if isinstance(node, ast.FunctionDef) and needs_arguments(node)]


def _imported(code: str) -> list[str]:
    """Top-level modules; none of code that is no Python, which the judge says."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError):
        return []
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return [name.partition(".")[0] for name in names]


def tests_of(
    task: Task,
    packages: Sequence[str] = (),  # noqa: PT028  not a test
) -> tuple[list[dict[str, Any]], str | None]:
    """(tests, entry point) of a task: its `tests`, else the columns of the data sets above."""
    row = task.columns
    entry_point = row.get("entry_point") or row.get("fn_name")
    if task.tests:
        return checked(task.tests, entry_point, packages, program_names(row)), entry_point
    if row.get("test") and entry_point:  # HumanEval, LeetCode
        code = header(task, entry_point).tests + row["test"]
        return checked([{"type": "assert", "code": code}], entry_point, packages, program_names(row)), entry_point
    if row.get("test_list") is not None:  # MBPP
        head = "\n".join([*(row.get("test_imports") or ()), *((row.get("test_setup_code") or "").splitlines())])
        tests = [{"type": "assert", "code": f"{head}\n{test}"} for test in row["test_list"]]
        return checked(tests, entry_point, packages, program_names(row)), entry_point
    cases = [case for key in ("public_test_cases", "private_test_cases") for case in _json(row.get(key))]
    if cases:  # LiveCodeBench
        entry_point = entry_point or (_json(row.get("metadata")) or {}).get("func_name")
        return checked([_contest(case) for case in cases], entry_point, packages), entry_point
    raise ValueError(f"task {task.id} has no tests; its columns are {', '.join(row) or 'none'}")


def program_names(columns: Mapping[str, Any]) -> list[str]:
    """What the assert tests of a row use of the program beside its entry point, as the row's `program_names` say."""
    names = columns.get("program_names")
    if names is not None and (isinstance(names, str) or not all(str(name).isidentifier() for name in names)):
        raise ValueError("program_names: give a list of names, such as [encode, decode]")
    return list(names or ())


def _contest(case: Mapping[str, Any]) -> dict[str, Any]:
    if case.get("testtype") != "functional":
        return {"type": "stdio", "input": case["input"], "output": case["output"]}
    arguments = [read_json(line) for line in str(case["input"]).splitlines() if line.strip()]
    return {"type": "call", "args": arguments, "expected": read_json(case["output"])}


def _json(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return read_json(value)
        except ValueError:
            raise ValueError("a column of tests is no JSON; compressed private tests must be unpacked first") from None
    return value or []


@dataclass(frozen=True, slots=True)
class Header:
    """What a task's prompt defines beside the function to write: imports, helpers, classes of nodes."""

    tests: str = ""
    """For the tests, which must not get the program's."""
    program: str = ""
    """For a program that does not repeat them; without `import *`, which would hide builtins such as `pow`."""


def header(task: Task, entry_point: str | None) -> Header:
    """Of a prompt that is Python, or has it in a fenced block."""
    prompt = task.columns.get("prompt") or task.prompt
    text = prompt if isinstance(prompt, str) else "\n".join(str(message["content"]) for message in prompt)
    return _header(text, entry_point)


@lru_cache(maxsize=256)
def _header(prompt: str, entry_point: str | None) -> Header:
    to_write = {"Solution", str(entry_point).partition(".")[0].removesuffix("()")}
    for text in (prompt, *(text for _, text in reversed(blocks(prompt)))):
        for ending in ("\n    pass\n", "\n        pass\n", ""):  # the last function, or method, has no body yet
            try:
                body = ast.parse(text.rstrip() + ending).body
            except (SyntaxError, ValueError):
                continue
            kept = [node for node in body if isinstance(node, _DEFINES) and getattr(node, "name", "") not in to_write]
            if kept:
                named = [node for node in kept if not (isinstance(node, ast.ImportFrom) and node.names[0].name == "*")]
                return Header(*("".join(ast.unparse(node) + "\n" for node in nodes) for nodes in (kept, named)))
    return Header()
