r"""Gold, corrupted and tricky responses for `dry_run`, made from tasks.

A gold answer is put in the forms that a model would write: as it stands, `\boxed{}`, `####`, with a think block; a
solution column as it stands, for program tests fenced. Corrupted: changed, emptied, another row's, cut in half. Tricky:
a false sentence that ends in the gold, and a response that lists every candidate.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rlreason.rewards.math.extract import boxed_gold
from rlreason.types import Task, UserError

PROMPT_COLUMNS = ("prompt", "question", "problem", "instruction")
ANSWER_COLUMNS = ("answer", "ground_truth", "target", "label", "reward_model.ground_truth")
RESPONSE_COLUMNS = ("solution", "response", "canonical_solution", "code")
"""Looked for in this order where the user names none."""
GARBAGE = "I don't know."
FALSE_SENTENCE, EVERY_CANDIDATE = "false sentence", "every candidate"
TRICKS = (FALSE_SENTENCE, EVERY_CANDIDATE)
"""Kinds of responses that are not right, but hold the gold: what they earn, a policy may learn to write."""
_NUM_CANDIDATES = 10


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
        return (boxed_gold(self.answer) or self.answer).strip()


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


def has_gold(rows: Sequence[Row]) -> bool:
    """The first row can be written down as a gold response."""
    return any(form.gold(rows[0]) for form in _forms(rows[0]))


def _forms(row: Row) -> Sequence[Form]:
    return _PROGRAM_FORMS if row.is_program else _ANSWER_FORMS


def forms_for(rows: Sequence[Row]) -> list[Form]:
    """Forms that the first row can be written in. UserError if there is none."""
    forms = [form for form in _forms(rows[0]) if form.gold(rows[0])]
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


def tricky(rows: Sequence[Row], index: int, form: Form) -> Iterator[Probe]:
    """Responses that only hold the answer of row `index`; none for programs."""
    row = rows[index]
    gold = row.bare_answer
    if row.is_program or not gold:
        return
    yield Probe(kind=FALSE_SENTENCE, response=f"Every bird is a fish, so 2 + 2 is {gold}", task=row.task)
    others = dict.fromkeys(other.bare_answer for other in itertools.chain(rows[index + 1 :], rows[:index]))
    candidates = [text for text in others if text and text != gold][: _NUM_CANDIDATES - 1]
    if candidates:
        candidates.insert(len(candidates) // 2, gold)  # never the last, which some rewards read alone
        is_boxed = form.write("", row) == r"\boxed{}"
        listed = " or ".join(form.write(text, row) if is_boxed else text for text in candidates)
        yield Probe(kind=EVERY_CANDIDATE, response=listed if is_boxed else form.write(listed, row), task=row.task)


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
