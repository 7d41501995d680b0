r"""Checks a mathematical answer against the gold one. Needs no torch, Ray or vLLM; sympy runs in a child only.

Numbers are compared exactly in this process; everything else by math-verify in a child that the deadline kills.
Several different answers side by side are wrong unless the gold is that set. Nothing of the response is evaluated
as Python. Does not convert units, does not read prose, does not judge the reasoning.
"""

import re
import threading
import time
from collections.abc import Sequence
from functools import lru_cache

from rlreason.rewards import exact
from rlreason.rewards.extract import Extracted, final_answer
from rlreason.rewards.guards import refuse
from rlreason.rewards.killable import Crashed, KillableFunction, Raised, Returned, TimedOut
from rlreason.rewards.normalise import normalise, split_unit, units_disagree
from rlreason.types import Score, ScoreStatus, Task

CHILD_MEMORY_BYTES = 1 << 30
MAX_EQUATION_PARTS = 4
_CACHE_SIZE = 1 << 16


def verify(response: str, gold: str | list[str], *, timeout_s: float = 5.0) -> Score:
    r"""Score 1.0 if the response's final answer equals the gold one, or any one of several golds.

    A gold may be bare LaTeX, `$..$`, `\boxed{..}` or a GSM8K solution that ends in `#### 42`.
    Status: ok, wrong, unparseable (no answer found), timeout (timeout_s seconds per gold), verifier_error (the gold
    cannot be read, or the child died).
    """
    golds = [gold] if isinstance(gold, str) else list(gold)
    if not any(map(_gold_text, golds)):
        return Score(value=0.0, status="verifier_error", detail="the gold answer is empty")
    found = final_answer(response)
    if found is None:
        return Score(value=0.0, status="unparseable", detail="no final answer in the response")
    scores = [_judge(found, _gold_text(one), timeout_s) for one in golds]
    # A right answer stands whatever the other golds did; a failed check must not pass for a wrong answer.
    order: Sequence[ScoreStatus] = ("ok", "timeout", "verifier_error", "wrong")
    return min(scores, key=lambda score: order.index(score.status))


def reward(response: str, task: Task, *, timeout_s: float = 5.0) -> Score:
    """`verify` against the task's own answer."""
    if task.answer is None:
        return Score(value=0.0, status="verifier_error", detail=f"task {task.id} has no answer to compare with")
    return verify(response, task.answer if isinstance(task.answer, str) else list(task.answer), timeout_s=timeout_s)


class _Undecided(Exception):
    """Carries a verdict past the cache: a deadline missed under load must not stick."""

    def __init__(self, score: Score) -> None:
        self.score = score


def _judge(found: Extracted, gold: str, timeout_s: float) -> Score:
    try:
        return _decide(found.parts, gold, timeout_s)
    except _Undecided as undecided:
        return undecided.score


@lru_cache(maxsize=_CACHE_SIZE)
def _decide(parts: tuple[str, ...], gold: str, timeout_s: float) -> Score:
    deadline = time.monotonic() + timeout_s
    gold = normalise(gold)
    answers = [normalise(part) for part in parts]
    if not all(answers):
        return _wrong("the answer is empty")
    if len(answers) == 1:
        return _compare(answers[0], gold, deadline)
    if exact.read_number(gold) is not None:
        return _wrong(f"{len(answers)} different answers")
    return _compare_symbolically(r"\{" + ", ".join(answers) + r"\}", gold, deadline)


def _compare(answer: str, gold: str, deadline: float) -> Score:
    """One normalised answer against one normalised gold: cheap and certain tests first."""
    if _same_text(answer, gold):
        return _right("same text")
    for compare in (_as_choice, _as_words, _with_base, _as_numbers):
        score = compare(answer, gold)
        if score is not None:
            return score
    if "=" in answer and "=" not in gold and "," not in answer:
        return _compare_equation(answer, gold, deadline)
    return _compare_symbolically(answer, gold, deadline)


_IDLE_SPACE = re.compile(r"(?<!\w)\s+|\s+(?!\w)")


def _same_text(answer: str, gold: str) -> bool:
    """Spaces count only where they part two words or numbers: `4 2` is not `42`."""
    return _IDLE_SPACE.sub("", answer) == _IDLE_SPACE.sub("", gold)


_CHOICE = re.compile(r"\(?([A-J])\)?")
_CHOSEN = re.compile(r"(?:\\text\s*\{)?\(?([A-J])\)?\}?(?:[.):]|$)")


def _as_choice(answer: str, gold: str) -> Score | None:
    """Letters count only where the gold is a letter."""
    gold_letter = _CHOICE.fullmatch(gold)
    if gold_letter is None:
        return None
    chosen = _CHOSEN.match(answer)
    if chosen is not None and chosen.group(1) == gold_letter.group(1):
        return _right("same choice")
    return _wrong("another choice")


_WORDS = re.compile(r"[A-Za-z][A-Za-z ,.'-]*")


def _as_words(answer: str, gold: str) -> Score | None:
    """A gold in words is compared as words. Short ones ("xy") may be a product of variables: not here."""
    gold_is_words = _WORDS.fullmatch(gold) is not None and (" " in gold or len(gold) > 3)
    if gold_is_words:
        plain = re.sub(r"\\(?:text|textrm|mathrm)\s*\{([^{}]*)\}", r"\1", answer)
        same = plain.casefold().split() == gold.casefold().split()
        return _right("same words") if same else _wrong("other words")
    if exact.read_number(gold) is not None and not any(c.isdigit() or c == "\\" for c in answer):
        return _wrong("no number in the answer")
    return None


_BASED = re.compile(r"([0-9A-Za-z]+)_\s*\{?\s*(\d+)\s*\}?")


def _with_base(answer: str, gold: str) -> Score | None:
    """`204_5`: digits and base must both agree. Only texts that start with a digit are numerals."""
    sides = [_BASED.fullmatch(side) for side in (answer, gold)]
    numerals = [side.groups() if side and side.group(1)[0].isdigit() else None for side in sides]
    if numerals == [None, None]:
        return None
    return _right("same numeral and base") if numerals[0] == numerals[1] else _wrong("another numeral or base")


def _as_numbers(answer: str, gold: str) -> Score | None:
    answer_number, answer_unit = split_unit(answer)
    gold_number, gold_unit = split_unit(gold)
    expected = exact.read_number(gold_number)
    given = exact.read_number(answer_number)
    if expected is None or given is None:
        return None
    if units_disagree(answer_unit, gold_unit):
        return _wrong(f"unit {answer_unit} for {gold_unit}")
    return _right("equal as rationals") if exact.equal(given, expected) else _wrong("different rationals")


_EQUALS = re.compile(r"(?<![\\<>!:=])=(?!=)")
_NAME = re.compile(r"[^0-9+*/.,]{1,30}(?:[_^]\s*(?:\{[^{}]*\}|\w))?(?:\([^()]{1,20}\))?'?")


def _compare_equation(answer: str, gold: str, deadline: float) -> Score:
    """`x = 2 + 3 = 5`: a name in front is dropped, and every other side must equal the gold: `56 = 57` does not."""
    sides = [side.strip() for side in _EQUALS.split(answer)]
    if len(sides) > 1 and _NAME.fullmatch(sides[0]):
        sides = sides[1:]
    elif len(sides) > 1 and _NAME.fullmatch(sides[-1]) and not any(c.isalpha() for c in gold):
        sides = sides[:-1]
    if not all(sides) or len(sides) > MAX_EQUATION_PARTS:
        return _wrong("an equation with empty or too many sides")
    score = _wrong("no side")
    for side in reversed(sides):
        if _same_text(side, gold):
            score = _right("same text")
        else:
            score = _as_numbers(side, gold) or _compare_symbolically(side, gold, deadline)
        if score.status != "ok":
            return score
    return score


def _compare_symbolically(answer: str, gold: str, deadline: float) -> Score:
    reason = refuse(answer, gold)
    if reason is not None:
        return _wrong(f"refused: {reason}")
    answer, gold = split_unit(answer)[0], split_unit(gold)[0]
    result = _child().call(gold, answer, timeout_s=max(0.01, deadline - time.monotonic()))
    match result:
        case Returned(value="equal"):
            return _right("equal by sympy")
        case Returned(value="different"):
            return _wrong("different by sympy")
        case Returned(value="answer_unread"):
            return _wrong("the answer is not mathematics that the parser reads")
        case Returned(value="gold_unread"):
            raise _failed("verifier_error", f"the gold answer {gold!r} is not mathematics that the parser reads")
        case TimedOut(at_load=False):
            raise _failed("timeout", "the symbolic comparison passed its deadline")
        case Raised(traceback=text):
            raise _failed("verifier_error", text)
        case Crashed(detail=text):
            raise _failed("verifier_error", f"the comparing process died: {text}")
    raise _failed("verifier_error", f"the comparing process did not start or answered nonsense: {result}")


def _right(detail: str) -> Score:
    return Score(value=1.0, status="ok", detail=detail)


def _wrong(detail: str) -> Score:
    return Score(value=0.0, status="wrong", detail=detail)


def _failed(status: ScoreStatus, detail: str) -> _Undecided:
    return _Undecided(Score(value=0.0, status=status, detail=detail))


def _gold_text(gold: str) -> str:
    """Bare LaTeX out of the forms that data sets use."""
    if "####" in gold:
        return gold.rpartition("####")[2].strip()
    if r"\boxed" in gold or r"\fbox" in gold:
        found = final_answer(gold)
        gold = found.parts[-1] if found is not None else gold
    gold = gold.strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        if len(gold) > len(opening + closing) and gold.startswith(opening) and gold.endswith(closing):
            return gold[len(opening) : -len(closing)].strip()
    return gold


_child_lock = threading.Lock()
_child_function: KillableFunction | None = None


def _child() -> KillableFunction:
    """One child per process, started at the first symbolic comparison."""
    global _child_function
    with _child_lock:
        if _child_function is None:
            path = "rlreason.rewards.math_child:make_compare"
            _child_function = KillableFunction(
                path, factory_args=(), timeout_s=5.0, memory_bytes=CHILD_MEMORY_BYTES, start_timeout_s=60.0
            )
        return _child_function
