"""Program tests in one form, whatever the data set calls them: stdio, assert and call tests, HumanEval, MBPP,
LiveCodeBench. Pure; raises ValueError with what is wrong with the row, never skips a test.
"""

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rlreason.types import Task

_NEEDED = {"stdio": ("input", "output"), "assert": ("code",), "call": ("args", "expected")}


def checked(tests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The tests with every key in place. ValueError names the test and the key."""
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
        if kind == "call" and not isinstance(given["args"], list | tuple):
            raise ValueError(f"test {number} (call): args is no list")
        result.append(given)
    return result


def tests_of(task: Task) -> tuple[list[dict[str, Any]], str | None]:
    """(tests, entry point) of a task: its `tests`, else the columns of the data sets above."""
    row = task.columns
    entry_point = row.get("entry_point") or row.get("fn_name")
    if task.tests:
        return checked(task.tests), entry_point
    if row.get("test") and entry_point:  # HumanEval
        return [{"type": "assert", "code": _helpers(str(task.prompt), entry_point) + row["test"]}], entry_point
    if row.get("test_list") is not None:  # MBPP
        head = "\n".join([*(row.get("test_imports") or ()), *((row.get("test_setup_code") or "").splitlines())])
        return [{"type": "assert", "code": f"{head}\n{test}"} for test in row["test_list"]], entry_point
    cases = [case for key in ("public_test_cases", "private_test_cases") for case in _json(row.get(key))]
    if cases:  # LiveCodeBench
        entry_point = entry_point or (_json(row.get("metadata")) or {}).get("func_name")
        return checked([_contest(case) for case in cases]), entry_point
    raise ValueError(f"task {task.id} has no tests; its columns are {', '.join(row) or 'none'}")


def _contest(case: Mapping[str, Any]) -> dict[str, Any]:
    if case.get("testtype") != "functional":
        return {"type": "stdio", "input": case["input"], "output": case["output"]}
    arguments = [json.loads(line) for line in str(case["input"]).splitlines() if line.strip()]
    return {"type": "call", "args": arguments, "expected": json.loads(case["output"])}


def _json(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("a column of tests is no JSON; compressed private tests must be unpacked first") from None
    return value or []


def _helpers(prompt: str, entry_point: str) -> str:
    """The prompt's own functions beside the one to write. Tests that call them must not get the program's."""
    try:
        body = ast.parse(prompt.rstrip() + "\n    pass\n").body
    except SyntaxError:
        return ""
    kept = [node for node in body if not (isinstance(node, ast.FunctionDef) and node.name == entry_point)]
    return "".join(ast.unparse(node) + "\n" for node in kept)
