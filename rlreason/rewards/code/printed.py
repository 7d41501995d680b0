"""Compares what a program printed with what it should print, as contests do. Pure, linear time.

Line by line. What never counts: space at the ends of lines, empty lines before and after, which kind of space it is,
and space before a line whose expected form has none. Where a line should hold numbers only, the space between them does
not count either. Two numbers are compared by value: an integer exactly, whether it is written 5, +5, 007, 5.0 or 5e0;
one that is expected with a point or an exponent may differ by `tolerance`, relative or absolute. An integer that is
expected with a leading zero is text, such as a row of binary digits. Letters count as they are: YES is not yes.
"""

import re
from decimal import Decimal, InvalidOperation

# Possessive, or a long row of digits with a letter behind it would take quadratic time.
_NUMBER = re.compile(rb"[-+]?+(?:\d++\.?+\d*+|\.\d++)(?:[eE][-+]?+\d++)?+")
_INTEGER = re.compile(rb"[-+]?\d+")
_ZEROS_FIRST = re.compile(rb"[-+]?0\d+")
_SPACE = re.compile(rb"(\s+)")
# Non-breaking, figure and narrow non-breaking space in UTF-8, and the mark that some files begin with.
_SPACES = ((b"\xc2\xa0", b" "), (b"\xe2\x80\x87", b" "), (b"\xe2\x80\xaf", b" "), (b"\xef\xbb\xbf", b""))
_MAX_NUMBER_CHARS = 64


def same_output(printed: bytes, expected: bytes, tolerance: float = 1e-6) -> bool:
    """True if a contest would accept it."""
    found, wanted = _lines(printed), _lines(expected)
    return len(found) == len(wanted) and all(
        a == b or _same_line(a, b, tolerance) for a, b in zip(found, wanted, strict=True)
    )


def _lines(text: bytes) -> list[bytes]:
    """Without the space that all lines begin with."""
    for special, plain in _SPACES:
        if special in text:
            text = text.replace(special, plain)
    lines = [line.rstrip() for line in text.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    first = next((place for place, line in enumerate(lines) if line), 0)
    lines = lines[first:]
    margin = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    return [line[margin:] for line in lines] if margin else lines


def _same_line(found: bytes, wanted: bytes, tolerance: float) -> bool:
    if found.lstrip() == wanted:
        return True
    tokens, golds = found.split(), wanted.split()
    if len(tokens) != len(golds) or not golds:
        return False
    if not all(map(_NUMBER.fullmatch, golds)):
        # Among words the space between them counts.
        found = found if wanted[:1].isspace() else found.lstrip()
        if _SPACE.findall(found) != _SPACE.findall(wanted):
            return False
    return all(a == b or _same_number(a, b, tolerance) for a, b in zip(tokens, golds, strict=True))


def _same_number(found: bytes, wanted: bytes, tolerance: float) -> bool:
    if not _NUMBER.fullmatch(found) or not _NUMBER.fullmatch(wanted):
        return False
    if _INTEGER.fullmatch(wanted):
        if _ZEROS_FIRST.fullmatch(wanted):
            return False
        if _INTEGER.fullmatch(found):
            return _digits(found) == _digits(wanted)
        return max(len(found), len(wanted)) <= _MAX_NUMBER_CHARS and _is_exactly(found, wanted)
    if max(len(found), len(wanted)) > _MAX_NUMBER_CHARS:
        return False
    a, b = float(found), float(wanted)
    return abs(a - b) <= tolerance * max(1.0, abs(b)) < float("inf")


def _digits(integer: bytes) -> bytes:
    digits = integer.lstrip(b"+-").lstrip(b"0")
    return b"-" + digits if digits and integer[:1] == b"-" else digits


def _is_exactly(found: bytes, wanted: bytes) -> bool:
    try:
        return Decimal(found.decode()) == Decimal(wanted.decode())
    except InvalidOperation:  # an exponent beyond all bounds
        return False
