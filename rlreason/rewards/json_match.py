"""Reward for structured output: the response is JSON, matches a JSON schema, equals the gold JSON.

Draft 2020-12, unless the schema names another with `$schema`. Checked in a child, since a schema's own patterns decide
the time. A `$ref` to another document is never fetched. Does not use `format` and does not repair broken JSON.
"""

import json
from typing import Any

from rlreason.rewards.match import golds
from rlreason.rewards.runtime.bounded import call_bounded
from rlreason.rewards.runtime.response import after_thought, blocks
from rlreason.types import Score, Task, UserError

MAX_CHARS = 1 << 16
"""A longer answer is `unparseable`."""


def reward(
    response: str,
    task: Task,
    *,
    schema: dict[str, Any] | None = None,
    schema_column: str | None = None,
    match_answer: bool = False,
    timeout_s: float = 5.0,
) -> Score:
    """1.0 where the response, or its last fenced block, is JSON that passes every check asked for, else 0.0.

    schema: for all tasks; schema_column: a column of the row that holds the schema, as an object or as text.
    match_answer: the value must equal the task's gold JSON: key order and spaces do not count, `1` equals `1.0`, `true`
    does not equal 1. No JSON at all is `unparseable`; a schema or a gold that cannot be used is `verifier_error`.
    """
    if schema is not None and schema_column is not None:
        raise UserError("the JSON reward takes one of schema and schema_column, not both")
    if schema_column is not None:
        schema = _schema_of(task, schema_column)
    wanted = list(golds(task)) if match_answer else None
    if wanted == []:
        return Score(value=0.0, status="verifier_error", detail=f"task {task.id} has no answer to compare with")
    answer = after_thought(response)
    text = ([answer] + [content for _, content in blocks(answer)])[-1].strip()
    if len(text) > MAX_CHARS:
        return Score(value=0.0, status="unparseable", detail=f"more than {MAX_CHARS} characters")
    verdict = call_bounded("rlreason.rewards.json_match:check", text, schema, wanted, timeout_s=timeout_s)
    if isinstance(verdict, Score):
        return verdict
    status, detail = verdict
    return Score(value=float(status == "ok"), status=status, detail=detail)


def check(text: str, schema: Any, wanted: list[str] | None) -> tuple[str, str]:
    """Status and detail. Runs in the child."""
    try:
        value = _load(text)
    except (ValueError, RecursionError) as error:
        return "unparseable", f"not JSON: {error}"
    try:
        fault = None if schema is None else _schema_fault(value, schema)
        if fault is not None:
            return "wrong", fault
        if wanted is not None and not any(_same(value, _load(gold)) for gold in wanted):
            return "wrong", "valid, but not the gold value"
    except RecursionError:
        return "unparseable", "nested too deeply"
    return "ok", "all checks passed"


def _load(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse)  # Python reads NaN and Infinity, which are not JSON


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _schema_of(task: Task, column: str) -> dict[str, Any]:
    found = task.columns.get(column)
    try:
        schema = json.loads(found) if isinstance(found, str) else found
    except ValueError as error:
        raise UserError(f"column {column!r} of task {task.id} is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise UserError(f"column {column!r} of task {task.id} holds no JSON schema")
    return schema


def _schema_fault(value: Any, schema: Any) -> str | None:
    """The first fault that the schema finds, None if the value is valid."""
    import jsonschema  # type: ignore[import-untyped]
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
        # A registry without a `retrieve` function: a reference outside of it is an error, not a download.
        fault = next(kind(schema, registry=EMPTY_REGISTRY).iter_errors(value), None)
    except jsonschema.SchemaError as error:
        raise UserError(f"the JSON schema is not valid: {error.message[:300]}") from error
    except Unresolvable as error:
        raise UserError(f"the JSON schema has no {error.ref!r} that it refers to; nothing is fetched") from error
    return None if fault is None else f"{fault.json_path}: {fault.message[:300]}"


def _same(first: Any, second: Any) -> bool:
    """JSON equality. Python's own says that True == 1."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)
