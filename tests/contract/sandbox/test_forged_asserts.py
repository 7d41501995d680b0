"""A program cannot stand in for what its assert tests compare with, nor change their values while they compare."""

import pytest

from rlreason.rewards.code import checker as code

F = "def f(x): return 0\n"
# name: (test of a function that doubles, what a wrong program defines)
HELPERS = {
    "isclose": ("assert isclose(f(3), 6)", "isclose = lambda *a, **k: True"),
    "isclose in a check": ("def check(g):\n    assert isclose(g(3), 6)\ncheck(f)", "isclose = lambda *a, **k: True"),
    "math.isclose": ("assert math.isclose(f(3), 6)", "class math: isclose = staticmethod(lambda *a: True)"),
    "Counter": ("assert Counter([f(3)]) == Counter([6])", "Counter = lambda x: 0"),
    "reduce": ("assert reduce(lambda a, b: a + b, [f(3), f(4)]) == 14", "reduce = lambda *a: 14"),
    "inf": ("assert f(inf) == inf and f(3) == 6", "inf = 0"),
    "deepcopy": ("assert deepcopy(f([1])) == [1, 1]", "deepcopy = lambda x: [1, 1]"),
    "numbers": ("assert isinstance(f(3), numbers.Number) and f(3) == 6", "class numbers: Number = int"),
    "a class of unittest": (
        "class SortTest(unittest.TestCase):\n    def test(self): self.assertEqual(f(3), 6)",
        "class unittest: TestCase = object",
    ),
    "a helper of the tests": ("def expected(x): return 2 * x\nassert f(3) == expected(3)", "expected = f"),
}
# name: (test, name that is nobody's, what a wrong program defines)
NOBODYS = {
    "np.allclose": ("assert np.allclose(f(3), 6)", "np", "class np: allclose = staticmethod(lambda *a: True)"),
    "numpy.allclose": ("assert numpy.allclose(f(3), 6)", "numpy", "class numpy: allclose = staticmethod(lambda *a: 1)"),
    "pytest.approx": ("assert f(3) == pytest.approx(6)", "pytest", "class pytest: approx = staticmethod(lambda x: 0)"),
    "approx": ("assert f(3) == approx(6)", "approx", "approx = lambda x: 0"),
    "expected": ("assert f(3) == expected(3)", "expected", "expected = f"),
    "wrapped": ("assert same(f(3), 6)", "same", "same = lambda *a: True"),
    "a constant": ("assert f(3) == SIX", "SIX", "SIX = 0"),
    "in a helper": ("def twice(x): return add_up(x, x)\nassert f(3) == twice(3)", "add_up", "add_up = lambda *a: 0"),
    "a method": ("assert Judge().accepts(f(3))", "Judge", "class Judge: accepts = lambda self, x: True"),
}
# name: (test of a function that sorts, whether a program that empties its argument and returns it fails)
SORTS = {
    "sorted of the argument": "a = [3, 1, 2]\nassert f(a) == sorted(a)",
    "the argument first": "a = [3, 1, 2]\nassert sorted(a) == f(a)",
    "helper of the tests": "def expected(a): return sorted(a)\na = [3, 1, 2]\nassert f(a) == expected(a)",
    "two helpers": (
        "def expected(a):\n    return sorted(a)\ndef run(a):\n    return f(a)\n"
        "a = [3, 1, 2]\nassert run(a) == expected(a)"
    ),
    "lambda and helper": "def expected(a): return sorted(a)\na = [3, 1, 2]\nassert (lambda: f(a))() == expected(a)",
    "helper with statements": (
        "def expected(a):\n    a = list(a)\n    a.sort()\n    return a\na = [3, 1, 2]\nassert expected(a) == f(a)"
    ),
    "loop": "for a in [3, 1], [2, 1]:\n    assert f(a) == sorted(a)",
    "comprehension": "assert all(f(a) == sorted(a) for a in [[3, 1], [2, 1]])",
    "lambda": "same = lambda a: f(a) == sorted(a)\nassert same([3, 1])",
    "chain": "a = [3, 1, 2]\nassert f(a) == sorted(a) == [x for x in (1, 2, 3) if x in a]",
    "and": "a = [3, 1, 2]\nassert len(f(a)) == len(a) and f(a) == sorted(a)",
    "if": "a = [3, 1, 2]\nif f(a) != sorted(a):\n    raise AssertionError",
    "while": "a = [3, 1, 2]\nwhile f(a) != sorted(a):\n    assert False",
    "check": "def check(g):\n    a = [3, 1, 2]\n    assert g(a) == sorted(a)\ncheck(f)",
    "keyword": "def check(g):\n    a = [3, 1, 2]\n    assert g(a=a) == sorted(a)\ncheck(f)",
    "unittest": (
        "import unittest\nclass SortTest(unittest.TestCase):\n    def setUp(self): self.a = [3, 1, 2]\n"
        "    def test(self): self.assertEqual(f(self.a), sorted(self.a))"
    ),
    "in a try": "a = [3, 1, 2]\ntry:\n    assert f(a) == sorted(a)\nfinally:\n    pass",
    "formatted": "a = [3, 1, 2]\nassert f'{f(a)}' == f'{sorted(a)}'",
}
EMPTIES = "def f(a): a.clear(); return []"
# name: test of a function that sorts in place and returns nothing
IN_PLACE = {
    "statement": "a = [3, 1, 2]\nf(a)\nassert a == [1, 2, 3]",
    "one line": "a = [3, 1, 2]; f(a); assert a == [1, 2, 3]",
    "its result": "a = [3, 1, 2]\nassert f(a) is None\nassert a == [1, 2, 3]",
    "twice": "a = [3, 1, 2]\nf(a)\na.append(0)\nf(a)\nassert a == [0, 1, 2, 3]",
    "two names": "a = b = [3, 1, 2]\nf(a)\nassert b == [1, 2, 3]",
    "if": "a = [3, 1, 2]\nif f(a) is None:\n    assert a == [1, 2, 3]\nelse:\n    assert False",
    "while": "a = [3, 1, 2]\nwhile f(a):\n    ...\nassert a == [1, 2, 3]",
    "for": "for a in [3, 1], [2, 1]:\n    before = sorted(a)\n    f(a)\n    assert a == before",
    "helper": "def run(a):\n    f(a)\n    return a\nassert run([3, 1, 2]) == [1, 2, 3]",
    "test functions": "a = [3, 1, 2]\ndef test_1(): f(a)\ndef test_2(): assert a == [1, 2, 3]",
    "two helpers": ("def run(a): f(a)\ndef same(a):\n    return a == [1, 2, 3]\na = [3, 1, 2]\nrun(a)\nassert same(a)"),
    "except": "a = [3, 1, 2]\ntry:\n    f(a).append(1)\nexcept AttributeError:\n    assert a == [1, 2, 3]\n"
    "else:\n    assert False",
    "with": "a = [3, 1, 2]\nwith contextlib.suppress(ValueError):\n    f(a)\n    assert a == [1, 2, 3]",
    "match": "a = [3, 1, 2]\nmatch f(a):\n    case None: assert a == [1, 2, 3]\n    case _: assert False",
    "unittest": (
        "import unittest\nclass SortTest(unittest.TestCase):\n    def setUp(self): self.a = [3, 1, 2]; f(self.a)\n"
        "    def test(self): self.assertEqual(self.a, [1, 2, 3])"
    ),
    "future import": "'''Tests.'''\nfrom __future__ import annotations\na = [2, 1]\nf(a)\nassert a == [1, 2]",
}
entry_points = pytest.mark.parametrize("entry_point", [None, "f"])


@entry_points
@pytest.mark.parametrize(("test", "forged"), HELPERS.values(), ids=HELPERS)
def test_the_names_of_a_test_are_not_the_programs(arena, test: str, forged: str, entry_point: str | None) -> None:
    tests = [{"type": "assert", "code": test}]
    right = arena.check("def f(x): return x * 2", tests, entry_point=entry_point)
    assert right.value == 1.0, right.detail
    for program in (F + forged, f"{F}{forged}\nimport builtins\nbuiltins.__dict__.update(globals())"):
        wrong = arena.check(program, tests, entry_point=entry_point)
        assert (wrong.value, wrong.status) == (0.0, "wrong"), wrong.detail
    assert arena.check(f"def f(x): return x * 2\n{forged}", tests, entry_point=entry_point).value == 1.0


@entry_points
@pytest.mark.usefixtures("level")
@pytest.mark.parametrize(("test", "name", "forged"), NOBODYS.values(), ids=NOBODYS)
def test_a_name_that_is_nobodys_is_an_error_of_the_data(
    test: str, name: str, forged: str, entry_point: str | None
) -> None:
    for program in (F + forged, "def f(x): return x * 2"):
        score = code.check(program, [{"type": "assert", "code": test}], entry_point=entry_point)
        assert (score.value, score.status) == (0.0, "verifier_error")
        assert name in score.detail, score.detail


@entry_points
@pytest.mark.parametrize("test", SORTS.values(), ids=SORTS)
def test_a_program_does_not_change_what_it_is_compared_with(arena, test: str, entry_point: str | None) -> None:
    tests = [{"type": "assert", "code": test}]
    for right in (
        "def f(a): return sorted(a)",
        "def f(a): a.sort(); return a",
        "def f(a): b = sorted(a); a.clear(); return b",
    ):
        score = arena.check(right, tests, entry_point=entry_point)
        assert score.value == 1.0, score.detail
    for wrong in (EMPTIES, "def f(a): a.clear(); return a", "def f(a): a[:] = [1]; return [1]"):
        score = arena.check(wrong, tests, entry_point=entry_point)
        assert (score.value, score.status) == (0.0, "wrong")


@entry_points
@pytest.mark.parametrize("test", IN_PLACE.values(), ids=IN_PLACE)
def test_later_statements_see_what_a_program_did_in_place(arena, test: str, entry_point: str | None) -> None:
    tests = [{"type": "assert", "code": test}]
    score = arena.check("def f(a): a.sort()", tests, entry_point=entry_point)
    assert score.value == 1.0, score.detail
    for wrong in ("def f(a): return sorted(a)", "def f(a): a.sort(reverse=True)", EMPTIES, "def f(a): a = sorted(a)"):
        assert arena.check(wrong, tests, entry_point=entry_point).value == 0.0


def test_what_a_program_returns_is_not_the_tests_argument(arena) -> None:
    test = "a = [1]\nb = f(a)\nb.append(2)\nassert a == [1]\na.append(3)\nassert b == [1, 2]"
    assert arena.check("def f(a): return a", [{"type": "assert", "code": test}]).value == 1.0


@pytest.mark.usefixtures("level")
def test_names_that_a_row_declares_are_the_programs() -> None:
    tests = [{"type": "assert", "code": "assert decode(encode('ab')) == 'ab' and encode('ab') != 'ab'"}]
    right = "def encode(x): return x[::-1]\ndef decode(x): return x[::-1]"
    wrong = "def encode(x): return ''\ndef decode(x): return ''"
    for options in ({"program_names": ["encode", "decode"]}, {"entry_point": "decode", "program_names": ["encode"]}):
        assert code.check(right, tests, **options).value == 1.0
        assert code.check(wrong, tests, **options).value == 0.0
    for entry_point in (None, "decode"):
        assert code.check(right, tests, entry_point=entry_point).status == "verifier_error"
