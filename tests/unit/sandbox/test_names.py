"""Names that assert tests use are the tests' own, real, or the program's; what is none of these is refused."""

from typing import Any

import pytest

from rlreason.sandbox.names import resolve

PROGRAM: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "called": ("assert f(1) == 2", {}, ["f"]),
    "wrapped in builtins": ("assert sorted(set(f(1))) == [2]", {}, ["f"]),
    "class": ("a = Stack()\na.push(1)\nassert a.pop() == 1", {}, ["Stack"]),
    "attribute": ("assert Point.of(2).y == 2", {}, ["Point"]),
    "named as a builtin": ("assert sum(10, 15) == 25", {}, ["sum"]),
    "named as a known function": ("assert merge([[1]]) == [[1]]", {}, ["merge"]),
    "named as a module": ("assert profile(1) == 2", {}, ["profile"]),
    "handed to check": ("def check(g):\n    assert abs(g(1)) == 2\ncheck(add)", {}, ["add"]),
    "handed to check in a guard": ("def check(g): g(1)\nif __name__ == '__main__':\n    check(f)", {}, ["f"]),
    "imported": ("from solution import f\nassert f(1) == isclose", {}, []),
    "module imported": ("import solution as s\nassert s.f(1) == 2", {}, []),
    "everything imported": ("from solution import *\nassert f(1) == 2", {}, ["f"]),
    "a parameter of the same name": ("def g(f): return f\nassert f(1) == g(2)", {}, ["f"]),
    "entry point": ("assert f(1) == f(2)", {"entry_point": "f"}, ["f"]),
    "entry point named as a builtin": ("assert sum(1, 2) == 3", {"entry_point": "sum"}, ["sum"]),
    "candidate": ("def check(candidate): assert candidate(1)", {"entry_point": "f"}, ["f"]),
    "method": ("assert Solution().f(1) == f(1)", {"entry_point": "Solution().f"}, ["Solution", "f"]),
    "method named as a builtin": ("assert candidate([1]) == sum([1])", {"entry_point": "Solution().sum"}, ["Solution"]),
    "entry point of a class Solution": ("assert Solution().f(1) == 2", {"entry_point": "f"}, ["Solution", "f"]),
    "declared": ("assert g(f(1)) == 2", {"declared": ["f", "g"]}, ["f", "g"]),
    "declared beside the entry point": ("assert g(f(1)) == 2", {"entry_point": "f", "declared": ["g"]}, ["f", "g"]),
    "star of another module": ("from fractions import *\nassert f(1) == Fraction(2)", {"entry_point": "f"}, ["f"]),
}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "helper": ("assert f(1) == expected(1)", {"entry_point": "f"}, r"test 1 .* uses expected, and only f is"),
    "two names": ("assert f(1) == expected(1)", {}, "use expected, f, of which only one can be"),
    "helper beside an import": ("from solution import f\nassert f(1) == g(1)", {}, "uses g, and only what they import"),
    "helper beside check": ("def check(c): assert near(c(1))\ncheck(f)", {}, "uses near, and only f is"),
    "alias": ("assert np.allclose(f(1), 2)", {"entry_point": "f"}, "uses np and .* where numpy is installed"),
    "alias alone": ("assert np.allclose(merge(1), 2)", {}, "uses np and does not import it"),
    "pytest": ("assert f(1) == pytest.approx(2)", {}, "uses pytest and does not import it"),
    "real names only": ("assert isclose(sum(1, 2), 3)", {}, "which of isclose, sum is the program's"),
    "nothing called": ("assert 1 == 1", {}, "do not tell what they call"),
    "a local name": ("def g():\n    near = 1\nassert near(f(1))", {"entry_point": "f"}, "uses near"),
    "an exception": ("try: f(0)\nexcept TooSmall: pass", {"entry_point": "f"}, "uses TooSmall"),
    "no Python": ("assert f(1) ==", {}, "test 1 .assert.: a test does not compile"),
}


def resolved(code: str, **options: Any) -> Any:
    return resolve([{"type": "assert", "code": code}], **options)


@pytest.mark.parametrize(("code", "options", "program"), PROGRAM.values(), ids=PROGRAM)
def test_the_programs_names(code: str, options: dict[str, Any], program: list[str]) -> None:
    assert resolved(code, **options).program == program


@pytest.mark.parametrize(("code", "options", "why"), REFUSED.values(), ids=REFUSED)
def test_names_that_are_nobodys(code: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        resolved(code, **options)


def test_what_is_real() -> None:
    found = resolved("assert Counter(f(inf)) == sys.getsizeof(math.pi) + len(calendar.month(1, 2))")
    assert found.program == ["f"] and found.prelude == ["Counter", "inf", "math", "sys"]
    assert found.modules == {"calendar": "calendar"} and not found.nodes
    assert resolved("assert np.allclose(f(1), 2)", packages=["numpy"]).modules == {"np": "numpy"}
    assert resolved("assert f(list_node([1])) is None").nodes and resolved("assert f(ListNode(1)) is None").nodes


def test_tests_of_one_task_are_read_together() -> None:
    codes = "assert f(1) == 2", "assert f(2) == expected(2)"
    tests = [{"type": "call"}, *({"type": "assert", "code": code} for code in codes)]
    with pytest.raises(ValueError, match="test 3 .* uses expected, and only f"):
        resolve(tests, "f")
    assert resolve(tests[:1], "f").program == ()
