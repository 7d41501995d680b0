r"""Reads the outer structure of an answer: lists, sets, tuples, intervals, unions, ratios, matrices. Pure text.

Comparing part by part keeps apart what sympy mixes up (`(1,2)`, `[1,2]` and `\{1,2\}`) and leaves most parts plain
numbers. Inequalities in one variable are read as the interval that they describe.
Expects normalised text and does not look into the parts: what is not taken apart here is one part.
"""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["list", "set", "tuple", "closed", "left-open", "right-open", "ratio", "matrix", "cases", "union"]
_BRACKETS: dict[str, Kind] = {"()": "tuple", "[]": "closed", "(]": "left-open", "[)": "right-open"}
_OPEN, _CLOSE = "([{", ")]}"
MAX_PARTS = 200
MAX_SIGNS = 3
"""`\\pm` in one answer; each doubles the values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """Example: "(1, x]" gives Structure(kind="left-open", parts=("1", "x"))."""

    kind: Kind
    """`tuple` is a point or an open interval: the text alone does not tell."""
    parts: tuple[str, ...]
    num_columns: int = 1
    """Of a matrix; its parts stand row by row."""

    @property
    def is_ordered(self) -> bool:
        return self.kind not in ("list", "set", "union")


_NAMED = re.compile(
    r"(?:[a-zA-Z](?:_\{?\w+\}?)?|\([a-zA-Z](?:, ?[a-zA-Z]){1,3}\))\s*(?:\\in(?![a-zA-Z])|=)\s*"
    r"(?=\\?[\[({]|\\begin|\\mathbb|\\emptyset|\(?-?\\infty)"
)
_BUILDER = re.compile(
    r"\\\{\s*[a-zA-Z]\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?::|\\mid(?![a-zA-Z])|\||\\colon)(?P<condition>.*)\\\}", re.DOTALL
)
_EMPTY = re.compile(r"\\\{\s*\\\}|\\emptyset\s*")


def structure(text: str) -> Structure | None:
    """None if the text is one part: a number, an expression, an equation, words."""
    text = text.strip()
    if _EMPTY.fullmatch(text):
        return Structure(kind="set", parts=())
    builder = _BUILDER.fullmatch(text)
    text = builder["condition"].strip() if builder else text
    return (
        _inequality(text) or _set(text) or _union(text) or _list(text) or _bracketed(text) or _environment(text)
        or _ratio(text)
    )  # fmt: skip


def _set(text: str) -> Structure | None:
    r"""`\{1, \pm 2\}`, and `{1,2}` of writers who forgot that TeX drops bare braces."""
    name = _NAMED.match(text)
    text = text[name.end() :].strip() if name else text
    if text.startswith(r"\{") and text.endswith(r"\}") and _is_one_group(text):
        members = _members(text[2:-2])
    elif text.startswith("{") and text.endswith("}") and _is_one_group(text):
        members = split(text[1:-1], ",;")
        if len(members) < 2 or not all(members):
            return None
    else:
        return None
    return Structure(kind="set", parts=tuple(value for member in members for value in _both_signs(member)))


def _bracketed(text: str) -> Structure | None:
    name = _NAMED.match(text)
    text = text[name.end() :].strip() if name else text
    opening, closing = r"\langle", r"\rangle"
    if text.startswith(opening) and text.endswith(closing) and _is_one_group(text):
        return Structure(kind="tuple", parts=_members(text[len(opening) : -len(closing)]))
    if text[:1] + text[-1:] not in _BRACKETS or not _is_one_group(text):
        return None
    parts = _members(text[1:-1])
    kind = _BRACKETS[text[0] + text[-1]]
    if len(parts) < 2 or not all(parts) or (kind in ("left-open", "right-open") and len(parts) != 2):
        return None
    return Structure(kind=kind, parts=parts)


def _members(inner: str) -> tuple[str, ...]:
    r"""`(99,100)` has two members; in `\{1,000, 2,000\}` the spaces tell that the other commas group digits."""
    return split(inner, ",;", thousands=", " in inner)


def _list(text: str) -> Structure | None:
    parts = split(text, ",;")
    if len(parts) > 1 and all(parts):
        return Structure(kind="list", parts=tuple(value for part in parts for value in _both_signs(part)))
    values = _both_signs(text)
    return Structure(kind="list", parts=values) if len(values) > 1 else None


_SIGN = re.compile(r"\\pm(?![a-zA-Z])")


def _both_signs(text: str) -> tuple[str, ...]:
    r"""`1 \pm 2` is two values, `(1, \pm 2)` two points; `\mp` has the opposite sign of the one `\pm`."""
    num_signs = len(_SIGN.findall(text))
    if num_signs == 0 or num_signs > MAX_SIGNS:
        return (text,)
    values = [text]
    for _ in range(num_signs):
        values = [_SIGN.sub(sign, value, count=1) for value in values for sign in "+-"]
    if num_signs == 1:
        values = [value.replace(r"\mp", opposite) for value, opposite in zip(values, "-+", strict=True)]
    return tuple(re.sub(r"^\+|(?<=[=({])\s*\+", "", value).strip() for value in values)


_CUP = re.compile(r"\\cup(?![a-zA-Z])")


def _union(text: str) -> Structure | None:
    name = _NAMED.match(text)
    parts = tuple(part.strip() for part in _CUP.split(text[name.end() :] if name else text))
    whole = all(part and _num(part, _OPEN) == _num(part, _CLOSE) for part in parts)
    return Structure(kind="union", parts=parts) if len(parts) > 1 and whole else None


def _num(text: str, characters: str) -> int:
    return sum(map(text.count, characters))


_RELATION = re.compile(r"\\(?:le|ge|lt|gt|ne)(?![a-zA-Z])|[<>]=?|!=")
_VARIABLE = re.compile(r"[a-zA-Z](?:_\{?\w+\}?)?|\\(?:theta|alpha|beta|lambda|mu)|[a-zA-Z]\([a-zA-Z]\)")
_DIRECTION = {r"\le": "<=", r"\lt": "<", r"\ge": ">=", r"\gt": ">", r"\ne": "!="}
_BOTH = re.compile(r"\\land(?![a-zA-Z])|,(?=[^,]*(?:\\ne(?![a-zA-Z])|!=))")
_EITHER = re.compile(r"\\lor(?![a-zA-Z])")


def _inequality(text: str) -> Structure | None:
    r"""`x > 1`, `-2 \le x < 7`, `x < 1 \lor x > 2`, `x \ne 2` as intervals; None if it is nothing of the kind."""
    if not _RELATION.search(text):
        return None
    if _EITHER.search(text):
        pieces = [structure(part) for part in _EITHER.split(text)]
        if any(piece is None or piece.is_ordered is False for piece in pieces):
            return None
        return Structure(kind="union", parts=tuple(show(piece) for piece in pieces if piece is not None))
    if _BOTH.search(text):
        return _conjunction(_BOTH.split(text))
    sides = [side.strip() for side in _RELATION.split(text)]
    signs = [_DIRECTION.get(sign, sign) for sign in _RELATION.findall(text)]
    if not all(sides) or any("," in side or "=" in side for side in sides):
        return None
    if len(sides) == 2 and _VARIABLE.fullmatch(sides[1]) and not _VARIABLE.fullmatch(sides[0]):
        sides, signs = sides[::-1], [signs[0].translate(str.maketrans("<>", "><"))]
    if len(sides) == 2 and _VARIABLE.fullmatch(sides[0]):
        return _half_line(signs[0], sides[1])
    if len(sides) == 3 and _VARIABLE.fullmatch(sides[1]):
        if signs[0][0] == signs[1][0] == ">":
            sides, signs = sides[::-1], [sign.replace(">", "<") for sign in signs[::-1]]
        if signs[0][0] == signs[1][0] == "<":
            return _interval("[" if signs[0] == "<=" else "(", sides[0], sides[2], "]" if signs[1] == "<=" else ")")
    return None


def _conjunction(conditions: list[str]) -> Structure | None:
    r"""`x \ge 1 \land x \ne 3`, for the parser; None if the conditions are about several variables."""
    pieces = [_inequality(condition.strip()) for condition in conditions]
    sides = [side.strip() for condition in conditions for side in _RELATION.split(condition)]
    if len({side for side in sides if _VARIABLE.fullmatch(side)}) != 1:
        return None
    ends = [show(piece) for piece in pieces if piece is not None and piece.kind != "union"]
    low = [end for end in ends if end.endswith(r" \infty)")]
    high = [end for end in ends if end.startswith(r"(-\infty, ")]
    if len(pieces) == 2 and len(low) == len(high) == 1:  # one interval: `(2, 5)` would be a point to the parser
        return structure(low[0].removesuffix(r" \infty)") + high[0].removeprefix(r"(-\infty, "))
    texts = [f"({show(piece)})" if piece.kind == "union" else show(piece) for piece in pieces if piece is not None]
    return Structure(kind="union", parts=(r" \cap ".join(texts),)) if len(texts) == len(pieces) else None


def _half_line(sign: str, bound: str) -> Structure:
    if sign == "!=":
        return Structure(kind="union", parts=(rf"(-\infty,{bound})", rf"({bound},\infty)"))
    if sign[0] == ">":
        return _interval("[" if sign == ">=" else "(", bound, r"\infty", ")")
    return _interval("(", r"-\infty", bound, "]" if sign == "<=" else ")")


def _interval(opening: str, low: str, high: str, closing: str) -> Structure:
    return Structure(kind=_BRACKETS[opening + closing], parts=(low, high))


_ENVIRONMENT = re.compile(
    r"[(\[]?\s*\\begin\{(?P<name>[pbB]?matrix|smallmatrix|array|cases)\}\s*(?:\{[lcr|\s]*\})?(?P<body>.*)\\end\{(?P=name)\}\s*[)\]]?",
    re.DOTALL,
)


def _environment(text: str) -> Structure | None:
    name = _NAMED.match(text)
    match = _ENVIRONMENT.fullmatch(text[name.end() :].strip() if name else text)
    if match is None or r"\begin" in match["body"]:
        return None
    rows = [
        row.strip() for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr(?![a-zA-Z])", match["body"].replace(r"\hline", ""))
    ]
    cells = [tuple(cell.strip() for cell in row.split("&")) for row in rows if row]
    if not cells or len({len(row) for row in cells}) != 1 or len(cells) * len(cells[0]) > MAX_PARTS:
        return None
    kind: Kind = "cases" if match["name"] == "cases" else "matrix"
    return Structure(kind=kind, parts=tuple(cell for row in cells for cell in row), num_columns=len(cells[0]))


_RATIO_PART = re.compile(r"[\d.,\\a-zA-Z{}^+ -]+")


def _ratio(text: str) -> Structure | None:
    parts = split(text, ":")
    if len(parts) < 2 or not all(_RATIO_PART.fullmatch(part) for part in parts):
        return None
    return Structure(kind="ratio", parts=parts)


def split(text: str, separators: str, *, thousands: bool = True) -> tuple[str, ...]:
    """At separators outside of all brackets. A comma in `1,234` parts nothing if `thousands`. The text whole if
    brackets do not match or the parts are too many."""
    parts, depth, start, position = [], 0, 0, 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            word = re.match(r"\\(?:begin|end|[a-zA-Z]+|.)", text[position:], re.DOTALL)
            command = word.group() if word else character
            depth += (command in (r"\{", r"\begin", r"\langle")) - (command in (r"\}", r"\end", r"\rangle"))
            position += len(command)
            continue
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth < 0:
            return (text.strip(),)
        if depth == 0 and character in separators and not (thousands and _is_thousands(text, position)):
            parts.append(text[start:position].strip())
            start = position + 1
        position += 1
    parts.append(text[start:].strip())
    return (text.strip(),) if depth or len(parts) > MAX_PARTS else tuple(parts)


_OTHER_SIGN = re.compile(r"(?<=[\\<>!:=])=|=(?==)")


def equation_sides(text: str) -> list[str]:
    r"""Of `x = 2 + 3 = 5`; the signs in `\sum_{k=1}^n k` and `P(X=2)` part nothing."""
    if "=" not in text:
        return [text.strip()]
    return [side.replace("\0", "=") for side in split(_OTHER_SIGN.sub("\0", text), "=", thousands=False)]


_THOUSANDS_BEFORE = re.compile(r"(?<!\d)\d{1,3}(?:,\d{3})*$")


def _is_thousands(text: str, comma: int) -> bool:
    after = text[comma + 1 : comma + 5]
    if text[comma] != "," or not after[:3].isdigit() or len(after) < 3 or after[3:].isdigit():
        return False
    before = _THOUSANDS_BEFORE.search(text, max(0, comma - 40), comma)
    return before is not None and not before.group().startswith("0")


_MARK = re.compile(r"\\(?:langle|rangle|[{}])|\\.|[()\[\]{}]")


def _is_one_group(text: str) -> bool:
    """The first bracket closes at the very end, whatever its shape: `(1,2]` is one group, `(1)(2)` is two."""
    depth = 0
    for token in _MARK.finditer(text):
        mark = token.group()
        if mark in (r"\langle", r"\{") or mark in _OPEN:
            depth += 1
        elif mark in (r"\rangle", r"\}") or mark in _CLOSE:
            depth -= 1
            if depth == 0:
                return token.end() == len(text)
    return False


def show(found: Structure) -> str:
    """As LaTeX again, for the parser."""
    if found.kind == "union":
        return r" \cup ".join(found.parts)
    inner = ", ".join(found.parts)
    if found.kind in ("list", "set"):
        return r"\{" + inner + r"\}"
    brackets = next((pair for pair, kind in _BRACKETS.items() if kind == found.kind), "()")
    return brackets[0] + inner + brackets[1]
