r"""Reads plain numbers as exact rationals: the fast path that decides most answers without sympy.

Integers, decimals, fractions, mixed numbers, repeating decimals, percent, powers of ten. Compares exactly; floats
are never involved. Everything else is None: not a number that this module reads.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 2000
MAX_EXPONENT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """Example: "12.5%" gives Number(value=Fraction(1, 8), percent=True, decimal_digits=3)."""

    value: Fraction
    percent: bool = False
    decimal_digits: int = 0
    """Significant digits if it was written as a decimal, else 0."""


_UNSIGNED = r"(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)"
_DECIMAL_COMMA = re.compile(r"0,(\d{3})")
"""A group of thousands does not begin with 0; `0,5` is more often a list."""
_DECIMAL = re.compile(
    rf"(?P<integer>{_UNSIGNED})?(?:\.(?P<fraction>\d+)?(?:\\overline\s*\{{?(?P<repeat>\d+)\}}?|(?P<dots>\\ldots|\.\.\.)?))?"
    r"(?:(?:\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*(?:\{\s*(?P<power>[-+]?\d+)\s*\}|(?P<power1>\d)))|[eE](?P<exponent>[-+]?\d+))?"
)
_FRACTION = re.compile(
    rf"(?:(?P<whole>{_UNSIGNED})\s*(?=\\frac))?(?:\\frac\s*\{{\s*(?P<top>-?[\d,.]+)\s*\}}\s*\{{\s*(?P<bottom>-?[\d,.]+)\s*\}}"
    r"|(?P<top1>[\d,.]+)\s*/\s*(?P<bottom1>-?[\d,.]+))"
)
_MIXED_SLASH = re.compile(rf"(?P<whole>{_UNSIGNED})\s+(?P<top1>\d+)\s*/\s*(?P<bottom1>\d+)")
_POWER = re.compile(r"(?P<base>\d{1,6})\s*\^\s*(?:\{\s*(?P<power>-?\d{1,5})\s*\}|(?P<power1>\d))")
_PERCENT = re.compile(r"\s*(?:\\?%|\\text\s*\{\s*(?:percent|%|\\%)\s*\}|percent|pct)$", re.IGNORECASE)


def read_number(text: str) -> Number | None:
    """The exact value of a normalised text, None if it is not a plain number."""
    text = text.strip()
    percent = _PERCENT.search(text)
    body = text[: percent.start()] if percent else text
    while len(body) > 1 and body[0] + body[-1] in ("()", "{}") and (body[0] == "{" or "," not in body):
        body = body[1:-1].strip()
    sign = 1
    if body[:1] in ("-", "+"):
        sign = -1 if body[0] == "-" else 1
        body = body[1:].lstrip()
    if not body or len(body) > MAX_DIGITS or not any(c.isdigit() for c in body):
        return None
    body = _DECIMAL_COMMA.sub(r"0.\1", body) if _DECIMAL_COMMA.fullmatch(body) else body
    read = _fraction(body) or _decimal(body) or _power(body)
    if read is None:
        return None
    value = sign * read.value / (100 if percent else 1)
    return Number(value=value, percent=percent is not None, decimal_digits=read.decimal_digits)


def _decimal(body: str) -> Number | None:
    match = _DECIMAL.fullmatch(body)
    if match is None or match["dots"]:
        return None
    integer, fraction, repeat = match["integer"] or "", match["fraction"] or "", match["repeat"] or ""
    if not (integer or fraction or repeat):
        return None
    integer = integer.replace(",", "")
    value = Fraction(int(integer + fraction or "0"), 10 ** len(fraction))
    if repeat:
        value += Fraction(int(repeat), (10 ** len(repeat) - 1) * 10 ** len(fraction))
    power = match["power"] or match["power1"] or match["exponent"]
    if power is not None:
        if len(power) > 6 or abs(int(power)) > MAX_EXPONENT:
            return None
        value *= Fraction(10) ** int(power)
    digits = len((integer + fraction).lstrip("0")) if fraction and not repeat else 0
    return Number(value=value, decimal_digits=digits)


def _fraction(body: str) -> Number | None:
    match = _MIXED_SLASH.fullmatch(body) or _FRACTION.fullmatch(body)
    if match is None:
        return None
    groups = match.groupdict()
    top = _decimal((groups.get("top") or groups["top1"]).removeprefix("-"))
    bottom = _decimal((groups.get("bottom") or groups["bottom1"]).removeprefix("-"))
    if top is None or bottom is None or bottom.value == 0:
        return None
    negative = (groups.get("top") or "").startswith("-") != (groups.get("bottom") or groups["bottom1"]).startswith("-")
    value = top.value / bottom.value * (-1 if negative else 1)
    whole = groups.get("whole")
    if whole is not None:
        if negative or value >= 1:
            return None
        value += int(whole.replace(",", ""))
    return Number(value=value)


def _power(body: str) -> Number | None:
    match = _POWER.fullmatch(body)
    if match is None:
        return None
    base, power = int(match["base"]), int(match["power"] or match["power1"])
    if abs(power) > MAX_EXPONENT or (base == 0 and power <= 0):
        return None
    return Number(value=Fraction(base) ** power)


def equal(answer: Number, gold: Number) -> bool:
    """Exactly equal; or the same numeral with the percent sign left off, or put to a gold of 1 or more; or, where one
    side has no finite decimal, a decimal of at least 6 significant digits within a relative 1e-6 of it."""
    if answer.value == gold.value:
        return True
    if answer.percent != gold.percent:
        if answer.percent and abs(gold.value) < 1:
            return False  # 0.25% is not 0.25
        scaled = answer.value * 100 if answer.percent else answer.value
        return scaled == (gold.value * 100 if gold.percent else gold.value)
    for decimal, other in ((answer, gold), (gold, answer)):
        if decimal.decimal_digits >= 6 and other.decimal_digits == 0 and not _is_finite_decimal(other.value):
            return abs(decimal.value - other.value) * 10**6 <= abs(other.value)
    return False


def _is_finite_decimal(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1
