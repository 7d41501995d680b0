r"""Reads the answer out of a clause or a text in words: `58 apples in total`, `so there are 2 1/2 pizzas left`.

An expression counts where the words around it cannot change its value. "58 or 59", "less than 58", "58 dozen" are
left whole, and so equal no gold by chance. Pure text; does not understand the prose.
"""

import itertools
import re

from rlreason.rewards.math.expressions import Expression, expressions, has_words
from rlreason.rewards.math.units import is_unit, split_unit

MARKUP = " \t\r\n*_`\"'“”"
NOTHING = ("",)
"""An answer that was begun and not ended."""


def ends_open(text: str) -> bool:
    """Whether an operator, comma or bracket at the end waits for what follows."""
    text = text.rstrip()
    return text.rstrip("*_ ")[-1:] in tuple("-−+/^=×÷,([{") or (text.endswith("*") and not text.endswith("**"))


_MONEY_AT_END = re.compile(r"(?:\$\s?[\d.]|\d\s?\$)[^$]*$")


def is_open(text: str) -> bool:
    """Whether an expression goes on after its end: a bracket, a delimiter or an operator lacks its other half."""
    plain = re.sub(r"\\[\\$]", "", text)
    bracket = re.search(r"[(\[]([^()\[\]]*)$", plain)
    pairs = (("{", "}"), (r"\(", r"\)"), (r"\[", r"\]"), (r"\begin{", r"\end{"))
    if any(plain.count(a) > plain.count(b) for a, b in pairs) or (bracket and not has_words(bracket[1])):
        return True
    displays, dollars = plain.count("$$"), plain.replace("$$", "")
    return bool(ends_open(text) or displays % 2 or (dollars.count("$") % 2 and not _MONEY_AT_END.search(dollars)))


# "if" and "unless" before "I": an idiom such as "if I am not mistaken".
_DOUBT = (
    r"(?:or|either|maybe|perhaps|possibly|alternatively|might|may|could|otherwise|depending|wrong|incorrect|impossible)"
    r"\b|\b(?:if|unless)\b(?! I\b)|oder\b|ou\b|или|または|或|또는|أو"
)
_DOUBT_OR_VARIABLE = re.compile(rf"\b(?:{_DOUBT})|(?<![\w'’])[b-hj-zB-HJ-Z](?![\w'’.])", re.IGNORECASE)
_OFFERED = re.compile(r"\b(?:or|either|maybe|perhaps|possibly)\b", re.IGNORECASE)
_NUMBER_WORD = r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|hundred)"
_FRACTION_AFTER = re.compile(rf"\b{_NUMBER_WORD}\s+(?:and\s+)?$", re.IGNORECASE)
_NEGATED = re.compile(r"\b(?:minus|negative)\s*$", re.IGNORECASE)
_CHANGED_BEFORE = re.compile(
    rf"\b(?:(?:not?|never|than|under|below|above|over|exceed\w*|between|beyond|within|twice|half|double|triple|minus|"
    rf"but|except|other|besides|without|negative|squared?|cubed?|root|log|factorial|power|multiple|divisible|nearly|almost|close|near|off|up|both|least|"
    rf"most|plus|times)\b|{_DOUBT})|n't\b",
    re.IGNORECASE,
)
_CHANGED_AFTER = re.compile(
    r"\s*(?:hundred|dozen|halves|(?:thir|four|fif|six|seven|eigh|nin|ten|hundred)th?s|squared|cubed|factorial|pi|"
    rf"(?:less|more|fewer|greater) than|times {_NUMBER_WORD}|"
    rf"and (?:an?|{_NUMBER_WORD})[ -](?:half|thirds?|quarters?|\w+th)s?|and half|plus|minus|mod(?:ulo)?|(?:in )?base|"
    r"to the|mil|mille|millones|tausend|million\w*|тыс\w*|млн|миллион\w*)(?!\w)"
    r"|\s*(?:[万億亿萬만억]|[百백](?!分)|[千천](?![克米卡瓦帕])|.?半|लाख|करोड़|ألف|مليون|ล้าน|พัน|หมื่น|แสน)\w*",
    re.IGNORECASE,
)
_IN_WORDS = re.compile(r"\s*\([A-Za-z -]{2,30}\)$")  # `9 (nine)`
_CHOICE = re.compile(r"\(?[A-J][).:]")  # `(C) 15 apples`
_COPULA = re.compile(r"(?<![A-Za-z])(?:is|are|was|equals|be)(?![A-Za-z])", re.IGNORECASE)
_LIST_GAP = re.compile(r"\s*[,;]?\s*(?:and|or)?\s*", re.IGNORECASE)


def value_of(clause: str) -> str:
    """The clause's one expression with its unit, or its list of them; else the clause."""
    clause = _IN_WORDS.sub("", clause.strip(MARKUP))
    found = expressions(clause)
    if not found or _CHOICE.match(clause) or any(one.is_tail for one in found):
        return clause
    first, last = found[0], found[-1]
    if not has_words(clause):
        is_whole = clause.strip("().") == clause[first.start : first.end].strip("()")
        return first.content if is_whole else clause
    before, after = clause[: first.start], clause[last.end :]
    if len(found) > 1:
        return _value_of_several(clause, found)
    if _NEGATED.search(before) and not first.content.startswith("-"):
        return f"-({first.content})"
    content, after = _scaled(first.content, after)
    if _CHANGED_BEFORE.search(before) or _is_mixed(before, content) or _changes(after):
        return clause
    return _with_unit(content, after)


def _value_of_several(clause: str, found: list[Expression]) -> str:
    """`19` of "the number of points of $f(x)$ is 19"; `3 and 5` of "3 and 5, respectively"."""
    first, last = found[0], found[-1]
    copulas = [c for c in _COPULA.finditer(clause) if not any(e.start < c.start() < e.end for e in found)]
    if has_words(clause[: first.start]) and copulas and first.start < copulas[-1].start() < last.start:
        subject = clause[: copulas[-1].start()]
        if not _OFFERED.search(subject) and (len(copulas) == 1 or not re.search(r"\d", subject)):
            return value_of(clause[copulas[-1].end() :])
    gaps = [clause[one.end : other.start] for one, other in itertools.pairwise(found)]
    is_list = not has_words(clause[: first.start]) and all(map(_LIST_GAP.fullmatch, gaps))
    return clause[first.start : last.end] if is_list and not _changes(clause[last.end :]) else clause


def _changes(after: str) -> bool:
    return bool(_CHANGED_AFTER.match(after) or _DOUBT_OR_VARIABLE.search(after))


_MYRIADS = {"万": 4, "萬": 4, "만": 4, "亿": 8, "億": 8, "억": 8}
_SCALE = re.compile(
    rf"\s*(?:(thousand|million|billion|trillion)\b|(per ?cent|pct)\b|([{''.join(_MYRIADS)}])(?!\s*\d))", re.IGNORECASE
)


def _scaled(content: str, after: str) -> tuple[str, str]:
    """With the word that belongs to the number, `5 million` or `5 percent`; and what is left after it."""
    scale = _SCALE.match(after)
    if scale is None:
        return content, after
    scaled = f" {scale[1].lower()}" if scale[1] else r"\%" if scale[2] else rf"\cdot 10^{{{_MYRIADS[scale[3]]}}}"
    return content + scaled, after[scale.end() :]


_FIRST_WORD = re.compile(r"\s*([A-Za-z]+)\b(?!\s*(?:per\b|/))")


def _with_unit(content: str, after: str) -> str:
    """`58 cm` of "58 cm in total", `58 miles per hour`; a word that is no unit says nothing about the value."""
    words = after.strip(MARKUP + ".,")
    first = _FIRST_WORD.match(after)
    if words == "in" or (first and first[1] != "in" and is_unit(first[1])):
        return f"{content} {first[1] if first else words}"
    has_unit = any(is_unit(word) for word in re.findall(r"[A-Za-z]+", words) if word != "in")
    return f"{content} {words}" if has_unit and split_unit(f"{content} {words}")[0] == content else content


_REFUSED = re.compile(r"(?:\bnot|n't|\bthan|\binstead of|\bunlike)\s*\$?$", re.IGNORECASE)
_OR_GAP = re.compile(
    r"\s*,?\s*(?:x?or|oder|ou|или|或者?|または|또는|أو)\s*(?:maybe|perhaps|possibly|even)?\s*", re.IGNORECASE
)
_AND_GAP = re.compile(r"\s*[,;]?\s*(?:and|&|\\q?quad)\s*|\s*[,;]\s*", re.IGNORECASE)
_OPERATION = re.compile(
    r"\s*(?:plus|minus|times|(?:multiplied|divided) by|over|to the power(?: of)?|mod(?:ulo)?|(?:out )?of(?: the)?|to)"
    r"\s*",
    re.IGNORECASE,
)
_ALTERED = re.compile(r"\b(?:twice|half(?: of)?|double|triple|(?:square|cube)(?: root)? of)\s*$", re.IGNORECASE)
_FRACTION = re.compile(r"\d+/\d+|\\[dt]?frac.*|[½⅓⅔¼¾]", re.DOTALL)


_TAIL_CHARS = 1500
"""Enough for a matrix; the last lines alone are read, which saves time."""


def last_values(text: str) -> tuple[str, ...]:
    """The last expression of the prose, with those offered beside it: `3 or 5`, `x = 1 and y = 2`. An operand or the
    fraction of a mixed number (`5 plus 1/2`, `two and 1/2`) does not stand alone. NOTHING if the text breaks off in
    an expression, () if it holds none."""
    text = text[text.rfind("\n", 0, max(0, len(text) - _TAIL_CHARS)) + 1 :]
    if is_open(text.rpartition("\n\n")[2]):
        return NOTHING
    found = expressions(text)
    while found and _REFUSED.search(text, max(0, found[-1].start - 16), found[-1].start):
        found.pop()
    if not found:
        return ()
    if found[-1].is_tail:
        return NOTHING
    run = [found[-1]]
    for one in reversed(found[:-1]):
        gap = text[one.end : run[-1].start]
        names = {one.name, run[-1].name} - {""}
        if not (_OR_GAP.fullmatch(gap) or (len(names) == 2 and _AND_GAP.fullmatch(gap))):
            break
        run.append(one)
    if len(run) == 1:
        return (_in_context(text, run[0], found[-2] if len(found) > 1 else None),)
    return tuple(dict.fromkeys(one.content for one in reversed(run)))


def _in_context(text: str, last: Expression, previous: Expression | None) -> str:
    content, after = _scaled(last.content, text[last.end : last.end + 40])
    changed = _CHANGED_AFTER.match(after)
    if changed or content != last.content:
        return content + (changed[0] if changed else "")
    before = text[max(0, last.start - 24) : last.start]
    is_fraction = _FRACTION.fullmatch(last.content)
    if previous is not None:
        gap = text[previous.end : last.start]
        if is_fraction and previous.content.isdecimal() and gap.strip() == "and":
            return f"{previous.content} {last.content}"
        is_change = gap.strip() == "to" and text[: previous.start].endswith("from ")
        if _OPERATION.fullmatch(gap) and not is_change and "=" not in text[last.start : last.end]:
            return text[previous.start : last.end]
    if _NEGATED.search(before):
        return f"-({last.content})"
    altered = _ALTERED.search(before) is not None or _is_mixed(before, last.content)
    return f"{before}{last.content}" if altered else last.content


def _is_mixed(before: str, content: str) -> bool:
    """Whether the content is the fraction of a mixed number: "two and 1/2"."""
    return _FRACTION.fullmatch(content) is not None and _FRACTION_AFTER.search(before) is not None
