"""What the quality rules share: a measured figure with its bounds, and the first one that is out of them."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measurement of one document. A value on a bound is good."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def failure(rule: str, figures: Iterable[Figure]) -> str | None:
    """`gopher_quality: 23 words < 50`, of the first figure that is out of bounds; None where all are within."""
    for figure in figures:
        if figure.low is not None and figure.value < figure.low:
            return f"{rule}: {round(figure.value, 4):g} {figure.name} < {figure.low:g}"
        if figure.high is not None and figure.value > figure.high:
            return f"{rule}: {round(figure.value, 4):g} {figure.name} > {figure.high:g}"
    return None


def repeated(parts: Iterable[str]) -> tuple[int, int]:
    """How many parts occurred before, and how many characters these have."""
    seen: set[str] = set()
    num_parts = num_characters = 0
    for part in parts:
        if part in seen:
            num_parts += 1
            num_characters += len(part)
        seen.add(part)
    return num_parts, num_characters
