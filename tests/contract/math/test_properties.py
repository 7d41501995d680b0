"""Whatever the number and the text around it: an equal answer is right, a changed one is not."""

from fractions import Fraction

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rlreason.rewards.math import verify
from rlreason.rewards.math.extract import final_answer

FEW = settings(max_examples=40, deadline=None)  # each example asks sympy
MANY = settings(max_examples=200, deadline=None)
small = st.integers(min_value=-99, max_value=99)
digits = st.integers(min_value=1, max_value=9)
fractions = st.fractions(min_value=-1000, max_value=1000, max_denominator=1000)
words = st.text(alphabet="abc xyz.,;!?\n$%&'\"0123456789-+=<>", max_size=80)
ends = st.sampled_from(["", ".", " .\n", "$", " as required.", "\n\nThis ends the proof.", " \\]", " cm"])


def value(answer: str, gold: str, before: str = "", after: str = "") -> float:
    return verify(rf"{before} \boxed{{{answer}}}{after}", gold).value


def latex(x: Fraction) -> str:
    return str(x.numerator) if x.denominator == 1 else rf"\frac{{{x.numerator}}}{{{x.denominator}}}"


def written(x: Fraction) -> list[str]:
    """Forms of one rational number."""
    sign, (whole, rest) = "-" if x < 0 else "", divmod(abs(x), 1)
    forms = [latex(x), str(x), rf"{sign}\dfrac{{{3 * abs(x.numerator)}}}{{{3 * x.denominator}}}"]
    if whole and rest:
        forms.append(rf"{sign}{whole}\frac{{{rest.numerator}}}{{{rest.denominator}}}")
    if 1000 % x.denominator == 0:
        forms += [f"{float(x)}", rf"{float(x * 100):.1f}\%", rf"{sign}{float(abs(x) * 100):.1f}\times 10^{{-2}}"]
    return forms


@MANY
@given(fractions, words, ends)
def test_forms_of_a_fraction(x: Fraction, before: str, after: str) -> None:
    for form in written(x):
        assert value(form, latex(x), before, after) == 1.0, form


@MANY
@given(fractions, fractions, words, ends)
def test_another_fraction_is_wrong(x: Fraction, y: Fraction, before: str, after: str) -> None:
    if x != y and x != 100 * y and y != 100 * x:
        for form in written(y):
            assert value(form, latex(x), before, after) == 0.0, form


@MANY
@given(st.integers(), digits, ends)
def test_integers_in_groups_of_three(n: int, off: int, after: str) -> None:
    for form in (
        f"{n:,}",
        f"{n:,}".replace(",", "{,}"),
        f"{n:,}".replace(",", r"\,"),
        f"{n}.0",
        rf"\text{{{n}}}",
        f"x={n}",
    ):
        assert value(form, str(n), after=after) == 1.0, form
        assert value(form, str(n + off)) == 0.0, form


@MANY
@given(st.lists(st.integers(min_value=0, max_value=9), min_size=1, max_size=6), st.integers(min_value=0, max_value=99))
def test_repeating_decimals_are_exact(repeat: list[int], whole: int) -> None:
    block = "".join(map(str, repeat))
    exact = whole + Fraction(int(block), 10 ** len(block) - 1)
    assert value(rf"{whole}.\overline{{{block}}}", latex(exact)) == 1.0
    assert value(rf"{whole}.\overline{{{block}}}", latex(exact + Fraction(1, 10**9))) == 0.0


@FEW
@given(small, small, digits)
def test_polynomials(a: int, b: int, off: int) -> None:
    gold = f"(x{a:+d})(x{b:+d})"
    for right in (f"x^2{a + b:+d}x{a * b:+d}", f"(x{b:+d})(x{a:+d})", f"x(x{a + b:+d}){a * b:+d}"):
        assert value(right, gold) == 1.0, right
    for wrong in (f"x^2{a + b:+d}x{a * b + off:+d}", f"x^2{a + b + off:+d}x{a * b:+d}", f"x^3{a + b:+d}x{a * b:+d}"):
        assert value(wrong, gold) == 0.0, wrong


@FEW
@given(st.integers(min_value=2, max_value=200), digits, digits)
def test_radicals(radicand: int, factor: int, off: int) -> None:
    gold = rf"{factor}\sqrt{{{radicand}}}"
    assert value(rf"\sqrt{{{factor * factor * radicand}}}", gold) == 1.0
    assert value(rf"\frac{{{factor * radicand}}}{{\sqrt{{{radicand}}}}}", gold) == 1.0
    assert value(rf"\sqrt{{{factor * factor * radicand + off}}}", gold) == 0.0
    assert value(rf"-{gold}", gold) == 0.0


@MANY
@given(st.lists(small, min_size=2, max_size=6, unique=True), st.randoms(use_true_random=False), digits)
def test_sets(members: list[int], random: object, off: int) -> None:
    shuffled = sorted(members)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    gold = r"\{" + ", ".join(map(str, members)) + r"\}"
    plain = ", ".join(map(str, shuffled))
    named = r" \text{ or } ".join(f"x={n}" for n in shuffled)
    for right in (rf"\{{{plain}\}}", plain, named, plain.replace(", ", r"\text{ and }")):
        assert value(right, gold) == 1.0, right
    changed = [max(members) + off, *shuffled[1:]] if shuffled[0] != max(members) + off else shuffled[1:]
    for wrong in (", ".join(map(str, changed)), ", ".join(map(str, shuffled[1:])), f"{plain}, {max(members) + off}"):
        assert value(wrong, gold) == 0.0, wrong


@MANY
@given(small, digits, st.sampled_from("[("), st.sampled_from("])"))
def test_intervals(low: int, length: int, opening: str, closing: str) -> None:
    high, left, right = low + length, r"\le" if opening == "[" else "<", r"\le" if closing == "]" else "<"
    gold = f"{opening}{low},{high}{closing}"
    for equal in (
        f"{low} {left} x {right} {high}",
        rf"x \in \left{opening}{low},{high}\right{closing}",
        f"{opening}{low}.0, {high}{closing}",
    ):
        assert value(equal, gold) == 1.0, equal
        assert value(gold, equal) == 1.0, equal
    flipped = {"[": "(", "(": "[", "]": ")", ")": "]"}
    for other in (
        f"{flipped[opening]}{low},{high}{closing}",
        f"{opening}{low},{high}{flipped[closing]}",
        f"{opening}{low},{high + 1}{closing}",
    ):
        assert value(other, gold) == 0.0, other


@MANY
@given(st.lists(small, min_size=4, max_size=4), digits)
def test_matrices_and_points(entries: list[int], off: int) -> None:
    a, b, c, d = entries
    gold = rf"\begin{{pmatrix}}{a}&{b}\\{c}&{d}\end{{pmatrix}}"
    assert value(rf"\left[\begin{{array}}{{cc}} {a} & {b} \\ {c} & {d} \end{{array}}\right]", gold) == 1.0
    assert value(rf"\begin{{bmatrix}}{a}&{b}\\{c}&{d + off}\end{{bmatrix}}", gold) == 0.0
    assert value(rf"\begin{{pmatrix}}{a}&{c}\\{b}&{d}\end{{pmatrix}}", gold) == float(b == c)
    assert value(f"({a}, {b})", f"({a},{b})") == 1.0
    assert value(f"({b}, {a})", f"({a},{b})") == float(a == b)


@MANY
@given(st.integers(min_value=0, max_value=10**6), st.integers(min_value=0, max_value=10**6), words)
def test_two_answers_are_none(n: int, m: int, before: str) -> None:
    if n != m:
        for both in (
            rf"{n} \text{{ or }} {m}",
            f"{n}, {m}",
            rf"\{{{n},{m}\}}",
            rf"{n} \lor {m}",
            f"{n} or {m}",
            f"{n}={m}",
        ):
            assert value(both, str(m), before) == 0.0, both
        assert verify(rf"{before} \boxed{{{n}}} or \boxed{{{m}}}", str(m)).value == 0.0


@MANY
@given(st.text(alphabet=r"\boxed{}$()<>/answer#= .,0123456789+-*^_!%&|", max_size=200))
def test_any_text_gets_a_verdict(text: str) -> None:
    found = final_answer(text)
    assert found is None or all(part in text for part in found.parts)
    assert verify(text, "123456789").status in ("ok", "wrong", "unparseable", "timeout")


@FEW
@given(
    st.text(alphabet="0123456789xyABeπ²⁵₁½፩٣①-+=^_{}()[],./\\%", max_size=12),
    st.sampled_from(["5", "x^2", r"\pi", "(1,2)", r"\{1,2\}", "x=3", "12_5", r"3 \pmod{7}", "(A) 12"]),
)
@example("x^፩", "x^2")
@example("AB_{፩}", "5")
@example("1e5000", r"\pi")
@example("1e-9999", r"\pi")
def test_any_boxed_answer_gets_a_verdict(answer: str, gold: str) -> None:
    assert verify(rf"\boxed{{{answer}}}", gold).status in ("ok", "wrong", "unparseable", "timeout")
