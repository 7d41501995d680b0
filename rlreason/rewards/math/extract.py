r"""Finds the final answer in a response: pure text work, in time linear in the response.

Order: after the last `</think>`; the last `\boxed{}` or `\fbox{}`; `<answer>`; `#### `; "the answer is";
the whole response if it is nothing but an expression; as the last resort the last expression in the prose.
There is no answer where the last one was begun and not ended, is empty, or a `<think>` never ends.
Looks at the last 4,096 characters only. Does not judge the answer and does not normalise it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlreason.rewards.math.expressions import Expression, expressions, has_words
from rlreason.rewards.math.prose import MARKUP, NOTHING, ends_open, is_open, last_values, value_of
from rlreason.rewards.runtime.response import after_thought

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
    for find in (_begun, _boxed, _tagged, _hashed, _phrased, _bare, last_values):
        parts = tuple(part.strip() for part in find(text))
        if parts:
            return Extracted(parts=tuple(filter(None, parts))) if parts[-1] else None
    return None


def boxed_gold(solution: str) -> str | None:
    r"""What a solution's boxes hold: the last one, and those before it that no word like "then" or "so" makes a step
    to it. `\boxed{1} papers and \boxed{2} bins` is `1, 2`. None if there is no box."""
    spans, _ = _boxes(solution[-WINDOW_CHARS:])
    parts = _run_of(solution[-WINDOW_CHARS:], spans, _joins_golds)
    return ", ".join(filter(None, parts)) or None


_Span = tuple[int, int, str]
"""Start and end in the text, content."""
# Doubled backslashes come from text that was escaped twice.
_BOX_TOKEN = re.compile(r"\\{1,2}(?:boxed|f(?:rame)?box)\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed ?(-?\w+)")  # `\boxed 8`
_LINE = re.compile(r"(?:(?!</answer>)[^\n$])+")
_DENIED = re.compile(r"\bnot\s*[$({\\\[]*\s*$")  # `\boxed{7}, not \boxed{8}`
_BOX_OPEN = re.compile(r"\\{1,2}(?:boxed|f(?:rame)?box)\s*\{")


def _boxes(text: str) -> tuple[list[_Span], _Span | None]:
    """The innermost boxes; and the last one that is never closed, with the rest of its line."""
    open_groups: list[list[int]] = []  # [start of content if a box else -1, boxes inside]
    spans: list[_Span] = []
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
                spans.append((start, token.end(), text[content : token.start()]))
            if open_groups:
                open_groups[-1][1] += num_inner + (content >= 0)
    cut_off = [(start, content) for start, (content, _) in zip(starts, open_groups, strict=True) if content >= 0]
    if cut_off and (not spans or spans[-1][0] < cut_off[-1][0]):
        rest = _LINE.match(text, cut_off[-1][1])
        return spans, (cut_off[-1][0], len(text), rest.group().strip() if rest else "")
    if not spans:
        spans = [(m.start(), m.end(), m[1]) for m in _BARE_BOX.finditer(text)]
    return spans, None


def _begun(text: str) -> tuple[str, ...]:
    """An answer that was begun after the last whole one. A lone box that lacks nothing but its brace is read."""
    spans, unclosed = _boxes(text)
    tags = list(_TAG.finditer(text))
    if unclosed is not None and (spans or tags or not unclosed[2]):
        return NOTHING
    whole = max(spans[-1][1] if spans else 0, tags[-1].end() if tags else 0)
    return NOTHING if _OPEN_TAG.search(text, whole) or _BEGUN.search(text) else ()


def _boxed(text: str) -> tuple[str, ...]:
    """Contents of the last box, or of the run of boxes joined to it, then with the names before them."""
    spans, unclosed = _boxes(text)
    if unclosed is not None:
        return (unclosed[2],)
    return _run_of(text, [s for s in spans if not _DENIED.search(text, max(0, s[0] - 12), s[0])] or spans, _joins)


_TAG = re.compile(r"<answer>([^<]*(?:<(?!/?answer>)[^<]*)*)</answer>", re.IGNORECASE)
_OPEN_TAG = re.compile("<answer>", re.IGNORECASE)


def _tagged(text: str) -> tuple[str, ...]:
    parts = _run_of(text, [(m.start(), m.end(), m[1]) for m in _TAG.finditer(text)], _joins)
    return tuple(value_of(part.strip()) if has_words(part) else part for part in parts)


_WORD = re.compile(r"[A-Za-z]+|\d")
# Words that can stand between two answers which are both offered; any other word ("wait", "final") corrects.
_JOINER = re.compile(
    r"x?or|and|either|also|maybe|perhaps|possibly|alternatively|else|another|options?|answers?|the|is|are|an?|it|"
    r"could|be|may|might|otherwise|both|text|q?quad|boxed|so|but|\d",
    re.IGNORECASE,
)
_HEDGE = re.compile(r"\b(?:or|also|maybe|perhaps|possibly|could|may|might)\b", re.IGNORECASE)
_MAX_GAP_CHARS = 80
_BOX_LABEL = re.compile(r"(?<![A-Za-z\\])([A-Za-z](?:_(?:\w|\{\w+\}))?)\s*=\s*$")
_TOGETHER = re.compile(r"\b(?:and|or)\b|^\W*,.*\b(?:is|are|equals)\W*$", re.DOTALL)
_STEP = re.compile(
    r"[.;:]\s|\n|\b(?:then|thus|so|hence|therefore|but|wait|not?|now|final(?:ly)?|actually|instead|rather|again|next|"
    r"correct(?:ed|ion)?|giv(?:es?|ing)|gets?|got|yields?|becomes?|using|from|since|because|after)\b",
    re.IGNORECASE,
)


def _joins(gap: str) -> bool:
    """Whether the answers on both sides of it are offered together: `\\boxed{3} or \\boxed{5}`, and in one clause
    `the width is \\boxed{3} and the length is \\boxed{5}`."""
    gap = _BOX_LABEL.sub("", gap)
    if len(gap) > _MAX_GAP_CHARS or ("but" in gap.lower() and not _HEDGE.search(gap)):
        return False
    return all(map(_JOINER.fullmatch, _WORD.findall(gap))) or (
        _TOGETHER.search(gap) is not None and _STEP.search(gap) is None
    )


def _joins_golds(gap: str) -> bool:
    return not _GOLD_STEP.search(_BOX_LABEL.sub("", gap))


_GOLD_STEP = re.compile(
    r"^[\s$]*=|\b(?:then|thus|so|hence|therefore|but|wait|not?|finally|gives?|giving|yields?)\b", re.I
)


def _run_of(text: str, spans: list[_Span], joins: Callable[[str], bool]) -> tuple[str, ...]:
    """The last span's content, with the different contents of the spans that are merely joined to it."""
    if not spans:
        return ()
    run = [spans[-1]]
    for span in spans[-2::-1]:
        if not joins(text[span[1] : run[-1][0]]):
            break
        run.append(span)
    run.reverse()
    if len({"".join(content.split()) for _, _, content in run}) == 1:
        return (run[-1][2],)
    labels = [_BOX_LABEL.search(text, max(0, start - 20), start) for start, _, _ in run]
    named = [
        f"{label[1]} = {content}" if label and "=" not in content else content
        for label, (_, _, content) in zip(labels, run, strict=True)
    ]
    return tuple(dict.fromkeys(part.strip() for part in named))


_HASHED = re.compile(r"^\s*####[ \t]*(\S[^\n]*)$", re.MULTILINE)
_LIKE_AN_ANSWER = re.compile(r"[-+$€£\\({\[.\d]|\S+$")


def _hashed(text: str) -> tuple[str, ...]:
    """GSM8K's `#### 42`. A line like `#### Step 4: check` is a heading."""
    for match in reversed(list(_HASHED.finditer(text))):
        if _LIKE_AN_ANSWER.match(match[1]):
            return (value_of(match[1]),)
    return ()


_L = r"[^\W\d_]"
_IS = "is|are|was|be|equals|est|es|son|ist|lautet|è|é|são|это|равен|равно|adalah|là|jest|är"
_HEAD = re.compile(
    rf"(?:(?<!{_L})(?:answers?|correct (?:option|choice)|respuestas?|réponses?|antwort|risposta|resposta|ответ|"
    rf"antwoord|jawaban|cevap|odpowiedź|svar|đáp án)(?!{_L})"
    rf"(?:[ \t]+(?:to|for|of|in|final|finale|would|should|must|will|comes|turns)\b[^\n.:;=?!]{{0,60}}?)?"
    rf"[\"'*_)\]]*\s*(?:(?:{_IS})(?!{_L})|[:：=])"
    r"|(?:答案|答え|回答|解答|正解|정답|답|الإجابة|الجواب|उत्तर|คำตอบ)"
    r"[\"'*_)\]]*\s*(?:[:：=]|应?该?[是为為]|は|[은는]|هو|هي|है|คือ))"
    r"[ \t:：*_]*",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^[^\w\n]*(?:(?:the|my|final|correct) )*answers?[^\w\n$\\]*$", re.IGNORECASE | re.MULTILINE)
_BEGUN = re.compile(rf"(?:{_HEAD.pattern}|^[ \t]*####)[\s:*_]*(?:\$+|\\[(\[])?\s*\Z", re.IGNORECASE | re.MULTILINE)
_DENIAL = re.compile(r"(?:definitely |certainly )?not\b", re.IGNORECASE)
_CLAUSE_END = re.compile(
    r"\n|\.(?=[\s*$\"')]|$)|;|[。！？；]|[!?](?=[\s*]|$)|[，、](?=[^\W\d_])"
    r"|,?\s\(?(?:because|since|which|so that|as|where|who|when|while|given|after|namely)(?=\s|$)"
    r"|,\s(?:so|thus|hence|therefore|making|giving)\s|(?<=\w)\s\((?=[^()\\]{0,80}[a-z]{2})(?![^()]{0,80}\bor\b)",
    re.IGNORECASE,
)


def _phrased(text: str) -> tuple[str, ...]:
    """What the last "the answer is" says, or the line below the last heading "Answer"."""
    heads = sorted([*_HEAD.finditer(text), *_HEADING.finditer(text)], key=lambda head: head.end())[-8:]
    if not heads:
        return ()
    found = expressions(text, heads[0].end())
    spans: list[_Span] = []
    for head in heads:
        end = _clause_end(text, head.end(), found)
        content = text[head.end() : end]
        if is_open(content) and end == len(text):
            return NOTHING
        below = None if content.strip(MARKUP + ":#>") else _line_below(text, end, found)
        if below is not None:
            spans.append((head.start(), below.end, below.content))
        elif content.strip(MARKUP + ":#>"):
            # Words behind the value part it from a later answer: "41 was a guess".
            value_end = max((e.end for e in found if head.end() <= e.start and e.end <= end), default=end)
            spans.append((head.start(), value_end, value_of(content)))
        else:
            spans.append((head.start(), end, ""))
    if not spans or not spans[-1][2]:
        return ()
    spans = [span for span in spans if span[2] and not _DENIAL.match(span[2])] or spans[-1:]
    parts = _run_of(text, spans, _joins)
    keys = {tuple(re.findall(r"\d+", part.replace(",", ""))) or part.casefold() for part in parts}
    return parts if len(keys) > 1 else (spans[-1][2],)


def _clause_end(text: str, start: int, found: Sequence[Expression]) -> int:
    inner = [(e.start, e.end) for e in found if e.end > start]
    ends = (m.start() for m in _CLAUSE_END.finditer(text, start) if m.start() > start or m[0] == "\n")
    return next((end for end in ends if not any(first < end < last for first, last in inner)), len(text))


def _line_below(text: str, end: int, found: Sequence[Expression]) -> Expression | None:
    """The expression that alone is the next line with anything on it."""
    first = next((e for e in found if e.start >= end), None)
    if first is None or text[end : first.start].strip(" \t\n\r*_:#>") or "\n" not in text[end : first.start]:
        return None
    rest = text[first.end :].partition("\n")
    is_display = text.startswith(("$$", r"\["), first.start)
    return first if not rest[0].strip(" .*_") and (is_display or not re.search(r"\d", rest[2])) else None


def _bare(text: str) -> tuple[str, ...]:
    """The whole response, where it is nothing but an answer: `\\frac{1}{2}`, `(1, 2]`, `Monday`."""
    text = text.strip()
    if len(text) > 200 or "\n" in text or text.count("$") > 2:
        return ()
    inner = text[1:-1] if text[:1] == text[-1:] == "$" else text
    if len(inner.split()) == 1 and inner.isalpha():
        return (inner,)
    if has_words(re.sub(r"\b(?:or|and)\b", " ", inner, flags=re.IGNORECASE)):
        return ()
    return NOTHING if ends_open(inner) else (inner.rstrip("?"),)
