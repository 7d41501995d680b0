"""The status and the value of a score, beyond right and wrong."""

from typing import Any

import pytest

from rlreason.rewards.code import check, prepare, reward
from rlreason.types import Task, UserError

ECHO = [{"type": "stdio", "input": str(n), "output": str(n)} for n in range(4)]


def test_part_of_the_tests_counts_only_with_partial() -> None:
    program = "n = int(input())\nprint(n if n < 3 else 0)"
    score = check(program, ECHO)
    assert (score.value, score.status) == (0.0, "wrong") and score.detail.startswith("test 4 of 4: printed b'0")
    assert check(program, ECHO, partial=True).value == 0.75
    calls = [{"type": "call", "args": [n], "expected": n} for n in range(4)]
    assert check("def f(n): return n if n != 1 else 9", calls, entry_point="f", partial=True).value == 0.75


HANGS_AT_2 = (
    "def f(n):\n    while n == 2: pass\n    return n if n else {}\nif __name__ == '__main__': print(f(int(input())))"
)


@pytest.mark.parametrize("kind", ["stdio", "call", "assert"])
def test_what_passed_before_the_time_ran_out_counts_with_partial(kind: str) -> None:
    tests = {
        "stdio": ECHO,
        "call": [{"type": "call", "args": [n], "expected": n} for n in range(4)],
        "assert": [{"type": "assert", "code": f"assert f({n}) == {n}"} for n in range(4)],
    }[kind]
    for first, value in (("0", 0.5), ("7", 0.25)):
        score = check(HANGS_AT_2.format(first), tests, entry_point="f", partial=True, timeout_s=0.8)
        assert (score.value, score.status) == (value, "wrong"), score.detail
    whole = check(HANGS_AT_2.format("0"), tests, entry_point="f", timeout_s=0.5)
    assert (whole.value, whole.status) == (0.0, "timeout") and whole.detail.startswith("test 3 of 4: ran ")
    none = check(HANGS_AT_2.format("0"), tests[2:], entry_point="f", partial=True, timeout_s=0.5)
    assert (none.value, none.status) == (0.0, "timeout")


def test_a_hanging_test_does_not_take_the_others_results() -> None:
    tests = [{"type": "assert", "code": "assert f(1) == 1"}, {"type": "assert", "code": "f\nwhile True: pass"}]
    score = check("def f(n): return n", tests, partial=True, timeout_s=1.0)
    assert (score.value, score.status) == (0.5, "wrong") and "ran out of time" in score.detail


def test_call_tests_end_at_the_first_wrong_one() -> None:
    tests = [{"type": "call", "args": [n], "expected": n} for n in range(3)]
    program = "def f(n):\n    while n: pass\n    return 9"
    assert check(program, tests, entry_point="f", timeout_s=2.0).status == "wrong"


def test_stdio_and_call_tests_mix() -> None:
    tests = [*ECHO, {"type": "call", "args": [1], "expected": 2}]
    program = "def f(x): return x + 1\nif __name__ == '__main__': print(input())"
    assert check(program, tests, entry_point="f").value == 1.0


def test_a_test_may_have_less_time() -> None:
    score = check("import time\ntime.sleep(5)", [{**ECHO[0], "timeout_s": 0.1}])
    assert (score.value, score.status) == (0.0, "timeout") and "0.1 s" in score.detail


def test_a_checker_decides_where_answers_are_not_unique() -> None:
    checker = "def check(input, output, expected): return sorted(output.split()) == sorted(expected.split())"
    tests = [{"type": "stdio", "input": "", "output": "1 2", "checker": checker}]
    assert check("print(2, 1)", tests).value == 1.0
    assert check("print(2, 2)", tests).value == 0.0
    endings = {"1 / 0": "ZeroDivisionError", "raise SystemExit(0)": "SystemExit", "import os; os._exit(0)": "gone"}
    for ending, why in endings.items():
        broken = check("print(2, 2)", [{**tests[0], "checker": f"def check(input, output, expected): {ending}"}])
        assert broken.status == "verifier_error" and why in broken.detail


INTEGER = "def check(input, output, expected): return int(output) == int(expected)"
HANGS = "def check(input, output, expected):\n    while output[0] == 'x': pass\n    return True"
DIES = "import os\ndef check(input, output, expected): return output[0] != 'x' or os._exit(0)"
GROWS = "def check(input, output, expected): return len(bytearray((1 << 40) * (output[0] == 'x'))) == 0"


@pytest.mark.parametrize("checker", [INTEGER, HANGS, DIES, GROWS], ids=["INTEGER", "HANGS", "DIES", "GROWS"])
def test_a_checker_that_fails_on_what_was_printed_says_wrong(checker: str) -> None:
    """Or a policy could have its wrong answers left out."""
    test = {"type": "stdio", "input": "", "output": "7", "checker": checker}
    score = check("print('xyz')", [test], timeout_s=1.0)
    assert (score.value, score.status) == (0.0, "wrong") and "on what the program printed" in score.detail
    assert check("print(7)", [test]).value == 1.0
    if checker != HANGS:
        broken = check("print('xyz')", [{**test, "output": "x"}])
        assert broken.status == "verifier_error" and "on the expected output too" in broken.detail


def test_a_test_may_fail_by_its_exit_status() -> None:
    tests = [{"type": "assert", "code": "import sys\nif f(1) != 1: sys.exit('not 1')\nassert f(2) == 2"}]
    assert check("def f(x): return x", tests).value == 1.0
    score = check("def f(x): return 0", tests)
    assert (score.value, score.status) == (0.0, "wrong") and "not 1" in score.detail


def test_the_language_of_an_answer_makes_no_broken_test() -> None:
    tests = [{"type": "assert", "code": "assert f(1) == 1"}]
    score = check("```js\nfunction f(x) { return x }\n```", tests, languages=["javascript"])
    assert (score.value, score.status) == (0.0, "wrong") and "javascript" in score.detail
    remote = check("```js\nconsole.log(1)\n```", ECHO, languages=["javascript"], url="http://127.0.0.1:9")
    assert (remote.value, remote.status) == (0.0, "wrong")


@pytest.mark.parametrize(
    ("tests", "options", "why"),
    [
        ([{"type": "assert", "code": "assert ("}], {}, "never closed"),
        ([{"type": "call", "args": [object()], "expected": 1}], {"entry_point": "f"}, "cannot be sent: object"),
        ([{"type": "call", "args": [1], "expected": 1}], {}, "need an entry_point"),
        ([{"type": "assert", "code": "return f(1)\nassert f(1)"}], {}, "does not compile"),
        ([{"type": "assert", "code": "assert f(1)\nraise SystemExit"}], {}, "ends its process"),
        (ECHO, {"packages": "numpy"}, "give a list of top-level modules"),
        (ECHO, {"level": "strong"}, "'strong' is not one of landlock, namespaces"),
    ],
)
def test_what_is_wrong_with_the_tests_is_no_verdict(tests: list[Any], options: dict[str, Any], why: str) -> None:
    score = check("def f(x): return x", tests, **options)
    assert (score.value, score.status) == (0.0, "verifier_error") and why in score.detail


def test_no_program_is_unparseable() -> None:
    score = check("I do not know.\n```rust\n```", ECHO)
    assert (score.value, score.status) == (0.0, "unparseable")


def test_a_humaneval_completion_gets_its_prompt() -> None:
    columns = {"entry_point": "f", "test": "def check(candidate):\n    assert candidate(2) == 4"}
    task = Task(id="t", prompt="def f(x):\n    '''Twice.'''\n", columns=columns)
    assert reward("    return x * 2", task).value == 1.0
    assert reward("    return x * 3", task).value == 0.0
    assert reward("def f(x): return x * 2", task).value == 1.0
    assert reward("def f(x): return x", Task(id="t", prompt="", columns={})).status == "verifier_error"


def test_prepare_says_what_runs_and_what_does_not() -> None:
    assert prepare().startswith("sandbox: level ")
    with pytest.raises(UserError, match="level 'strong'"):
        prepare(level="strong")
    with pytest.raises(UserError, match="package 'no_such_package' is not installed"):
        prepare(packages=["no_such_package"])
