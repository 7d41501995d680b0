"""Tasks from rows. Raises UserError with the data, the row and the column.

A gold reaches the reward as the file spells it: text as it is, a number with its digits, a date in ISO 8601. What is no
gold (null in a list, NaN, bytes, an object) is refused. The rows of verl (`reward_model.ground_truth`) and of TRL
(`solution`, `ground_truth`) are read as they are.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from numbers import Integral, Real
from string import Formatter
from typing import Any

from rlreason.config.data import TaskConfig
from rlreason.data.forms import check_prompt, is_messages, without_nulls
from rlreason.data.json_rows import Row, Spelled, SpelledInteger, plain
from rlreason.data.rows import load_rows, origin, require_column
from rlreason.types import Task, UserError, read_tests

ANSWER = "answer"
"""The column of the gold answers where the configuration names no other."""
OTHER_ANSWERS = ("ground_truth", "solution", "reward_model.ground_truth")
"""What TRL's and verl's rows call it."""


def load_tasks(config: TaskConfig, source: str = "") -> list[Task]:
    return tasks_of(load_rows(config), config, source)


def tasks_of(rows: Sequence[Row], config: TaskConfig, source: str = "") -> list[Task]:
    """One task a row, with ids that are stable over runs: the source's name and the row number."""
    if not rows:
        return []
    require_column(rows[0], config.prompt_column, 0, config)
    answer_column = _answer_column(rows[0], config)
    name = source or origin(config)
    tasks = [_task(row, index, name, config, answer_column) for index, row in enumerate(rows)]
    # Where no row of a source has a gold, tests or the reward itself decide.
    judged = {task.source for task in tasks if task.answer is not None}
    for index, task in enumerate(tasks):
        if task.answer is None and not task.tests and task.source in judged and answer_column is not None:
            raise UserError(
                f"data `{origin(config)}`, row {index}: `{answer_column}` is null, and other rows have a gold there; "
                "take the row out, or give it one"
            )
    return tasks


def _answer_column(row: Mapping[str, Any], config: TaskConfig) -> str | None:
    """The column of the golds; another known one where the rows have no `answer`."""
    column = config.answer_column
    if column is None or has_column(row, column):
        return column
    others = [name for name in OTHER_ANSWERS if has_column(row, name)] if column == ANSWER else []
    if column == ANSWER and row.get("tests") and others in ([], ["solution"]):
        return None  # tests decide, and the solution is a program
    if len(others) > 1:
        raise UserError(
            f"data `{origin(config)}`: the gold may be {' or '.join(f'`{name}`' for name in others)}; name one: "
            f"`answer_column: {others[0]}`"
        )
    if not others:
        require_column(row, column, 0, config)
    return others[0]


def has_column(row: Mapping[str, Any], column: str) -> bool:
    """Whether the row has `column`, or for `outer.inner` a mapping `outer` with that key."""
    outer, dot, inner = column.partition(".")
    return column in row or bool(dot and isinstance(row.get(outer), Mapping) and inner in row[outer])


def _value(row: Mapping[str, Any], column: str) -> Any:
    outer, _, inner = column.partition(".")
    return row[column] if column in row else row[outer][inner]


def _task(row: Any, index: int, source: str, config: TaskConfig, answer_column: str | None) -> Task:
    where = f"data `{origin(config)}`, row {index}"
    for column in (config.prompt_column, answer_column):
        if column is not None and not (isinstance(row, Mapping) and has_column(row, column)):
            require_column(row, column, index, config)
    prompt = row[config.prompt_column]
    if is_messages(prompt):
        prompt = without_nulls(prompt)
        check_prompt(prompt, config.system, f"{where}: `{config.prompt_column}`")
        prompt = tuple(prompt)
    elif not isinstance(prompt, str):
        raise UserError(
            f"{where}: `{config.prompt_column}` is neither text nor a list of messages, each with role and content"
        )
    if config.template is not None:
        if not isinstance(prompt, str):
            raise UserError(f"{where}: `template` is for text, this prompt is a list of messages")
        prompt = fill(config.template, row, prompt, f"{where}: `template`")
    tests = read_tests(plain(row.get("tests")), where)
    answer = None if answer_column is None else _golds(_value(row, answer_column), f"{where}: `{answer_column}`", tests)
    used = {config.prompt_column, "tests", "source", *([ANSWER] if answer_column == ANSWER else [])}
    return Task(
        id=f"{source}:{index}",
        prompt=prompt,
        answer=answer,
        tests=tests,
        source=str(row.get("source") or source),
        columns={key: plain(value) for key, value in row.items() if key not in used},
    )


def _golds(value: Any, where: str, tests: Sequence[Any]) -> str | tuple[str, ...] | None:
    """One gold, several of which any is right, or None for null; beside tests also for empty text."""
    if value is None or (tests and value == ""):
        return None
    if isinstance(value, list | tuple):
        if not value:
            raise UserError(f"{where} is an empty list; take the row out, or give it a gold")
        return tuple(_gold(item, f"{where}, item {place}") for place, item in enumerate(value))
    return _gold(value, where)


def _gold(value: Any, where: str) -> str:
    """The text of one gold."""
    match value:
        case str() if value.strip():
            return value
        case str():
            raise UserError(f"{where} is empty text, no gold; take the row out, or give it a gold")
        case bool():
            return "true" if value else "false"
        case Spelled() | SpelledInteger():
            return str(value)
        case Integral():
            return format(Decimal(int(value)), "f")
        case Decimal() if value.is_finite():
            return format(value, "f")
        case Real() if math.isfinite(value):  # numpy's as well
            return str(value)
        case date() | time() if value == value:  # pandas' missing date equals nothing
            return str(value.isoformat())
    what = {float: "NaN or infinite", bytes: "bytes, not text", type(None): "null"}.get(type(value))
    if isinstance(value, Mapping):
        what = f"an object; name the key that holds it, such as `answer_column: answer.{next(iter(value), 'key')}`"
    raise UserError(f"{where} is no gold: it is {what or f'a {type(value).__name__}: {value!r:.40}'}")


def fill(template: str, row: Mapping[str, Any], prompt: str, where: str) -> str:
    """The template with `prompt`, and the row's other columns by their names. `where`: for UserError."""
    values = {**row, "prompt": prompt}
    try:
        for _, name, _, _ in Formatter().parse(template):
            if name and values.get(name, "") is None:
                raise UserError(f"{where} has `{{{name}}}`, and that column is null; take the row out, or fill it")
        return template.format(**values)
    except UserError:
        raise
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{where} cannot be filled in: {error!r}; write braces twice; the columns are {', '.join(map(str, row))}"
        ) from None
