"""A checker for one domain: physical quantities, where `1.5 km` is as right as `1500 m` and `1500` is not.

Shows: exact arithmetic instead of floats, a table instead of `eval`, and statuses that tell apart a wrong quantity, a
response without one, and a broken row of data. For rows such as {"prompt": "...", "answer": "1500 m"}.
"""

import re
from fractions import Fraction

from rlreason.types import Score, Task

UNITS = {
    "mm": ("m", "1/1000"), "cm": ("m", "1/100"), "m": ("m", "1"), "km": ("m", "1000"), "in": ("m", "0.0254"),
    "ft": ("m", "0.3048"), "mi": ("m", "1609.344"), "mg": ("kg", "1/1000000"), "g": ("kg", "1/1000"),
    "kg": ("kg", "1"), "lb": ("kg", "0.45359237"), "ms": ("s", "1/1000"), "s": ("s", "1"), "min": ("s", "60"),
    "h": ("s", "3600"), "m/s": ("m/s", "1"), "km/h": ("m/s", "5/18"),
}  # fmt: skip
"""Unit: its dimension, named by the SI unit, and its size in that unit."""
_LONGEST_FIRST = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_QUANTITY = re.compile(rf"(?<![\w.,])(-?\d{{1,30}}(?:\.\d{{1,30}})?)\s{{0,3}}({_LONGEST_FIRST})(?![\w/])")


def reward(response: str, task: Task) -> Score:
    """1.0 where the last quantity of the response is the task's, in any unit; 0.0 otherwise."""
    gold = _last_quantity(task.answer if isinstance(task.answer, str) else "")
    if gold is None:
        return Score(value=0.0, status="verifier_error", detail=f"task {task.id} has no quantity as its answer")
    given = _last_quantity(response[-2000:])
    if given is None:
        return Score(value=0.0, status="unparseable", detail="no quantity with a known unit")
    if given != gold:
        return Score(value=0.0, status="wrong", detail=f"{float(given[0]):g} {given[1]}")
    return Score(value=1.0, status="ok", detail="the same quantity")


def _last_quantity(text: str) -> tuple[Fraction, str] | None:
    """In SI units."""
    found = _QUANTITY.findall(text)
    if not found:
        return None
    number, unit = found[-1]
    dimension, size = UNITS[unit]
    return Fraction(number) * Fraction(size), dimension
