r"""Finds the final answer in a response: pure text work, in time linear in the response.

Order: after the last `</think>`; the last `\boxed{}` or `\fbox{}`; `<answer>`; `#### `; "the answer is";
the whole response if it is nothing but an expression; as the last resort the last `$..$` or number. An unterminated
`<think>` means that there is no answer, and so does an empty box.
Looks at the last 4,096 characters only. Does not judge the answer and does not normalise it.
"""

import re
from dataclasses import dataclass

from rlreason.rewards.response import after_thought

WINDOW_CHARS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """The answer that the response commits to.

    Example: r"so \boxed{3} or \boxed{5}" gives Extracted(parts=("3", "5")).
    """

    parts: tuple[str, ...]
    """One text; or several different ones that were offered side by side, right only if the gold is that set."""


def final_answer(response: str) -> Extracted | None:
    """None if the response holds no answer."""
    text = after_thought(response).rstrip()[-WINDOW_CHARS:]
    for find in (_boxed, _tagged, _hashed, _phrased, _bare, _last_expression):
        parts = tuple(part.strip() for part in find(text))
        if parts:
            return Extracted(parts=tuple(filter(None, parts))) if parts[-1] else None
    return None


_BOX_TOKEN = re.compile(r"\\(?:boxed|f(?:rame)?box)\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed ?(-?\w+)")  # `\boxed 8`
_LINE = re.compile(r"[^\n$]+")
_DENIED = re.compile(r"\bnot\s*[$({\\\[]*\s*$")  # `\boxed{7}, not \boxed{8}`
_BOX_OPEN = re.compile(r"\\(?:boxed|f(?:rame)?box)\s*\{")


def _boxed(text: str) -> tuple[str, ...]:
    """Contents of the last box, or of the run of boxes joined to it. Nested boxes: the inner one. A box that is never
    closed reaches to the end of its line."""
    open_groups: list[list[int]] = []  # [start of content if a box else -1, boxes inside]
    spans: list[tuple[int, int, int]] = []  # start of the command, content
    starts: list[int] = []
    for token in _BOX_TOKEN.finditer(text):
        mark = token.group()
        if mark[-1] == "{" and mark != r"\{":
            is_box = _BOX_OPEN.fullmatch(mark) is not None
            open_groups.append([token.end() if is_box else -1, 0])
            starts.append(token.start())
        elif mark == "}" and open_groups:
            content, num_inner = open_groups.pop()
            start = starts.pop()
            if content >= 0 and num_inner == 0:
                spans.append((start, content, token.start()))
            if open_groups:
                open_groups[-1][1] += num_inner + (content >= 0)
    cut_off = [(start, content) for start, (content, _) in zip(starts, open_groups, strict=True) if content >= 0]
    if cut_off and (not spans or spans[-1][0] < cut_off[-1][0]):
        rest = _LINE.match(text, cut_off[-1][1])
        if rest is not None and rest.group().strip():
            return (rest.group(),)
    if not spans:
        spans = [(m.start(), m.start(1), m.end()) for m in _BARE_BOX.finditer(text)]
    spans = [span for span in spans if not _DENIED.search(text, max(0, span[0] - 12), span[0])] or spans
    return _joined_run(text, [(start, end + 1, text[content:end]) for start, content, end in spans])


_TAG = re.compile(r"<answer>([^<]*(?:<(?!/?answer>)[^<]*)*)</answer>", re.IGNORECASE)


def _tagged(text: str) -> tuple[str, ...]:
    return _joined_run(text, [(m.start(), m.end(), m.group(1)) for m in _TAG.finditer(text)])


_WORD = re.compile(r"[A-Za-z]+|\d")
# Words that can stand between two answers which are both offered; any other word ("wait", "final") corrects.
_JOINER = re.compile(
    r"x?or|and|either|also|maybe|perhaps|possibly|alternatively|else|another|options?|answers?|the|is|are|an?|it|"
    r"could|be|may|might|otherwise|both|text|q?quad|boxed|so|but|\d",
    re.IGNORECASE,
)
_HEDGE = re.compile(r"\b(?:or|also|maybe|perhaps|possibly|could|may|might)\b", re.IGNORECASE)
_MAX_GAP_CHARS = 80


def _joined_run(text: str, spans: list[tuple[int, int, str]]) -> tuple[str, ...]:
    """The last span's content, with the different contents of the spans that are merely joined to it."""
    if not spans:
        return ()
    parts = [spans[-1][2]]
    for (_, end, content), (start, _, _) in zip(spans[-2::-1], spans[:0:-1], strict=True):
        gap = text[end:start]
        joins = len(gap) <= _MAX_GAP_CHARS and all(map(_JOINER.fullmatch, _WORD.findall(gap)))
        if not joins or ("but" in gap.lower() and not _HEDGE.search(gap)):
            break
        parts.append(content)
    unique = dict.fromkeys("".join(part.split()) for part in reversed(parts))
    if len(unique) == 1:
        return (parts[0],)
    return tuple(dict.fromkeys(part.strip() for part in reversed(parts)))


_HASHED = re.compile(r"^\s*####[ \t]*(\S[^\n]*)$", re.MULTILINE)
_LIKE_AN_ANSWER = re.compile(r"[-+$€£\\({\[.\d]|\S+$")


def _hashed(text: str) -> tuple[str, ...]:
    """GSM8K's `#### 42`. A line like `#### Step 4: check` is a heading."""
    for match in reversed(list(_HASHED.finditer(text))):
        if _LIKE_AN_ANSWER.match(match.group(1)):
            return (match.group(1),)
    return ()


_PHRASE = re.compile(r"\b(?:answer|correct (?:option|choice))\s*(?:\*\*)?\s*(?:is|:|=)[ \t:*]*([^\n]*)", re.IGNORECASE)
_CLAUSE_END = re.compile(r"\.(?=\s|\*|\$|$)|;|,?\s\(?(?:because|since|which|so that|as)\s", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])[-−]?[$€£]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?(?:\s?\\?%)?")
_IN_WORDS = re.compile(r"\s*\([A-Za-z -]{2,30}\)$")  # `9 (nine)`
_HAS_STRUCTURE = re.compile(r"[\\^=()\[\]{}]")


def _phrased(text: str) -> tuple[str, ...]:
    """What follows the last "the answer is", up to the clause's end."""
    matches = list(_PHRASE.finditer(text))
    if not matches:
        return ()
    clause = matches[-1].group(1)
    end = _CLAUSE_END.search(clause)
    clause = _IN_WORDS.sub("", clause[: end.start()] if end and end.start() else clause)
    numbers = _NUMBER.findall(clause)
    # "that John has 42 apples": one number in words is that number; two numbers stay, and stay ambiguous.
    if len(numbers) == 1 and len(_WORD.findall(clause)) > 1 and not _HAS_STRUCTURE.search(clause):
        rest = clause.split(numbers[0], 1)
        if _WORD.search(rest[0]):
            clause = numbers[0] + rest[1]
    return (clause,) if _WORD.search(clause) else ()


_COMMAND = re.compile(r"\\(?:text|textrm|mathrm)\s*\{[^{}]*\}|\\[a-zA-Z]+")
_LONG_WORD = re.compile(r"[a-zA-Z]{2,}")
_BARE_WORD = re.compile(r"or|and|sin|cos|tan|ln|log|exp|sqrt|pi", re.IGNORECASE)


def _bare(text: str) -> tuple[str, ...]:
    """The whole response, where it is nothing but an answer: `\\frac{1}{2}`, `(1, 2]`, `Monday`."""
    text = text.strip()
    if len(text) > 200 or "\n" in text or text.count("$") > 2:
        return ()
    inner = text[1:-1] if text[:1] == text[-1:] == "$" else text
    words = _LONG_WORD.findall(_COMMAND.sub(" ", inner))
    one_word = len(inner.split()) == 1 and inner.isalpha()
    return (inner,) if one_word or all(map(_BARE_WORD.fullmatch, words)) else ()


# TeX's own rule for a dollar that opens or closes mathematics, so that "$5 and $6" stays money.
_INLINE = re.compile(
    r"\$(?!\s)([^$\n]{1,300})(?<!\s)\$(?!\d)|\\\(([^\n]{1,300}?)\\\)|\\\[((?:[^\\]|\\[^\]]){1,300})\\\]"
)


_BARE_FRACTION = re.compile(r"-?\\[dt]?frac\{[^{}]{1,40}\}\{[^{}]{1,40}\}")


def _last_expression(text: str) -> tuple[str, ...]:
    inline = [(m.end(), m.group(1) or m.group(2) or m.group(3)) for m in _INLINE.finditer(text)]
    numbers = [(m.end(), m.group()) for m in _NUMBER.finditer(text)]
    fractions = [(m.end(), m.group()) for m in _BARE_FRACTION.finditer(text)]
    candidates = [found[-1] for found in (inline, numbers, fractions) if found]
    return (max(candidates)[1],) if candidates else ()
