r"""Finds the mathematical expressions in prose: groups in delimiters, matrices, and runs of bare ones.

A run is whole: of `2 1/2 pizzas`, `5 + 1/2`, `2^5` or `(2, 5)` nothing is cut off. Pure text, in time linear in it.
Does not say which expression is the answer.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expression:
    """Example: of "so $x = 5$." it is Expression(start=3, end=10, content="x = 5")."""

    start: int
    """Of the first delimiter, as an index into the text."""
    end: int
    content: str
    """Without the delimiters, nor the working before the last `=` of a bare run: `7` of `3 + 4 = 7`."""
    name: str = ""
    """`x` of `x = 5`."""
    is_tail: bool = False
    """What is left of an operation whose head is prose: `* 5` of "3 apples * 5", `(5)` of "floor(5)"."""


def expressions(text: str, start: int = 0) -> list[Expression]:
    """Those from `start` on, in the order of the text; none overlaps another."""
    found: list[Expression] = []
    position = start
    for group in _GROUP.finditer(text, start):
        content = group[group.lastgroup or 0]
        if group.lastgroup == "spaced" and has_words(content):
            continue
        found.extend(_runs(text, position, group.start()))
        name = _NAMED.fullmatch(content)
        found.append(Expression(group.start(), group.end(), _last_line(content).strip(), name[1] if name else ""))
        position = group.end()
    found.extend(_runs(text, position, len(text)))
    return found


# TeX's own rule for a dollar that opens or closes mathematics, so that "$5 and $6" stays money; `$ x $` where it holds
# no word. `\\(` is no delimiter: the first backslash ends a row.
_GROUP = re.compile(
    r"\$\$(?P<display>[^$]{1,1000})\$\$"
    r"|(?<!\\)\$(?!\s)(?P<inline>(?:[^$\n\\]|\\.){1,300})(?<!\s)\$(?!\d)"
    r"|(?<!\\)\$\s(?P<spaced>(?:[^$\\]|\\[^$]){1,1000})(?<=\s)\$(?!\d)"
    r"|(?<!\\)\\\((?P<round>(?:[^\\]|\\[^)]){1,300})\\\)"
    r"|(?<!\\)\\\[(?P<square>(?:[^\\]|\\[^\]]){1,1000})\\\]"
    r"|(?P<matrix>(?:\\left\s?(?:[(\[.|]|\\\{))?\s?\\begin\{(?P<_>[pbvBV]?matrix|smallmatrix|array|cases)\}"
    r"(?:[^\\]|\\(?!begin|end)[a-zA-Z]*|\\.){1,1000}?\\end\{(?P=_)\}(?:\s?\\right\s?(?:[)\].|]|\\\}))?)",
    re.DOTALL,
)
_COMMAND = re.compile(
    r"\\(?:text|textrm|mathrm)\s*\{[^{}]*\}|\\(?:begin|end)\{[a-zA-Z]*\*?\}(?:\{[lcr| ]*\})?|\\[a-zA-Z]+"
)
_WORD = re.compile(r"[^\W\d_\U0001d400-\U0001d7ff]{2,}")
_FUNCTION = re.compile(r"sin|cos|tan|ln|log|exp|sqrt|pi", re.IGNORECASE)


def has_words(text: str) -> bool:
    """Whether there is prose in it, in any script: two letters in a row outside of commands, one where the script
    has no Latin letters."""
    plain = _COMMAND.sub(" ", text)
    return (
        any(not _FUNCTION.fullmatch(word) for word in _WORD.findall(plain)) or _OTHER_SCRIPT.search(plain) is not None
    )


# Letters of scripts that do not serve as names in formulas: not Latin, not Greek, none of the mathematical alphabets.
_OTHER_SCRIPT = re.compile(r"[\u0400-\u1dff\u2c00-\ud7ff\uf900-\ufdff\ufe70-\ufeff\uff66-\uffdc\U00020000-\U0003ffff]")
_NAMED = re.compile(r"\s*([a-zA-Z](?:_(?:\w|\{\w+\}))?)\s*=([^=,]*)", re.DOTALL)
_ALIGNED = re.compile(r"\\begin\{(?:align|gather|split|equation|eqn|multline)")


def _last_line(content: str) -> str:
    """Of several lines that are aligned, what stands behind the last sign."""
    if not _ALIGNED.search(content):
        return content
    lines = re.split(r"\\\\", re.sub(r"\\(?:begin|end)\{[a-z]*\*?\}", "", content))
    return next((line for line in reversed(lines) if line.strip()), "").rpartition("&")[2].strip(" =")


_SCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉"
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
_LETTER = rf"[^\W\d_{_SCRIPTS}{_VULGAR}]"  # of any script; `\w` takes `²` and `½` too
_DIGITS = r"(?:\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3})+(?!\d)|\d+(?:,\d+)*)"
_TOKEN = re.compile(
    r"(?P<stop></?[A-Za-z][^<>\n]{0,60}>|<\|[^<>|\n]{0,40}\|>|(?<!\d)\*\*|\*\*(?!\d)|[-=]>|(?<![A-Za-z\\])[A-Za-z]+\d[\dA-Za-z]*)"
    rf"|(?P<number>[$€£¥₹]?(?:\d+ \d+/\d+|{_DIGITS}\s?[{_VULGAR}]|{_DIGITS}(?:\.\d+)?|\.\d+|[{_VULGAR}])"
    r"(?:[eE][-+]?\d+)?(?:\s?\\?%|°)?)"
    r"|(?P<command>\\(?:text|textbf|textrm|mathrm|mathbf|mbox|operatorname)\s?\{[^{}\n]{0,80}\}|\\[a-zA-Z]+|\\[,;:!%$ ]"
    rf"|(?<!{_LETTER})(?:sqrt|sin|cos|tan|log|ln|exp|pi)(?!{_LETTER})|[π∞√])"
    r"|(?P<open>\\?\{|[(\[])|(?P<close>\\?\}|[)\]])"
    rf"|(?P<sign>[-−–+*/^=×·⋅÷±<>≤≥≈_:,!{_SCRIPTS}]|(?<=\d )[xX](?= \d))"
    rf"|(?P<letter>(?:(?<!{_LETTER})|(?<=[\d)}}])(?![hsLl]))(?!(?:I|a)\s+[a-z]{{2}})[A-Za-z](?!{_LETTER}))"
)
_MEANS = re.compile(rf"[\d{_VULGAR}]|\\(?!(?:[,;:! $]|quad|qquad|text|left|right|to\b|[Rr]ightarrow|implies))|[π∞√]")
_SIGN_AT_END = re.compile(r"[-−–+*/^=×·⋅÷±<>≤≥≈_:,!\\\s]+$")
_NOT_AT_START = re.compile(r"^(?:[*/^=×·⋅÷<>≤≥≈_:,!\s]|[-−–+]\s)+")
_OPERATORS = tuple("*/^×·⋅÷+±")
_CALLED = re.compile(r"[A-Za-z\U0001d400-\U0001d7ff]$")
_EQUALS = re.compile(r"[=≈]|\\approx(?![a-zA-Z])")


def _runs(text: str, start: int, end: int) -> Iterator[Expression]:
    run: list[re.Match[str]] = []
    opened: list[int] = []  # places in the run
    for token in _TOKEN.finditer(text, start, end):
        if run and not _continues(text, run[-1], token, inside=bool(opened)):
            yield from _whole(text, run, opened)
            run, opened = [], []
        kind = token.lastgroup
        if kind == "stop" or (kind == "close" and not opened):
            yield from _whole(text, run, opened)
            run, opened = [], []
            continue
        if kind == "open":
            opened.append(len(run))
        elif kind == "close":
            opened.pop()
        run.append(token)
    yield from _whole(text, run, opened)


def _continues(text: str, last: re.Match[str], token: re.Match[str], *, inside: bool) -> bool:
    gap = text[last.end() : token.start()]
    if gap.strip(" \u00a0") or len(gap) > 3:
        return False
    if not inside:
        # At the top `2:3`, `x_1` and `5! + 1` are of one piece; a comma, or a colon before a space, is punctuation.
        if "," in (last[0], token[0]) or (gap and (last[0] in "_:" or token[0] in "_:!")):
            return False
        if last[0] == "!":
            return token.lastgroup == "sign"
    if not gap or inside or "sign" in (last.lastgroup, token.lastgroup):
        return True
    return last.lastgroup == "command" or (token.lastgroup == "command" and token[0][0] == "\\")


def _whole(text: str, run: list[re.Match[str]], opened: list[int]) -> Iterator[Expression]:
    """A bracket that never closes has prose in it; the runs before and after it count."""
    if opened:
        yield from _whole(text, run[: opened[0]], [])
        yield from _whole(text, run[opened[-1] + 1 :], [])
        return
    if not run:
        return
    start = run[0].start()
    content = _SIGN_AT_END.sub("", text[start : run[-1].end()])
    end = start + len(content)
    before = text[max(0, start - 80) : start]
    if content[:1] in ("(", "["):
        is_tail = _CALLED.search(before) is not None
    else:
        is_tail = content[:1] in _OPERATORS and before.rstrip(" ")[-1:] not in ("", "\n")
    content = _NOT_AT_START.sub("", content)
    if not _MEANS.search(content):
        return
    start = end - len(content)
    if content[0] in "-−–" and start and text[start - 1].isalpha():
        start, content = start + 1, content[1:]  # the hyphen of a word
    content = _without_brackets(content)
    name = _NAMED.fullmatch(content)
    value = content if name else _right_side(content)
    yield Expression(start, end, value, name[1] if name else "", is_tail and "=" not in content)


def _without_brackets(content: str) -> str:
    is_wrapped = content[0] + content[-1] in ("()", "[]") and not re.search(r"[,()\[\]]", content[1:-1])
    return content[1:-1].strip() if is_wrapped else content


def _right_side(content: str) -> str:
    """`12` of `3 + 9 = 12`; all of it where that would part a bracket."""
    for side in reversed(_EQUALS.split(content)):
        if _MEANS.search(side):
            balanced = all(side.count(a) == side.count(b) for a, b in (("(", ")"), ("[", "]"), ("{", "}")))
            return _without_brackets(side.strip()) if balanced else content
    return content
