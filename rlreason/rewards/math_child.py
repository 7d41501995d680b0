r"""Symbolic comparison of two answers with math-verify on sympy. Only the killable child imports this module.

Reads LaTeX with its grammar, never with eval, sympify or parse_expr. Has no time limit of its own: the parent kills.
math-verify compares after rounding to 6 places, so equality of numbers is checked again in relative magnitude.
"""

import logging
import re
from fractions import Fraction
from typing import Any, Literal

import sympy
from math_verify import LatexExtractionConfig, parse, verify

Comparison = Literal["equal", "different", "gold_unread", "answer_unread"]

logging.disable(logging.CRITICAL)  # each refused expression would be logged
# LaTeX alone: the plain-expression reader of math-verify goes through parse_expr, which is eval.
_CONFIG = (LatexExtractionConfig(boxed_match_priority=0),)
_EXACT_TOLERANCE = Fraction(1, 10**9)
_DECIMAL_TOLERANCE = Fraction(1, 10**6)
_MIN_DECIMAL_DIGITS = 6
_DECIMAL = re.compile(r"\d*\.\d+")


def make_compare() -> Any:
    """Load the parser's tables now, so that the first answer does not pay for it."""
    compare(r"\frac{1}{2}", "0.5")
    return compare


def compare(gold: str, answer: str) -> Comparison:
    """Both are bare LaTeX, without dollars or box."""
    gold_expression = _read(gold)
    if gold_expression is None:
        return "gold_unread"
    answer_expression = _read(answer)
    if answer_expression is None:
        return "answer_unread"
    gold_expression, answer_expression = _imaginary(gold_expression, answer_expression)
    same = verify(
        [gold_expression], [answer_expression], allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=False
    )
    if same and not _magnitudes_differ(gold_expression, answer_expression, _tolerance(gold, answer)):
        return "equal"
    return "different"


def _read(latex: str) -> Any:
    found = parse(
        rf"\boxed{{{latex}}}",
        _CONFIG,
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,  # documented: None switches the alarm off
    )
    return found[0] if found else None


def _imaginary(gold: Any, answer: Any) -> tuple[Any, Any]:
    """`i` is the imaginary unit if it is the only symbol on both sides: `i^2` is then -1."""
    if not all(isinstance(e, sympy.Expr) for e in (gold, answer)):
        return gold, answer
    symbols = gold.free_symbols | answer.free_symbols
    if {symbol.name for symbol in symbols} != {"i"}:
        return gold, answer
    values = dict.fromkeys(symbols, sympy.I)
    return gold.doit().subs(values), answer.doit().subs(values)


def _magnitudes_differ(gold: Any, answer: Any, tolerance: Fraction) -> bool:
    """Veto: True if the two are numbers, or collections or functions of them, that are clearly not equal."""
    gold, answer = _last_side(gold), _last_side(answer)
    if isinstance(gold, sympy.MatrixBase) and isinstance(answer, sympy.MatrixBase):
        return gold.shape != answer.shape or any(
            _magnitudes_differ(g, a, tolerance) for g, a in zip(gold.flat(), answer.flat(), strict=True)
        )
    if isinstance(gold, sympy.FiniteSet) and isinstance(answer, sympy.FiniteSet):
        return any(all(_magnitudes_differ(g, a, tolerance) for a in answer.args) for g in gold.args)
    if isinstance(gold, sympy.Tuple | sympy.Interval) and type(gold) is type(answer):
        return any(_magnitudes_differ(g, a, tolerance) for g, a in zip(gold.args, answer.args, strict=False))
    if not (isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr)):
        return False
    names = {s.name for s in gold.free_symbols}
    if names != {s.name for s in answer.free_symbols}:
        return False
    return any(_differ_at(gold, answer, names, shift, tolerance) for shift in ((0, 1) if names else (0,)))


def _last_side(expression: Any) -> Any:
    return expression.rhs if isinstance(expression, sympy.Eq) and expression.lhs.is_Symbol else expression


def _differ_at(gold: Any, answer: Any, names: set[str], shift: int, tolerance: Fraction) -> bool:
    """Compare in 30 digits, with a fixed rational for each symbol."""
    at = {name: sympy.Rational(7 + 4 * k + 3 * shift, 5 + 2 * k) for k, name in enumerate(sorted(names))}
    values = []
    for expression in (gold, answer):
        point = {symbol: at[symbol.name] for symbol in expression.free_symbols}
        value = sympy.N(expression.subs(point).doit(), 30)
        if value.has(sympy.nan, sympy.zoo):
            return not names  # undefined is equal to nothing; a pole of a function says nothing
        if not value.is_number or value.is_infinite:
            return bool(not names and value.is_infinite and gold != answer)
        values.append(value)
    size = max(abs(values[0]), abs(values[1]))
    return bool(abs(values[0] - values[1]) > sympy.Rational(tolerance.numerator, tolerance.denominator) * size)


def _tolerance(gold: str, answer: str) -> Fraction:
    """1e-6 where one side alone is written in decimals, of 6 or more significant digits each; else 1e-9."""
    decimals = [_DECIMAL.findall(gold), _DECIMAL.findall(answer)]
    if bool(decimals[0]) == bool(decimals[1]):
        return _EXACT_TOLERANCE
    written = decimals[0] or decimals[1]
    enough = all(len(d.replace(".", "").lstrip("0")) >= _MIN_DECIMAL_DIGITS for d in written)
    return _DECIMAL_TOLERANCE if enough else _EXACT_TOLERANCE
