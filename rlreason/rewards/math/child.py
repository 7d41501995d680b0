r"""Symbolic comparison of two answers with math-verify's parser on sympy. Only `workers`' fork server imports this.

Reads LaTeX with its grammar, never with eval, sympify or parse_expr. Has no time limit of its own: the parent kills.
Two expressions are equal if they agree in many digits, at several points where they have variables: math-verify
compares after rounding to 6 places. Relations and sets that this does not settle are left to math-verify.
"""

import logging
import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

import sympy
from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
from latex2sympy2_extended.latex2sympy2 import ConversionConfig
from math_verify.grader import should_treat_as_complex, verify

Comparison = Literal["equal", "different", "gold_unread", "answer_unread"]

logging.disable(logging.CRITICAL)  # each refused expression would be logged
# The caller has dealt with units: this clean-up would take the h of `r^2h` for hours.
_CLEAN_UP = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
_KEEP_CASE = ConversionConfig(lowercase_symbols=False)  # `R^2-r^2` is not 0
_NUM_DIGITS = 80
_TOLERANCE = sympy.Rational(1, 10**70)
_FUNCTION_DIGITS = 30
_FUNCTION_TOLERANCE = sympy.Rational(1, 10**20)
_DECIMAL_TOLERANCE = sympy.Rational(1, 10**6)
_MIN_DECIMAL_DIGITS = 6
_MIN_POINTS = 2
_BINDS_NAMES = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Derivative, sympy.Limit)
_DECIMAL = re.compile(r"(?<![\w.])(\d*)\.(\d*)(?:\\overline\s*\{(\d+)\})?(?![\d.])")

_WARM_UP = (
    (r"\frac{1}{2}", "0.5"), ("x^2-1", "(x-1)(x+1)"), (r"\sin 2x", r"2\sin x\cos x"), (r"\log_2 8", r"\frac{6}{2}"),
    (r"\begin{pmatrix}1&x\\0&2\end{pmatrix}", r"\begin{bmatrix}1&x\\0&\sqrt 4\end{bmatrix}"), (r"(1,\infty)", "x>1"),
    (r"\{1,2\}", "2,1"), (r"1+\sqrt2", r"\frac{1}{\sqrt2-1}"), (r"e^{i\pi/3}", r"\frac12+\frac{\sqrt3}{2}i"),
    (r"x^2+y^2=1", "y^2=1-x^2"), (r"\binom{5}{2}+5!", "130"), (r"\int_0^1 x\,dx", r"\frac12"), (r"\sqrt[3]{x}", "|x|"),
    (r"(-\infty,1)\cup(2,3]", r"\mathbb{R}"), (r"\lfloor 2.5\rfloor", r"\lceil y\rceil"), (r"\pm 3", r"\emptyset"),
    (r"\sum_{k=1}^{n}k", r"\frac{n(n+1)}{2}"), (r"\lim_{x\to 0}\frac{\sin x}{x}", "1"), ("a_n", r"\theta"),
    (r"\frac{x^2-1}{x-1}", "x+1"), (r"\arctan 1", r"\frac{\pi}{4}"), (r"\text{yes}", r"\cosh x"), ("2xy=3", "y=3x-1"),
    ("((x+1)(x-2))^{n+1}", "x^{-(n^{2})}"), (r"a_{n+1}\cdot 2^{x}", r"\sin(2(x+1))"),
    (r"2\ln(x^2)", r"3x/y\times 10^{2}"),
)  # fmt: skip
"""They load what sympy imports late and fill the parser's tables."""


def warm_compare() -> Callable[[str, str], Comparison]:
    """`compare`, with all loaded that it needs."""
    for gold, answer in _WARM_UP:
        compare(gold, answer)
    return compare


def compare(gold: str, answer: str) -> Comparison:
    """Both are bare LaTeX, without dollars or box."""
    sympy.core.random.seed(0)  # simplification draws points: a verdict must not depend on what was compared before
    gold_expression = _read(_exact_decimals(gold))
    if gold_expression is None:
        return "gold_unread"
    answer_expression = _read(_exact_decimals(answer))
    if answer_expression is None:
        return "answer_unread"
    try:
        same = _equal(gold_expression, answer_expression, _tolerance(gold, answer))
    except MemoryError:
        raise
    # sympy raises anything at all on odd input; what cannot be compared is not equal.
    except Exception:
        same = False
    return "equal" if same else "different"


@lru_cache(maxsize=4096)
def _read(latex: str) -> Any:
    """None for what the grammar does not know."""
    text = normalize_latex(_for_the_grammar(latex), _CLEAN_UP)
    try:
        return latex2sympy(
            text,
            is_real=not should_treat_as_complex(text),
            convert_degrees=False,
            normalization_config=None,
            conversion_config=_KEEP_CASE,
        )
    except MemoryError:
        raise
    # The grammar and the converter raise many kinds, plain Exception among them.
    except Exception:
        return None


_REWRITTEN = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\s*\\?%", r"\\cdot \\frac{1}{100} "),
        (r"((?:\d+|[a-zA-Z]|\([^()]*\))!)\s*(?=\^)", r"(\1)"),
        (r"\\operatorname\*?\s*(?=\{)", r"\\mathrm"),
        (r"\\(max|min|gcd|lcm)\s*\\\{([^{}]*)\\\}", r"\\\1(\2)"),
        (r"\\(det|arg|Pr)(?![a-zA-Z])\s*\(", r"\\mathrm{\1}("),
        (
            r"(\\(?:text|mathrm|mathcal|mathbb)\s*\{[^{}]*\}|_\s*\{[^{}]*\}|\\[a-zA-Z]+)|([eE])(?=\[|\s*_)|(I)",
            lambda match: match[1] or rf"\mathcal{{{match[0]}}}",
        ),
    )
]
"""What the grammar misreads or refuses. It takes E_1 for Euler's number with an index, and I for the imaginary unit."""


def _for_the_grammar(latex: str) -> str:
    for pattern, replacement in _REWRITTEN:
        latex = pattern.sub(replacement, latex)
    return latex


def _exact_decimals(latex: str) -> str:
    """`0.25` as a fraction: sympy's floats would be compared with their rounding error."""

    def fraction(match: re.Match[str]) -> str:
        integer, digits, repeat = match[1] or "0", match[2], match[3]
        if not (match[1] or digits or repeat):
            return match[0]
        value = Fraction(int(integer + digits), 10 ** len(digits))
        if repeat:
            value += Fraction(int(repeat), (10 ** len(repeat) - 1) * 10 ** len(digits))
        return rf"(\frac{{{value.numerator}}}{{{value.denominator}}})"

    return _DECIMAL.sub(fraction, latex)


def _equal(gold: Any, answer: Any, tolerance: Any) -> bool:
    gold, answer = _same_case(_imaginary(gold), _imaginary(answer))
    if isinstance(gold, sympy.MatrixBase) and isinstance(answer, sympy.MatrixBase):
        return gold.shape == answer.shape and all(
            _equal(g, a, tolerance) for g, a in zip(gold.flat(), answer.flat(), strict=True)
        )
    if gold == answer and isinstance(gold, sympy.Expr) and not gold.has(sympy.nan, sympy.zoo):
        return True
    verdict: bool | None = None
    if isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr):
        verdict = _equal_expressions(gold, answer, tolerance)
    elif _is_relation(gold) and _is_relation(answer):
        return _equal_relations(gold, answer)
    if verdict is not None:
        return verdict
    if any(side in (sympy.true, sympy.false) for side in (gold, answer)):
        return False  # what is always or never true equals nothing but itself
    same = verify([gold], [answer], allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=False)
    return bool(same) and not _parts_differ(gold, answer, tolerance)


def _imaginary(expression: Any) -> Any:
    """`i` is the imaginary unit: where it is a name, it is one on both sides."""
    if not isinstance(expression, sympy.Expr | sympy.MatrixBase):
        return expression
    symbols = [symbol for symbol in expression.free_symbols if symbol.name == "i"]
    return expression.subs(dict.fromkeys(symbols, sympy.I)) if symbols else expression


def _same_case(gold: Any, answer: Any) -> tuple[Any, Any]:
    """Names in small letters, `x + C` as `x + c`, unless a side has a name in both cases."""
    for side in (gold, answer):
        names = [symbol.name for symbol in _symbols(side)]
        if len({name.lower() for name in names}) < len(set(names)):
            return gold, answer
    small = [{s: sympy.Symbol(s.name.lower(), real=s.is_real) for s in _symbols(side)} for side in (gold, answer)]
    return tuple(side.subs(names) if names else side for side, names in zip((gold, answer), small, strict=True))


def _symbols(expression: Any) -> Any:
    return getattr(expression, "free_symbols", set())


def _equal_expressions(gold: Any, answer: Any, tolerance: Any) -> bool | None:
    """None if too few points tell: functions without a rule, values that are not real."""
    gold, answer = gold.doit(), answer.doit()
    if gold.has(sympy.nan, sympy.zoo) or answer.has(sympy.nan, sympy.zoo):
        return False  # undefined is equal to nothing
    names = sorted({symbol.name for symbol in gold.free_symbols | answer.free_symbols})
    if not names:
        return _equal_numbers(gold, answer, tolerance or _TOLERANCE, _NUM_DIGITS)
    if (gold - answer).is_zero:
        return True
    num_equal = 0
    for k, sign in enumerate((1, 1, 1, -1, -1)):
        at = {name: sign * sympy.Rational(7 + 4 * j + 3 * k, 5 + 2 * j + k % 2) for j, name in enumerate(names)}
        left, right = _at(gold, at), _at(answer, at)
        same = _equal_numbers(left, right, tolerance or _FUNCTION_TOLERANCE, _FUNCTION_DIGITS, real_only=sign < 0)
        if same is False:
            return False
        num_equal += same is True
    return True if num_equal >= _MIN_POINTS else None


def _at(side: Any, values: dict[str, Any]) -> Any:
    """With values for names. `xreplace` is many times faster, and would replace the name that a sum runs over."""
    replaced = {symbol: values[symbol.name] for symbol in side.free_symbols}
    return side.subs(replaced) if side.has(*_BINDS_NAMES) else side.xreplace(replaced)


def _equal_numbers(gold: Any, answer: Any, tolerance: Any, digits: int, real_only: bool = False) -> bool | None:
    """None if one is no number that can be evaluated. real_only: None too if one is not real."""
    values = [value.doit() for value in (gold, answer)]
    if tolerance is _DECIMAL_TOLERANCE and any(value.is_Integer for value in values):
        tolerance = _TOLERANCE  # only what has no finite decimal may be rounded
    if all(value.is_Rational for value in values) and tolerance is not _DECIMAL_TOLERANCE:
        return bool(values[0] == values[1])
    values = [sympy.N(value, digits, maxn=4 * digits) for value in values]
    if any(value.has(sympy.nan, sympy.zoo) for value in values):
        return None if real_only or digits == _FUNCTION_DIGITS else False  # undefined is equal to nothing
    if any(value.is_infinite for value in values):
        return bool(values[0] == values[1])
    if not all((value.is_number and value.is_comparable) or _is_complex_number(value) for value in values):
        return None
    if real_only and not all(value.is_real for value in values):
        return None
    difference, size = abs(values[0] - values[1]), max(abs(values[0]), abs(values[1]))
    return bool(difference <= tolerance * size) or bool(size < sympy.Rational(1, 10**digits) and _both_vanish(*values))


def _is_complex_number(value: Any) -> bool:
    real, imaginary = value.as_real_imag()
    return bool(real.is_Number and imaginary.is_Number)


def _both_vanish(*values: Any) -> bool:
    """True for what cancels to nothing within the precision; e^{-200} keeps its digits and does not."""
    return all(value == 0 or getattr(value, "_prec", 99) == 1 for value in values)


def _is_relation(expression: Any) -> bool:
    return isinstance(expression, sympy.core.relational.Relational | sympy.And)


def _equal_relations(gold: Any, answer: Any) -> bool:
    """Each equation or inequality of one side is one of the other, in any order."""
    golds, answers = (list(side.args) if isinstance(side, sympy.And) else [side] for side in (gold, answer))
    if len(golds) != len(answers) or not all(_is_relation(one) for one in golds + answers):
        return False
    for one in golds:
        match = next((k for k, other in enumerate(answers) if _equal_relation(one, other)), None)
        if match is None:
            return False
        del answers[match]
    return True


def _equal_relation(gold: Any, answer: Any) -> bool:
    """True if the two differ by a factor, or are equations with the same solutions. What holds always, never or
    nowhere that we look equals only what is written alike: two true statements are not the same statement."""
    if gold == answer or gold.reversed == answer:
        return True
    signs, sides = zip(*(_against_zero(side) for side in (gold, answer)), strict=True)
    if signs[0] != signs[1] or not all(isinstance(side, sympy.Expr) for side in sides):
        return False
    names = sorted({symbol.name for symbol in sides[0].free_symbols})
    if names != sorted({symbol.name for symbol in sides[1].free_symbols}) or not names:
        return False
    values = [_at_points(side, names) for side in sides]
    if not all(map(_tells, values)):
        return False
    if _is_solved(gold) and not _is_solved(answer):
        return False
    ratios = [a / g for g, a in zip(*values, strict=True) if g is not None and a is not None and not g.is_zero]
    if len(ratios) >= _MIN_POINTS and all(abs(r - ratios[0]) <= abs(r) * _FUNCTION_TOLERANCE for r in ratios):
        return bool(ratios[0].is_nonzero) and (signs[0] in ("==", "!=") or bool(ratios[0].is_positive))
    return signs[0] == "==" and _same_solutions(sides, names[0])


def _against_zero(relation: Any) -> tuple[str, Any]:
    """Sign and left side of `f < 0`, `f <= 0`, `f == 0` or `f != 0`."""
    sign, difference = relation.rel_op, (relation.lhs - relation.rhs).doit()
    return (sign.replace(">", "<"), -difference) if ">" in sign else (sign, difference)


def _is_solved(relation: Any) -> bool:
    """`x = 7` and `x - 7 = 0` say what x is, which `2x + 3 = 17` does not."""
    difference = _against_zero(relation)[1]
    names = difference.free_symbols
    return len(names) == 1 and any((sign * difference - name).is_number for name in names for sign in (1, -1))


def _at_points(side: Any, names: list[str]) -> list[Any]:
    """Values at some points; None where it has none."""
    values: list[Any] = []
    for k, sign in enumerate((1, 1, 1, -1, -1)):
        at = {name: sign * sympy.Rational(11 + 6 * j + 4 * k, 7 + 2 * j + k % 2) for j, name in enumerate(names)}
        value = sympy.N(_at(side, at), _FUNCTION_DIGITS)
        values.append(value if value.is_Number and value.is_finite else None)
    return values


def _tells(values: list[Any]) -> bool:
    """False if the values show no condition on the names: none, always 0, or always the same."""
    known = [value for value in values if value is not None]
    return len(known) >= _MIN_POINTS and any(abs(v - known[0]) > _FUNCTION_TOLERANCE * abs(v) for v in known)


def _same_solutions(sides: tuple[Any, ...], name: str) -> bool:
    """Of `f = 0` and `g = 0`, each solved for the name; two equations without a solution are not compared."""
    numerators = [sympy.together(side).as_numer_denom()[0] for side in sides]
    polynomials = [side.as_poly() for side in numerators if side.is_polynomial()]
    if len(polynomials) == 2 and all(p is not None and (p.domain.is_ZZ or p.domain.is_QQ) for p in polynomials):
        bare = [p.sqf_part() for p in polynomials]
        return bool(bare[0] in (bare[1], -bare[1]))
    golds, answers = (sympy.solve(side, *[s for s in side.free_symbols if s.name == name]) for side in sides)
    if not golds or len(golds) != len(answers):
        return False
    return all(any(_equal_expressions(gold, answer, None) for answer in answers) for gold in golds)


def _parts_differ(gold: Any, answer: Any, tolerance: Any) -> bool:
    """Veto on math-verify's rounding: True if parts of two collections are clearly not equal."""
    if isinstance(gold, sympy.FiniteSet) and isinstance(answer, sympy.FiniteSet):
        return len(gold) != len(answer) or any(not any(_equal(g, a, tolerance) for a in answer) for g in gold)
    if isinstance(gold, sympy.Tuple | sympy.Interval | sympy.Union) and type(gold) is type(answer):
        pairs = zip(gold.args, answer.args, strict=False)
        return any(
            isinstance(g, sympy.Expr) and isinstance(a, sympy.Expr) and not _equal(g, a, tolerance) for g, a in pairs
        )
    return False


def _tolerance(gold: str, answer: str) -> Any:
    """1e-6 where one side alone is written in decimals, of 6 or more significant digits each; else None."""
    decimals = [[m for m in _DECIMAL.finditer(side) if not m[3]] for side in (gold, answer)]
    if bool(decimals[0]) == bool(decimals[1]):
        return None
    written = decimals[0] or decimals[1]
    enough = all(len((m[1] + m[2]).lstrip("0")) >= _MIN_DECIMAL_DIGITS for m in written)
    return _DECIMAL_TOLERANCE if enough else None
