r"""Decides whether two answers are equal, cheap and certain tests first: text, choices, words, bases, exact numbers,
then part by part, and what is left by sympy in a worker.

Takes normalised text. Values are equal or not: nothing is rounded, no unit is converted, no prose is understood.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rlreason.rewards.math import exact, workers
from rlreason.rewards.math.guards import is_unevaluated, refuse
from rlreason.rewards.math.normalise import plain_words
from rlreason.rewards.math.spelling import plain_letters
from rlreason.rewards.math.structure import Structure, equation_sides, show, split, structure
from rlreason.rewards.math.units import split_unit, units_disagree
from rlreason.rewards.math.workers import Budget
from rlreason.rewards.runtime.killable import Crashed, Raised, Returned, TimedOut
from rlreason.types import ScoreStatus

MAX_EQUATION_SIDES = 4
MAX_FORMS = 4
"""Of one value, joined by "or"."""
MAX_NESTING = 3
"""Of parts: a set of points has two levels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Example: Verdict(equal=False, detail="different rationals")."""

    equal: bool
    detail: str


class UndecidedError(Exception):
    """No verdict: a deadline was missed, the gold cannot be read, or a worker died."""

    def __init__(self, status: ScoreStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def compare(answer: str, gold: str, budget: Budget, nesting: int = 0) -> Verdict:
    """Charges the budget. Raises UndecidedError where there is no verdict."""
    if _same_text(answer, gold):
        return _yes("same text")
    content = _content_of_choice(gold)
    if content and not _CHOSEN.match(answer):
        return compare(answer, content, budget, nesting)
    for test in (_as_choice, _as_words, _with_base, _as_numbers, _as_residues):
        verdict = test(answer, gold)
        if verdict is not None:
            return verdict
    wanted, given = structure(gold), structure(answer)
    if (wanted is not None or given is not None) and nesting < MAX_NESTING:
        verdict = _by_structure(answer, given, gold, wanted, budget, nesting + 1)
        if verdict is not None:
            return verdict
    if len(equation_sides(answer)) > 1 or len(equation_sides(gold)) > 1:
        return _as_equations(answer, gold, budget)
    return _by_sympy(answer, gold, budget)


def compare_parts(answers: Sequence[str], gold: str, budget: Budget) -> Verdict:
    """Several answers that stand side by side are right only if the gold is that set."""
    wanted = structure(gold)
    if wanted is None:
        same = _all_equal(answers, gold, budget, MAX_NESTING - 1)
        return _yes("equal forms of one value") if same else _no(f"{len(answers)} different answers")
    given = Structure(kind="list", parts=tuple(answers))
    if all(map(_NAMED_VALUE.fullmatch, answers)):
        return compare(", ".join(answers), gold, budget)
    if wanted.kind in ("list", "set", "tuple") and len(wanted.parts) == len(answers):
        return _equal_parts(given, wanted, budget, 1)
    return compare(", ".join(answers), gold, budget)


_IDLE_SPACE = re.compile(r"(?<!\w)\s+|\s+(?!\w)")


def _same_text(answer: str, gold: str) -> bool:
    """Spaces count only where they part two words or numbers: `4 2` is not `42`."""
    return _IDLE_SPACE.sub("", answer) == _IDLE_SPACE.sub("", gold)


_CHOICE = re.compile(
    r"(?P<alone>[A-J])|(?:\((?P<inside>[A-J])\)[.:]?|(?P<marked>[A-J])[).:]|"
    r"\(?\\(?:text|mathrm)\s*\{\s*\(?(?P<upright>[A-J])[):.]*\s*\}\)?)(?P<content>(?:(?<=\})|\s)\s*"
    r"(?![-+](?![\d.\\])|[_^*/=<>!|]|\\(?:cap|cup|cdot|times|setminus|subset|subseteq|in|to|le|ge|ne|lt|gt|land|lor|mid|pm)(?![a-zA-Z]))\S.*)?"
)
r"""`C`, `(C)`, `\text{(C)} 27`; not the letters of a formula such as `\mathrm{H}_2\mathrm{O}`."""
_CHOSEN = re.compile(
    r"\(?(?:\\(?:text|mathrm)\s*\{\s*)?(?:(?:[Oo]ption|[Cc]hoice)\s+)?\(?([A-J])\)?\s*\}?\)?"
    r"(?:(?<=[)}])|(?=[.):,]|$)|(?=\s+[^-+*/=<>^_|\s\\]|\s*\\(?:text|mathrm|quad)))(?![_^*/=<>])"
)
_OTHER_CHOICE = re.compile(r"(?<![A-Za-z\\])[A-J](?![A-Za-z])")


def _content_of_choice(gold: str) -> str:
    """`27` of `(C) 27`: an answer that gives no letter is compared with it."""
    wanted = _CHOICE.fullmatch(gold)
    return (wanted["content"] or "").strip() if wanted is not None else ""


def _as_choice(answer: str, gold: str) -> Verdict | None:
    """Letters count only where the gold is a letter. `(B) 12` chooses B; two letters choose nothing."""
    wanted = _CHOICE.fullmatch(gold)
    if wanted is None:
        return None
    chosen = _CHOSEN.match(answer)
    letter = wanted["alone"] or wanted["inside"] or wanted["marked"] or wanted["upright"]
    if chosen is not None and chosen[1] == letter and not _OTHER_CHOICE.search(answer, chosen.end()):
        return _yes("same choice")
    return _no("another choice")


_WORDS = re.compile(r"[A-Za-z][A-Za-z ,.'-]*")
_ARTICLE = re.compile(r"^(?:an?|the) (?=[a-z])", re.IGNORECASE)
_CAPITALISED = re.compile(r"[A-Z][a-z]+")
_EMPTY_SET = re.compile(
    r"no (?:real |integer |such )?(?:solutions?|roots?)|(?:the )?empty ?set|none|\\emptyset|\\\{\s*\\\}", re.IGNORECASE
)
_SHORT_WORDS = frozenset({"yes", "no", "odd", "dne", "none", "red", "both"})


def _as_words(answer: str, gold: str) -> Verdict | None:
    """A gold in words is compared as words. Short ones ("xy") may be a product of variables: not here."""
    bare = plain_words(gold)
    if _EMPTY_SET.fullmatch(bare) and _EMPTY_SET.fullmatch(plain_words(answer)):
        return _yes("both say that there is none")
    if not any(len(word) > 1 for word in re.findall("[A-Za-z]+", bare)):
        return None  # a list of names
    long = " " in bare or len(bare) > 3 or _CAPITALISED.fullmatch(bare) or bare.casefold() in _SHORT_WORDS
    if _WORDS.fullmatch(bare) and long:
        same = _ARTICLE.sub("", plain_words(answer)).casefold().split() == _ARTICLE.sub("", bare).casefold().split()
        return _yes("same words") if same else _no("other words")
    if exact.read_number(gold) is not None and not any(c.isdigit() or c in "\\√" for c in answer):
        return _no("no number in the answer")
    return None


_BASED = re.compile(
    r"(?:\\text\s*\{)?\(?([0-9]*\.(?:[0-9]|\\overline\s*\{\d+\})+|[0-9][0-9A-Za-z,]*|[0-9A-F]+)\)?\}?"
    r"\s*_\s*(?:\{\s*(?:\\text\s*\{)?\(?(\w+)\)?\}?\s*\}|(\d))"
)
_BASE_NAMES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
               "ten": "10", "twelve": "12", "sixteen": "16"}  # fmt: skip


def _numeral(text: str) -> tuple[str, str] | None:
    """Digits and base of `204_5`, `AB_{16}`. `A_1` is an indexed name: letters alone need a base above ten."""
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    digits, base = match[1].replace(",", ""), match[2] or match[3]
    base = _BASE_NAMES.get(base, base)
    if base.isdecimal() and (digits[0].isdecimal() or int(base) > 10):
        return digits.upper(), base
    return (digits, base) if digits.isdecimal() and len(base) == 1 else None


def _with_base(answer: str, gold: str) -> Verdict | None:
    """Digits and base must both agree; a numeral without its base is another number."""
    given, wanted = _numeral(answer), _numeral(gold)
    if given is None and wanted is None:
        return None
    return _yes("same numeral and base") if given == wanted else _no("another numeral or base")


def _as_numbers(answer: str, gold: str) -> Verdict | None:
    answer_number, answer_unit = split_unit(answer, bare_capitals=True)
    gold_number, gold_unit = split_unit(gold)
    expected = exact.read_number(gold_number)
    given = exact.read_number(answer_number)
    if expected is None or given is None:
        return None
    if units_disagree(answer_unit, gold_unit):
        return _no(f"unit {answer_unit} for {gold_unit}")
    return _yes("equal as rationals") if exact.equal(given, expected) else _no("different rationals")


_RESIDUE = re.compile(
    r"(?:(?P<name>[a-zA-Z])\s*\\equiv\s*)?(?P<value>-?\d+)\s*(?:\\p?mod(?![a-zA-Z])|\\bmod)\s*\{?\s*(?P<modulus>\d+)\s*\}?"
)


def _as_residues(answer: str, gold: str) -> Verdict | None:
    """`x \\equiv 3 \\pmod{7}`: the modulus must agree and the residue within it; the least one may stand alone."""
    wanted, given = _RESIDUE.fullmatch(gold), _RESIDUE.fullmatch(answer)
    if wanted is None:
        return None
    residue, modulus = int(wanted["value"]), int(wanted["modulus"])
    if given is None:
        alone = exact.read_number(answer)
        return _yes("the residue") if alone is not None and alone.value == residue else _no("no such residue")
    same = int(given["modulus"]) == modulus > 0 and (int(given["value"]) - residue) % modulus == 0
    return _yes("the same residue") if same else _no("another residue")


_NAMED_VALUE = re.compile(r"([a-zA-Z])(?:_\{?\w+\}?)?\s*=\s*(.+)")


def _without_names(parts: tuple[str, ...]) -> tuple[str, ...]:
    """`x=1, x=2` and `x_1=1, x_2=2` are two values of x; `x=2, y=1` is something else."""
    matches = [_NAMED_VALUE.fullmatch(part) for part in parts]
    named = [match for match in matches if match is not None]
    rest_is_plain = all("=" not in part for part, match in zip(parts, matches, strict=True) if match is None)
    if not named or not rest_is_plain or len({match[1] for match in named}) > 1 or (matches[0] is None):
        return parts
    return tuple(match[2] if match is not None else part for part, match in zip(parts, matches, strict=True))


def _named_values(found: Structure) -> dict[str, str]:
    """The values of `x=1, y=2` by name, in their order; empty if it is not that."""
    matches = [_NAMED_VALUE.fullmatch(part) for part in found.parts] if found.kind == "list" else []
    named = {match[1].casefold(): match[2] for match in matches if match is not None}
    return named if len(named) == len(found.parts) else {}


def _repeats_a_name(found: Structure) -> bool:
    names = [equation_sides(part)[0] for part in found.parts if "=" in part]
    return len(set(names)) < len(names)


def _as_point(side: Structure, values: dict[str, str], other: Structure) -> Structure:
    """Values with names stand as written; for a point in brackets in the order x, y, z."""
    if other.kind == "tuple" and values.keys() <= set("xyz"):
        values = dict(sorted(values.items()))
    return Structure(kind="tuple", parts=tuple(values.values()) or side.parts)


def _by_structure(
    answer: str, given: Structure | None, gold: str, wanted: Structure | None, budget: Budget, nesting: int
) -> Verdict | None:
    """None where the text does not decide: unions that may touch, sets that are described, a point without brackets."""
    if wanted is None or given is None:
        return _one_against_many(answer, given, gold, wanted, budget, nesting)
    kinds = {given.kind, wanted.kind}
    if "union" in kinds and kinds <= {"union", "list", "set"}:
        verdict = _equal_parts(given, wanted, budget, nesting)
        return verdict if verdict.equal else _by_sympy(_interval_text(given), _interval_text(wanted), budget)
    answers, golds = _named_values(given), _named_values(wanted)
    if answers and golds:
        if answers.keys() != golds.keys():
            return _no("values of other names")
        answers = {name: answers[name] for name in golds}
    if kinds == {"list", "tuple"} or (kinds == {"list"} and (answers or golds)):
        if any(_repeats_a_name(side) for side in (given, wanted)):
            return _no("several values of one name for a point")
        # Numbers without brackets may be a point, and then stand in its order, as `x=1, y=2` does.
        points = _as_point(given, answers, wanted), _as_point(wanted, golds, given)
        return _equal_parts(*points, budget, nesting)
    if given.kind == wanted.kind or kinds == {"list", "set"}:
        return _equal_parts(given, wanted, budget, nesting)
    if "union" in kinds and not kinds & {"matrix", "cases", "ratio"}:
        return _by_sympy(_interval_text(given), _interval_text(wanted), budget)
    return _no(f"a {given.kind} for a {wanted.kind}")


def _interval_text(found: Structure) -> str:
    return show(Structure(kind="union", parts=found.parts) if found.kind == "list" else found)


def _one_against_many(
    answer: str, given: Structure | None, gold: str, wanted: Structure | None, budget: Budget, nesting: int
) -> Verdict | None:
    many = given or wanted
    assert many is not None
    single = gold if wanted is None else answer
    if many.kind in ("list", "set") and len(many.parts) == 1:
        pair = (many.parts[0], gold) if given is not None else (answer, many.parts[0])
        return compare(*pair, budget, nesting)
    described = re.search(r"\\(?:setminus|backslash|mathbb|cap|in)(?![a-zA-Z])", single)
    if described and many.kind in ("union", "set", "tuple", "closed", "left-open", "right-open"):
        texts = (show(given) if given else answer, show(wanted) if wanted else gold)
        return _by_sympy(*texts, budget)
    if many.kind == "ratio":
        return None
    if many.kind == "list" and _all_equal(_without_names(many.parts), single, budget, nesting):
        return _yes("equal forms of one value")
    if many.kind == "matrix" and re.search(r"\\begin|\^", single):
        return None
    return _no(f"a {many.kind} against one value")


def _all_equal(forms: Sequence[str], single: str, budget: Budget, nesting: int) -> bool:
    r"""`\frac12 or 0.5` says one thing twice; `0.5 or 50`, for a gold of 50 %, does not."""
    if len(forms) > MAX_FORMS or len(set(forms)) < len(forms):
        return False
    pairs = [(form, single) for form in forms] + [(form, forms[0]) for form in forms[1:]]
    return all(compare(one, other, budget, nesting).equal for one, other in pairs)


def _equal_parts(given: Structure, wanted: Structure, budget: Budget, nesting: int) -> Verdict:
    answers, golds = _without_names(given.parts), _without_names(wanted.parts)
    if given.kind == "set" or wanted.kind == "set":
        answers, golds = tuple(dict.fromkeys(answers)), tuple(dict.fromkeys(golds))
    if len(answers) != len(golds) or given.num_columns != wanted.num_columns:
        return _no(f"{len(answers)} parts for {len(golds)}")
    if given.is_ordered or wanted.is_ordered:
        for one, other in zip(answers, golds, strict=True):
            if not compare(one, other, budget, nesting).equal:
                return _no(f"part {one} is not {other}")
        return _yes("equal part by part")
    left = list(golds)
    for one in answers:
        # The same text first: it needs no comparison, and most lists agree in their order or in their sorted order.
        left.sort(key=lambda other, one=one: not _same_text(one, other))  # type: ignore[misc]
        match = next((k for k, other in enumerate(left) if compare(one, other, budget, nesting).equal), None)
        if match is None:
            return _no(f"part {one} is not in the gold")
        del left[match]
    return _yes("equal part by part")


_NAME = re.compile(r"[^-0-9+*/.,<>=]{1,30}(?:[_^]\s*(?:\{[^{}]*\}|\w))?(?:\([^()]{1,20}\))?'?")
_LINE = re.compile(r"([xyz])\s*=(?!=)")
_OF_A_NAME = re.compile(
    r"\\(?:sin|cos|tan|cot|sec|csc|sinh|cosh|tanh|arcsin|arccos|arctan|ln|log|exp|sqrt)(?![a-zA-Z])|\|"
)
_SUM_OF_NAMES = re.compile(r"[a-zA-Z](?:\s*[-+]\s*[a-zA-Z])+")


def _sides(text: str, other: str) -> list[str]:
    """The sides of `x = 2 + 3 = 5` without the name in front, or at the end. `a + b` names a value only where the
    other text is a value; beside an equation it is one."""
    sides = equation_sides(text)
    while len(sides) > 1 and is_unevaluated(sides[0]):
        sides = sides[1:]  # the problem, and then its value
    if len(sides) == 1:
        return sides
    if _NAME.fullmatch(sides[0]) or ("=" not in other and _SUM_OF_NAMES.fullmatch(sides[0])):
        return sides[1:]
    if _NAME.fullmatch(sides[-1]) and exact.read_number(sides[0]) is not None:
        return sides[:-1]
    return sides


def _of_different_names(answer: str, gold: str) -> bool:
    r"""The line `x = 7` is not `y = 7`, and `\sin x = 1` is not `\cos x = 1`."""
    lines = [_LINE.match(side) for side in (answer, gold)]
    if len({line[1] for line in lines if line is not None}) > 1:
        return True
    sides = [equation_sides(side) for side in (answer, gold)]
    if any(len(side) == 1 for side in sides) or not any(_OF_A_NAME.search(side[0]) for side in sides):
        return False
    return not _same_text(sides[0][0], sides[1][0])


def _as_equations(answer: str, gold: str, budget: Budget) -> Verdict:
    """Every side must equal the gold, so that `56 = 57` is no way to say 57; two equations are compared whole."""
    if not any(map(str.isalpha, gold)):
        gold = equation_sides(gold)[-1]  # of `2 + 3 = 5` the value is meant
    given, wanted = _sides(answer, gold), _sides(gold, answer)
    if not all(given) or not all(wanted) or max(len(given), len(wanted)) > MAX_EQUATION_SIDES:
        return _no("an equation with empty or too many sides")
    if _of_different_names(answer, gold):
        return _by_sympy(answer, gold, budget)
    names = [equation_sides(side)[0] for side in (answer, gold)]
    if len(given) < len(equation_sides(answer)) and _same_text(*names):
        given, wanted = given[-1:], wanted[-1:]  # `x = 1 + 1 = 2` says that x is 2
    if len(wanted) == 1 and (given, wanted) != ([answer], [gold]):
        for side in reversed(given):
            verdict = compare(side, wanted[0], budget, MAX_NESTING - 1)
            if not verdict.equal:
                break
        same_name = len(given) == 1 and names[0] == names[1]
        two_equations = "=" in gold and "=" in answer and any(map(str.isalpha, answer)) and not same_name
        if verdict.equal or not two_equations:
            return verdict
    return _by_sympy(answer, gold, budget)


_E_NOTATION = re.compile(r"-?[\d.]+[eE][-+]?\d+")


def _without_exponent_letter(text: str) -> str:
    """The parser takes the e of `1e-7` for 2.718."""
    number = exact.read_number(text) if _E_NOTATION.fullmatch(text) else None
    return text if number is None else rf"\frac{{{number.value.numerator}}}{{{number.value.denominator}}}"


def _without_thousands(text: str) -> str:
    r"""`7,200\pi` -> `7200\pi`; the commas of a list stay."""
    return "".join(split(text, ",", thousands=False)) if len(split(text, ",")) == 1 else text


_WORD_COMMAND = re.compile(r"\\(?:text|textrm|mathrm|operatorname)\s*\{([^{}]*)\}")
_FIGURE = re.compile(r"\\(?:angle|triangle|overrightarrow|overleftrightarrow)(?![a-zA-Z])|\\overline\s*\{[A-Z]")


_DOTS = re.compile(r"(?:[-+*<>]|\\cdot|\\times|\\le)\s*(?:\\ldots|\.\.\.)")
_MARK = re.compile(r"'|\^\s*(?:T(?![a-zA-Z])|\{\s*(?:T|\\top|\(\w+\))\s*\}|\\top(?![a-zA-Z]))")
_BEYOND_ALGEBRA = re.compile(
    r"\\(?:to|implies|iff|land|lor|neg|cap|cup|setminus|subset|subseteq|supset|supseteq|notin|in|forall|exists|mid|nmid|"
    r"parallel|perp|cong|sim|simeq|propto|circ|oplus|otimes|mathbb|mathcal|aleph|langle|nabla|partial|iint|oint|equiv|"
    r"pmod|bmod|mod|inf|sup|arg|det|vdash|models|top|bot|dagger|dag|star|ast|prec|succ)(?![a-zA-Z])|\\\||[|:\[]|\^\s*\{?\s*\*"
)


_ONE_IN_BRACES = re.compile(r"\{([\w*])\}")


def _dropped(text: str) -> list[str]:
    """What the parser does not see: words, primes, the sign of a transpose, the order of a derivative."""
    words = " ".join(_WORD_COMMAND.findall(text)).casefold().split()
    return sorted(words) + sorted(re.sub(r"[\s{}]", "", mark) for mark in _MARK.findall(text))


def _is_well_formed(text: str) -> bool:
    """Sets, logic, geometry: mathematics that is written well and is none of the parser's."""
    whole = len(split(text + " ,", ",")) > 1 and re.search(r"(?<!\^)[-+*/^_=<>\\]\s*$", text) is None
    return whole and _BEYOND_ALGEBRA.search(text) is not None


def _by_sympy(answer: str, gold: str, budget: Budget) -> Verdict:
    reason = refuse(answer, gold)
    if reason is not None:
        return _no(f"refused: {reason}")
    if _FIGURE.search(answer) or _FIGURE.search(gold):
        return _no("names of figures are compared as text")  # the parser would read `ABC` as a product
    if _DOTS.search(answer) or _DOTS.search(gold):
        return _no("what dots stand for is compared as text")
    answer, gold = (plain_letters(split_unit(side)[0]) for side in (answer, gold))
    if _dropped(answer) != _dropped(gold):
        return _no("words, primes or the like that the gold does not have")
    try:
        gold, answer = (_without_exponent_letter(_without_thousands(side)) for side in (gold, answer))
    except ValueError:
        return _no("an exponent too large to print")
    match workers.compare(gold, answer, budget):
        case Returned(value="equal"):
            return _yes("equal by sympy")
        case Returned(value="different"):
            return _no("different by sympy")
        case Returned(value="answer_unread"):
            return _no("the answer is not mathematics that the parser reads")
        case Returned(value="gold_unread") if _is_well_formed(gold):
            if _same_text(*(_ONE_IN_BRACES.sub(r"\1", side) for side in (answer, gold))):
                return _yes("same text but for braces")
            return _no("the gold is compared as text: the parser does not read it")
        case Returned(value="gold_unread"):
            raise UndecidedError("verifier_error", f"the gold answer {gold!r} is not mathematics that the parser reads")
        case TimedOut(at_load=False):
            raise UndecidedError("timeout", "the symbolic comparison passed its deadline")
        case Raised(traceback=text):
            raise UndecidedError("verifier_error", text)
        case Crashed(detail=text):
            raise UndecidedError("verifier_error", f"the comparing process died: {text}")
        case failure:
            raise UndecidedError("verifier_error", f"the comparing process answered nonsense: {failure}")


def _yes(detail: str) -> Verdict:
    return Verdict(equal=True, detail=detail)


def _no(detail: str) -> Verdict:
    return Verdict(equal=False, detail=detail)
