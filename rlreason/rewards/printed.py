"""Compares what a program printed with what it should print, as contests do. Pure, linear time.

Line by line: space at the ends of lines and empty lines at the end do not count; where a line holds numbers only,
the space between them does not count either. Numbers written with a point or an exponent may differ by `tolerance`,
relative or absolute. Letters count as they are: YES is not yes.
"""

import re

_NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_MAX_NUMBER_CHARS = 64


def same_output(printed: bytes, expected: bytes, tolerance: float = 1e-6) -> bool:
    """True if a contest would accept it."""
    found, wanted = _lines(printed), _lines(expected)
    return len(found) == len(wanted) and all(
        a == b or _same_numbers(a, b, tolerance) for a, b in zip(found, wanted, strict=True)
    )


def _lines(text: bytes) -> list[bytes]:
    lines = [line.rstrip() for line in text.replace(b"\r\n", b"\n").split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_numbers(found: bytes, wanted: bytes, tolerance: float) -> bool:
    tokens, golds = found.split(), wanted.split()
    if len(tokens) != len(golds) or not golds or not all(map(_NUMBER.fullmatch, golds)):
        return False
    return all(a == b or _close(a, b, tolerance) for a, b in zip(tokens, golds, strict=True))


def _close(found: bytes, wanted: bytes, tolerance: float) -> bool:
    is_decimal = any(c in wanted for c in b".eE")
    if not is_decimal or max(len(found), len(wanted)) > _MAX_NUMBER_CHARS or not _NUMBER.fullmatch(found):
        return False
    a, b = float(found), float(wanted)
    return abs(a - b) <= tolerance * max(1.0, abs(b)) < float("inf")
