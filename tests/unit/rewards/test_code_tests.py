"""Rows of the data sets become tests of one form; a row that is wrong is named."""

import json
from typing import Any

import pytest

from rlreason.rewards import code_tests
from rlreason.rewards.code import check
from rlreason.types import Task


def task(prompt: str = "", **columns: Any) -> Task:
    return Task(id="t", prompt=prompt, columns=columns)


def test_humaneval_tests_get_the_prompts_helpers_but_not_its_function() -> None:
    prompt = "import math\ndef helper(x):\n    return x\n\ndef f(x):\n    '''Twice helper.'''\n"
    ((test,), entry_point) = code_tests.tests_of(task(prompt, entry_point="f", test="def check(candidate): pass"))
    assert entry_point == "f" and "def helper" in test["code"] and "import math" in test["code"]
    assert "def f" not in test["code"] and test["code"].endswith("def check(candidate): pass")


def test_columns_of_other_data_sets_may_be_null() -> None:
    nulls = {"test_list": None, "test": None, "test_imports": None, "public_test_cases": None}
    public = json.dumps([{"input": "1", "output": "2"}])
    tests, _ = code_tests.tests_of(task(**{**nulls, "entry_point": "f", "public_test_cases": public}))
    assert tests == [{"type": "stdio", "input": "1", "output": "2"}]
    tests, _ = code_tests.tests_of(task(**{**nulls, "entry_point": "f", "test_list": ["assert f(1)"]}))
    assert len(tests) == 1
    with pytest.raises(ValueError, match="has no tests"):
        code_tests.tests_of(task(**nulls))


def test_mbpp_tests_get_their_imports() -> None:
    tests, entry_point = code_tests.tests_of(
        task(test_list=["assert f(1)", "assert f(2)"], test_imports=["import math"])
    )
    assert [test["code"] for test in tests] == ["import math\nassert f(1)", "import math\nassert f(2)"]
    assert entry_point is None


def test_livecodebench_rows_of_both_kinds() -> None:
    public = json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}])
    private = json.dumps([{"input": "3\n", "output": "6\n", "testtype": "stdin"}])
    tests, _ = code_tests.tests_of(task(public_test_cases=public, private_test_cases=private))
    assert tests == [{"type": "stdio", "input": a, "output": b} for a, b in (("1\n", "2\n"), ("3\n", "6\n"))]
    functional = json.dumps([{"input": "[1, 2]\n3", "output": "true", "testtype": "functional"}])
    tests, entry_point = code_tests.tests_of(task(public_test_cases=functional, metadata='{"func_name": "f"}'))
    assert tests == [{"type": "call", "args": [[1, 2], 3], "expected": True}] and entry_point == "f"


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        ([], "no tests"),
        ([{"input": "1"}], "test 1: type is None"),
        ([{"type": "stdio", "input": "", "output": ""}, {"type": "stdin"}], "test 2: type is 'stdin'"),
        ([{"type": "stdio", "input": "1"}], "no 'output'"),
        ([{"type": "assert"}], "no 'code'"),
        ([{"type": "call", "args": [1]}], "no 'expected'"),
        ([{"type": "call", "args": 1, "expected": 1}], "args is no list"),
    ],
)
def test_a_wrong_test_is_named(tests: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        code_tests.checked(tests)
    score = check("print(1)", tests)
    assert (score.value, score.status) == (0.0, "verifier_error") and why in score.detail


def test_a_row_without_tests_names_its_columns() -> None:
    with pytest.raises(ValueError, match="task t has no tests; its columns are answer"):
        code_tests.tests_of(task(answer="1"))
    with pytest.raises(ValueError, match="must be unpacked"):
        code_tests.tests_of(task(private_test_cases="eJzT"))


def test_none_may_be_expected() -> None:
    assert code_tests.checked([{"type": "call", "args": [], "expected": None, "code": None}])[0]["expected"] is None
    (test,) = code_tests.checked([{"type": "assert", "code": "assert f()", "args": None, "expected": None}])
    assert test["code"] == "assert f()"
