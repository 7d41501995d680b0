r"""Rewards that compare plain answers: the same text, the last number, the chosen letter.

What stands before the last `</think>` is not read; a `<think>` that never ends leaves no answer. A task with several
golds accepts any one. Does not read mathematics beyond plain numbers: `math` does.
"""

import re
import unicodedata
from fractions import Fraction

from rlreason.rewards.math import exact
from rlreason.rewards.runtime.response import after_thought
from rlreason.types import Score, Task, UserError

WINDOW_CHARS = 4096
"""Numbers and choices are looked for in the last characters only, so that time does not grow with the response."""


def golds(task: Task) -> tuple[str, ...]:
    """The task's gold answers, perhaps none."""
    if task.answer is None:
        return ()
    return (task.answer,) if isinstance(task.answer, str) else task.answer


def exact_text(response: str, task: Task, *, ignore_case: bool = False) -> Score:
    """1.0 where the answer part of the response is the gold text, up to white space and Unicode form (NFC)."""
    wanted = [_plain(gold, ignore_case) for gold in golds(task)]
    if not any(wanted):
        return _no_gold(task, "text")
    text = _plain(after_thought(response), ignore_case)
    if not text:
        return Score(value=0.0, status="unparseable", detail="no text in the answer")
    return _right("same text") if text in wanted else _wrong("other text")


def _plain(text: str, ignore_case: bool) -> str:
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return text.casefold() if ignore_case else text


_INTEGER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_NUMBER = re.compile(
    r"(?:(?<![\w.)}\]])[-−])?[$€£]?(?:"
    r"\\[dt]?frac\s?\{-?\d{1,40}\}\s?\{-?\d{1,40}\}"
    rf"|(?<![\w.])(?:\d+ )?\d+/\d+"
    rf"|(?<![\w.])(?:{_INTEGER}(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{{1,4}})?"
    r")(?:\s?\\?%)?"
)


def numeric(
    response: str, task: Task, *, abs_tolerance: float = 0.0, rel_tolerance: float = 0.0, alone: bool = False
) -> Score:
    """1.0 where the last number of the response equals the gold, as exact rationals; no float is involved.

    Reads integers, decimals, `3/4`, mixed numbers, `\\frac{3}{4}`, percent, thousands commas, `1e5`. A gold in
    GSM8K's form counts by what follows `####`. The tolerances are in the gold's unit and as a share of the gold; the
    wider one holds. A gold that is no number is `verifier_error`.
    alone: the answer must be the number and nothing else, or marked: `\\boxed{7}`, `#### 7`, `<answer>7</answer>`, "the
    answer is 7". Without it a policy is paid for any sentence that ends in the right number, false ones too.
    """
    if not (abs_tolerance >= 0 and rel_tolerance >= 0):
        raise UserError(f"abs_tolerance {abs_tolerance} and rel_tolerance {rel_tolerance} must be 0 or above")
    wanted = [number for gold in golds(task) if (number := _gold_number(gold)) is not None]
    if not wanted:
        return _no_gold(task, "a number")
    found = given_number(response, alone=alone)
    if found is None:
        what = "no number alone or marked as the answer" if alone else "no number in the answer"
        return Score(value=0.0, status="unparseable", detail=what)
    shown, given = found
    # Through the decimal text: 0.1 means one tenth here, not the binary number next to it.
    which = "number" if alone else "last number"
    absolute, relative = Fraction(str(abs_tolerance)), Fraction(str(rel_tolerance))
    for gold in wanted:
        allowed = max(absolute, relative * abs(gold.value))
        if exact.equal(given, gold) or abs(given.value - gold.value) <= allowed:
            return _right(f"the {which}, {shown}, is right")
    return _wrong(f"the {which} is {shown}")


def given_number(response: str, *, alone: bool) -> tuple[str, exact.Number] | None:
    """The number that `numeric` judges, as it stands and as a value; None where there is none."""
    text = after_thought(response)[-WINDOW_CHARS:]
    found = _marked_or_alone(text) if alone else _NUMBER.findall(text)
    number = _read(found[-1]) if found else None
    return None if number is None else (found[-1], number)


_DRESS = r"(?:[\s*_$]|\\[()\[\]$])*"
"""What may stand around a number: white space, bold, marks of mathematics, dollars."""
_UNIT = r"(?:\\?[;,! ]|\\text\s*\{[^{}\d]{0,40}\}|\\circ|\^)*"
_ALONE = re.compile(rf"{_DRESS}({_NUMBER.pattern}){_DRESS}\.?{_DRESS}")
_MARK = re.compile(
    r"\\(?:boxed|fbox)\s*\{|<answer>|####|\banswers?\b[\s*_]*(?:(?:is|are|would be|should be|must be)\b|[:=])[\s*_]*:?",
    re.IGNORECASE,
)
_AFTER_MARK = {
    "\\": re.compile(rf"{_DRESS}({_NUMBER.pattern}){_UNIT}{_DRESS}\}}"),
    "<": re.compile(rf"{_DRESS}({_NUMBER.pattern}){_UNIT}{_DRESS}</answer>", re.IGNORECASE),
    "#": re.compile(rf"{_DRESS}({_NUMBER.pattern}){_UNIT}{_DRESS}\.?[ \t]*$", re.MULTILINE),
    # In prose an equation or a list is not the number: "the answer is 2 + 2", "the answer is 7 or 8".
    "": re.compile(
        rf"{_DRESS}({_NUMBER.pattern})(?![\w^/]|[ \t]*(?:[-+*/=^<>\\]|or\b|and\b)[ \t]*[\w$\\(]|,[ \t]*[\d$\\(])"
    ),
}


def _marked_or_alone(text: str) -> list[str]:
    """The number that the last mark is directly before, or the whole text where it has no mark; else none."""
    marks = list(_MARK.finditer(text))
    if not marks:
        whole = _ALONE.fullmatch(text)
        return [whole[1]] if whole else []
    # "The answer is \\boxed{7}" has two marks, and the inner one counts.
    last = marks[-1]
    found = _AFTER_MARK.get(last[0][0], _AFTER_MARK[""]).match(text, last.end())
    return [found[1]] if found else []


def _gold_number(gold: str) -> exact.Number | None:
    gold = gold.rpartition("####")[2].strip()
    return _read(gold) if _NUMBER.fullmatch(gold) else None


def _read(text: str) -> exact.Number | None:
    text = re.sub(r"\\[dt]frac", r"\\frac", text.replace("−", "-"))
    return exact.read_number(re.sub(r"[$€£]", "", text))


# "I" is a word too: "B, I think" chooses B alone. A small letter counts in brackets only.
_LETTER = r"(?<![A-Za-z])(?:(?!I\s+[a-z])[A-J]|(?<=[({])[a-j](?=[)}]))(?!\w|['’]\w)"
_COMMAND = r"\\(?:text|math)[a-z]{0,6}"
_GAP = rf"(?:{_COMMAND}|[^\w\n]){{0,10}}"
# Letters listed beside the first: "A or B", "A, B", "(A) (B)"; in "B. C is too small" the second is a new sentence.
_MORE = rf"(?:{_GAP}\b(?:or|and)\b{_GAP}{_LETTER}|{_GAP}{_LETTER}(?!\s+(?!(?:or|and)\b)[a-z]))*"
_CHOSEN = rf"(?:{_COMMAND}|\\[(\[]|[\s*_$(\[{{:：=\"'“‘`-]){{0,10}}(?P<first>{_LETTER})(?P<more>{_MORE})"
_STRONG = re.compile(
    r"(?:\\(?:boxed|fbox)\s*\{|<answer>|####|"
    r"\b(?i:answers?|ans)\b(?:\*\*)?(?:\s+(?i:is|are|would be|should be|must be)\b)?"
    rf"(?:[\s:*_]+(?i:the\s+)?(?i:option|choice|letter)s?\b)?){_CHOSEN}"
)
_WEAK = re.compile(rf"\b(?i:option|choice|choose|select|pick)\b(?:\s+(?i:is)\b)?{_CHOSEN}")
# One letter as the subject: "D is the correct answer", but not the last of "C or D is right".
_SUBJECT = re.compile(
    rf"(?<!\bor )(?<!\band )(?<![A-J], )(?P<first>{_LETTER})(?P<more>)[)\]*.]*\s+is\s+(?:the\s+)?(?:only\s+)?"
    r"(?i:(?:correct|right|best)\s+(?:answer|option|choice)|answer|correct|right)\b"
)
_LINE = re.compile(rf"(?m)^{_CHOSEN}(?=[\s*_$)\]}}\"'”’`]*(?:[.):]|$))")
_SMALL = re.compile(
    r"(\A\s*[(*]*|\b(?i:answers?|ans)\b[\s*_]*[:=][\s*_]*|\b(?i:answer is) (?!a))([a-j])(?=[\s*_).]*$)", re.MULTILINE
)
"""A small letter that is the whole response, or the rest of the line after "answer:" or "answer is"."""
# The mark between a choice's letter and its text: "D) B, D and F" chooses D.
_LABEL = re.compile(r"(?:[)\]}*_]*[).:\]][*_]*|\s+[-–—=(])\s*(?!\s|[,/&]|\W*\b(?:or|and)\b)")
_ONE_LETTER = re.compile(_LETTER)
_JOINER = re.compile(r"x?or|and|also|maybe|perhaps|possibly|either|the|is|it|could|be|final|text|answer", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+|\d+")


def choice(response: str, task: Task) -> Score:
    r"""1.0 where the letter that the response commits to last is the gold one, A to J.

    A commitment is `\boxed{B}`, `<answer>B</answer>`, `#### B` or "answer is B"; without one "B is right"; without that
    "option B"; without that a line that starts with the letter, as in "B) because". Several letters side by side, such
    as "A or B" or all of them one after the other, are wrong; "D) B, D and F" is D with its text. A gold is a letter
    with or without brackets, or one with its text, "B. Paris".
    """
    wanted = {match["first"].upper() for gold in golds(task) if (match := _LINE.match(gold.strip()))}
    if not wanted:
        return _no_gold(task, "a letter from A to J")
    letters = chosen_letters(response)
    if not letters:
        return Score(value=0.0, status="unparseable", detail="no choice in the answer")
    if len(letters) > 1:
        return _wrong(f"several choices: {', '.join(sorted(letters))}")
    return _right(f"chose {min(letters)}") if letters <= wanted else _wrong(f"chose {min(letters)}")


def chosen_letters(response: str) -> set[str]:
    """The letters that the response commits to last; none where it commits to nothing."""
    text = after_thought(response)[-WINDOW_CHARS:].strip()
    text = _SMALL.sub(lambda match: match[1] + match[2].upper(), text)
    for marks in (_STRONG, _SUBJECT, _WEAK, _LINE):
        matches = list(marks.finditer(text))
        if matches:
            return _last_commitment(text, matches)
    return set()


def _last_commitment(text: str, matches: list[re.Match[str]]) -> set[str]:
    """Letters of the last match, and of those before it that no correcting word parts from it."""
    letters: set[str] = set()
    after = len(text)
    for match in reversed(matches):
        gap = text[match.end() : after] if letters else ""
        if any(not _JOINER.fullmatch(word) for word in _WORD.findall(gap)):
            break
        letters |= {match["first"].upper(), *_listed(text, match)}
        after = match.start()
    return letters


def _listed(text: str, match: re.Match[str]) -> set[str]:
    """Letters offered beside the first one; none where they are the text of the choice that it labels."""
    start, end = match.span("more")
    more = list(_ONE_LETTER.finditer(text, start, end))
    style = _style(text, match.start("first"))
    alike = [style != (False, "") and _style(text, letter.start()) == style for letter in more]
    if len(more) > 1 and text[more[-1].end() :][:1] == ".":
        alike[-1] = False  # the end of a sentence, not a label
    if _LABEL.match(text, start) and not any(alike):
        return set()
    return {letter[0].upper() for letter in more}


def _style(text: str, at: int) -> tuple[bool, str]:
    """How the letter there is labelled: opened by a bracket; the mark that closes it."""
    return text[at - 1 : at] in ("(", "["), text[at + 1 : at + 2].strip()


def _no_gold(task: Task, wanted: str) -> Score:
    return Score(value=0.0, status="verifier_error", detail=f"the gold answer of task {task.id} is not {wanted}")


def _right(detail: str) -> Score:
    return Score(value=1.0, status="ok", detail=detail)


def _wrong(detail: str) -> Score:
    return Score(value=0.0, status="wrong", detail=detail)
