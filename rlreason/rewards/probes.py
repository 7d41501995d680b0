r"""Gold and corrupted responses for `dry_run`, made from the rows of a JSON-lines file. Loads no `datasets`.

A gold answer is put in the forms that a model would write: as it stands, `\boxed{}`, `####`, with a think block; a
solution column as it stands, for program tests fenced. Corrupted: changed, emptied, another row's, cut in half.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlreason.rewards.extract import final_answer
from rlreason.types import Task, UserError, read_tests

PROMPT_COLUMNS = ("prompt", "question", "problem", "instruction")
ANSWER_COLUMNS = ("answer", "ground_truth", "target", "label")
RESPONSE_COLUMNS = ("solution", "response", "canonical_solution", "code")
"""Looked for in this order where the user names none."""
GARBAGE = "I don't know."


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Names of columns; None: the first known name that the first row has."""

    prompt: str | None = None
    answer: str | None = None
    response: str | None = None
    """Of a column that holds good responses or programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as a task, with a good response if the row has one."""

    task: Task
    solution: str | None

    @property
    def answer(self) -> str | None:
        answer = self.task.answer
        return answer[0] if isinstance(answer, tuple) and answer else answer if isinstance(answer, str) else None

    @property
    def is_program(self) -> bool:
        """Judged by running it. Data sets keep tests in columns of many names, so the solution is looked at too."""
        looks_so = re.search(r"^\s*(?:def|return|print|import|from)\b", self.solution or "", re.MULTILINE)
        return bool(self.task.tests) or (self.answer is None and looks_so is not None)

    @property
    def bare_answer(self) -> str | None:
        r"""Without the working around it: what follows `####`, the inside of `\boxed{}`."""
        if self.answer is None or "####" in self.answer:
            return None if self.answer is None else self.answer.rpartition("####")[2].strip()
        found = final_answer(self.answer) if r"\boxed" in self.answer else None
        return self.answer.strip() if found is None else found.parts[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A way to write a gold answer down."""

    name: str
    core: Callable[[Row], str | None]
    """What is written down; None: the row has no such thing."""
    write: Callable[[str, Row], str]

    def gold(self, row: Row) -> str | None:
        core = self.core(row)
        return None if core is None else self.write(core, row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One response to be scored."""

    kind: str
    """`gold`, or how it was corrupted."""
    response: str
    task: Task
    truncated: bool = False


def _written(name: str, core: Callable[[Row], str | None], before: str = "", after: str = "") -> Form:
    return Form(name=name, core=core, write=lambda text, row: before + text + after)


def _bare(row: Row) -> str | None:
    return row.bare_answer


def _solution(row: Row) -> str | None:
    return row.solution


_THOUGHT = "<think>\nI work it out.\n</think>\n"
_ANSWER_FORMS = (
    _written("solution", _solution),
    _written("as is", lambda row: row.answer),
    _written(r"\boxed{}", _bare, r"\boxed{", "}"),
    _written("####", _bare, "#### "),
    _written("the answer is", _bare, "The answer is ", "."),
    _written("<think>", _bare, _THOUGHT),
    _written("<think> <answer>", _bare, f"{_THOUGHT}<answer>", "</answer>"),
)
_PROGRAM_FORMS = (
    _written("fenced solution", _solution, "```python\n", "\n```"),
    _written("solution", _solution),
    Form(name="fenced prompt + solution", core=_solution, write=lambda t, row: f"```python\n{row.task.prompt}{t}\n```"),
)


def forms_for(rows: Sequence[Row]) -> list[Form]:
    """Forms that the first row can be written in. UserError if there is none."""
    forms = [form for form in (_PROGRAM_FORMS if rows[0].is_program else _ANSWER_FORMS) if form.gold(rows[0])]
    if not forms:
        what = "tests but no solution column" if rows[0].is_program else "an empty answer"
        known = ", ".join(RESPONSE_COLUMNS)
        raise UserError(
            f"the first row has {what}, so there is no gold response: name one with --response-column ({known})"
        )
    return forms


def corrupted(rows: Sequence[Row], index: int, form: Form) -> Iterator[Probe]:
    """Wrong responses to the task of row `index`; none equals the gold one."""
    row = rows[index]
    core = form.core(row)
    assert core is not None, row.task.id
    gold = form.write(core, row)
    changed = _changed_program(core) if row.is_program else _changed(core)
    other = _other_core(rows, index, form)
    right = {core, *(row.task.answer if isinstance(row.task.answer, tuple) else ())}
    cores = {"answer changed": changed, "answer emptied": "", "other row's answer": other}
    for kind, wrong in cores.items():
        if wrong is not None and wrong not in right:
            yield Probe(kind=kind, response=form.write(wrong, row), task=row.task)
    yield Probe(kind="cut in half", response=gold[: len(gold) // 2], task=row.task, truncated=True)
    yield Probe(kind="garbage", response=GARBAGE, task=row.task)


def _other_core(rows: Sequence[Row], index: int, form: Form) -> str | None:
    """Of the nearest later row, round the end, whose answer differs."""
    row = rows[index]
    for other in itertools.chain(rows[index + 1 :], rows[:index]):
        # By the bare answer: two solutions in other words may end in the same number.
        differs = other.solution != row.solution if row.answer is None else other.bare_answer != row.bare_answer
        if differs and form.core(other) is not None:
            return form.core(other)
    return None


def _changed(text: str) -> str | None:
    """The last number plus one; without a number the last letter's successor; None where there is neither."""
    number = re.search(r"(\d{1,300})\D*$", text)
    if number is not None:
        return text[: number.start(1)] + str(int(number[1]) + 1) + text[number.end(1) :]
    letter = re.search(r"([A-Za-z])[^A-Za-z]*$", text)
    if letter is None:
        return None
    following = {"z": "a", "Z": "A"}.get(letter[1]) or chr(ord(letter[1]) + 1)
    return text[: letter.start(1)] + following + text[letter.end(1) :]


def _changed_program(code: str) -> str:
    """Returns nothing and prints too much; raises where there is neither a return nor a print."""
    broken = re.sub(r"\bprint\(", "print('?', ", re.sub(r"\breturn\b.*", "return None", code))
    return broken if broken != code else f"raise SystemExit(1)\n{code}"


def read_rows(path: Path, columns: Columns, limit: int) -> list[Row]:
    """The first `limit` rows. UserError with the line for what cannot be read."""
    rows: list[Row] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if len(rows) >= limit:
                    break
                if line.strip():
                    found = _object(line, f"data {path}:{number}")
                    columns = columns if rows else _named(columns, found, str(path))
                    rows.append(_row(found, f"data {path}:{number}", f"{path.stem}:{number}", columns))
    except OSError as error:
        raise UserError(f"data {path}: {error.strerror}: give a JSON-lines file that can be read") from error
    if not rows:
        raise UserError(f"data {path}: no rows")
    return rows


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON in UTF-8: {error}; each line must be one JSON object") from error
    if not isinstance(found, dict):
        raise UserError(f"{where}: a {type(found).__name__}; each line must be one JSON object")
    return found


def _named(columns: Columns, row: dict[str, Any], where: str) -> Columns:
    """With the names that the user left open. UserError for a column that the first row lacks."""
    for name in (columns.prompt, columns.answer, columns.response):
        if name is not None and name not in row:
            raise UserError(f"data {where}: no column `{name}`; its columns are {', '.join(row)}")
    guess = {
        "prompt": columns.prompt or next((name for name in PROMPT_COLUMNS if name in row), None),
        "answer": columns.answer or next((name for name in ANSWER_COLUMNS if name in row), None),
        "response": columns.response or next((name for name in RESPONSE_COLUMNS if name in row), None),
    }
    if guess["prompt"] is None:
        raise UserError(
            f"data {where}: which column is the prompt? Its columns are {', '.join(row)}; use --prompt-column"
        )
    if guess["answer"] is None and guess["response"] is None:
        raise UserError(
            f"data {where}: no gold: its columns are {', '.join(row)}; use --answer-column or --response-column"
        )
    return Columns(**guess)


def _row(found: dict[str, Any], where: str, task_id: str, columns: Columns) -> Row:
    for name in (columns.prompt, columns.answer, columns.response):
        if name is not None and name not in found:
            raise UserError(f"{where}: no column `{name}`, which the first row has")
    prompt = found[str(columns.prompt)]
    if isinstance(prompt, list):
        prompt = tuple(prompt)
    elif not isinstance(prompt, str):
        raise UserError(f"{where}: `{columns.prompt}` is neither text nor a list of messages")
    answer = None if columns.answer is None else found[columns.answer]
    solution = None if columns.response is None else found[columns.response]
    used = {columns.prompt, columns.answer, "tests", "source"}
    task = Task(
        id=task_id,
        prompt=prompt,
        answer=tuple(map(_text, answer)) if isinstance(answer, list) else None if answer is None else _text(answer),
        tests=read_tests(found.get("tests"), where),
        source=str(found.get("source") or ""),
        columns={name: value for name, value in found.items() if name not in used},
    )
    return Row(task=task, solution=solution if isinstance(solution, str) else None)


def _text(value: Any) -> str:
    return str(value)
