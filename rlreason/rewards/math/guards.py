r"""Refuses expressions that are made to be expensive, before sympy sees them. Pure text, linear time.

A refused answer counts as not equal. The guards keep the common attacks cheap; what slips through meets the
deadline of the child. Does not look at the gold answer's own cost.
"""

import re

MAX_DEPTH = 16
"""Of brackets: the parser's time grows steeply with it."""
MAX_TOKENS = 400
MAX_EXPONENT = 10_000
MAX_FACTORIAL = 10_000
MAX_INTEGER_DIGITS = 2000
MAX_BRACKET_POWER = 50
"""`(a+b)^{60}` is expanded term by term; a gold answer with the same exponent licenses it."""

_TOKEN = re.compile(r"\\[a-zA-Z]+|\d+|[^\s\d]")
_HEADS = re.compile(
    r"\\(?:sum|prod|i+nt|oint|lim|limsup|liminf|bigcup|bigcap|Gamma|zeta|det|gcd|lcm|max|min|partial)(?![a-zA-Z])"
    r"|\\operatorname\s*\{\s*(?:det|gcd|lcm|max|min)\s*\}|\\begin\s*\{vmatrix\}|\\frac\s*\{\s*d\s*\}\s*\{\s*d\s*[a-zA-Z]\s*\}|[∑∏∫]"
)
_REMAINDER = re.compile(r"\\[bp]?mod(?![a-zA-Z])|\\det(?![a-zA-Z])")
_FACTORIAL = re.compile(r"(\d*)([)}\]]?)\s*(!+)")
_BINOMIAL = re.compile(r"\\[dt]?binom\s*\{\s*([^{}]*)\}\s*\{\s*([^{}]*)\}")
_BRACKET_POWER = re.compile(r"[)}\]]\s*\^\s*\{?\s*(\d+)")
_POWER_TOWER = re.compile(r"(\d+)\s*\^\s*\{?\s*(\d+)")
_INTEGER = re.compile(r"\d+")


def refuse(answer: str, gold: str) -> str | None:
    """Why the answer is not worth evaluating, or None. The gold answer licenses heads such as a sum."""
    if len(_TOKEN.findall(answer)) > MAX_TOKENS:
        return f"more than {MAX_TOKENS} tokens"
    if any(len(digits) > MAX_INTEGER_DIGITS for digits in _INTEGER.findall(answer)):
        return f"an integer of more than {MAX_INTEGER_DIGITS} digits"
    if _HEADS.search(answer) and not _HEADS.search(gold):
        return "a sum, product, integral, limit, determinant or the like that was not evaluated"
    for digits, closing, marks in _FACTORIAL.findall(answer):
        licensed = _FACTORIAL.search(gold) or _BINOMIAL.search(gold)
        if len(marks) > 1 or (closing and not licensed) or _exceeds(digits, MAX_FACTORIAL):
            return "a large factorial"
    for arguments in _BINOMIAL.findall(answer):
        if any(_exceeds(d, MAX_FACTORIAL) or "^" in a for a in arguments for d in _INTEGER.findall(a) or [""]):
            return "a large binomial"
    for digits in _BRACKET_POWER.findall(answer):
        if _exceeds(digits, MAX_BRACKET_POWER) and digits not in _INTEGER.findall(gold):
            return f"a bracket to a power above {MAX_BRACKET_POWER}"
    return _refuse_nesting(answer)


def is_unevaluated(side: str) -> bool:
    r"""A sum, limit, determinant or remainder that is only named: the left side of `17 \bmod 5 = 2`."""
    return bool(_HEADS.search(side) or _REMAINDER.search(side))


def _exceeds(digits: str, limit: int) -> bool:
    return len(digits) > len(str(limit)) or (digits != "" and int(digits) > limit)


def _refuse_nesting(answer: str) -> str | None:
    """Depth of brackets, height of towers, size of exponents."""
    closing: list[bool] = []  # for each open bracket: is it an exponent?
    after_caret = False
    height = 0
    for token in _TOKEN.findall(answer):
        if token == "^":
            after_caret = True
            continue
        if after_caret and height >= 2:
            return "a tower of more than two exponents"
        if token in "{([":
            closing.append(after_caret)
            height += after_caret
            if len(closing) > MAX_DEPTH:
                return f"brackets nested more than {MAX_DEPTH} deep"
            if height > 2:
                return "a tower of more than two exponents"
        elif token in "})]" and closing:
            height -= closing.pop()
        elif token.isdecimal() and (after_caret or height) and _exceeds(token, MAX_EXPONENT):
            return f"an exponent above {MAX_EXPONENT}"
        after_caret = False
    return _refuse_towers(answer)


_EXPONENT = re.compile(r"\^\s*(?:\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}|\(([^()]*)\))")


def _refuse_towers(answer: str) -> str | None:
    """`10^{10^{10}}`: the exponent itself folds to a number that is too large."""
    for match in _EXPONENT.finditer(answer):
        exponent = match.group(1) or match.group(2) or ""
        folded = 1.0
        for base, power in _POWER_TOWER.findall(exponent):
            if len(power) > 4 or len(base) > 4:
                return f"an exponent above {MAX_EXPONENT}"
            folded *= float(base) ** min(int(power), 60)
        if "!" in exponent or folded > MAX_EXPONENT:
            return f"an exponent above {MAX_EXPONENT}"
    return None
