"""Rows of the data sets become tests of one form; a row that is wrong is named."""

import json
from typing import Any

import pytest

from rlreason.config.rewards import RewardConfig
from rlreason.rewards.code import check
from rlreason.rewards.code import program_tests as code_tests
from rlreason.rewards.runtime.reward_set import check_tasks
from rlreason.types import Task, UserError, read_tests


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
        ([{"type": "stdio", "input": ["1", "2"], "output": "3"}], "input is a list, not text"),
        ([{"type": "call", "args": [1], "expected": 1}], "need an entry_point"),
        ([{"type": "assert", "code": "import numpy as np\nassert np.allclose(f(1), 1)"}], "imports numpy"),
        (
            [{"type": "assert", "code": "def test_f():\n    from pytest import approx\n    assert f(1)"}],
            "imports pytest",
        ),
        ([{"type": "assert", "code": "from sandbox_fusion.helpers import f\nassert f(1)"}], "imports sandbox_fusion"),
        ([{"type": "assert", "code": "def check(candidate):\n    assert candidate(1)"}], "no entry_point"),
        ([{"type": "assert", "code": "import math\nx = 1\ndef helper(): pass"}], "tests nothing"),
        ([{"type": "assert", "code": "def test_f(value):\n    assert f(value)"}], "test_f with parameters"),
        ([{"type": "assert", "code": "assert f(1) == approx(1)"}], "use approx, f, of which only one can be"),
        ([{"type": "assert", "code": "assert f(1) == np.int8(1)"}], "uses np and does not import it"),
        ([{"type": "assert", "code": "assert f(1) =="}], "does not compile"),
    ],
)
def test_a_wrong_test_is_named(tests: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        code_tests.checked(tests)
    score = check("print(1)", tests)
    assert (score.value, score.status) == (0.0, "verifier_error") and why in score.detail


SOUND = [
    "assert f(1)", "x = f(1)\nassert x", "for x in 1, 2: assert f(x)", "from solution import f\nassert f(1)",
    "import os.path, sys\nfrom collections import Counter\nassert f(1)", "def test_f(): assert f(1)",
    "def test_f(x): assert f(x)\ntest_f(1)", "f(1)", "text = '''\nimport numpy\n'''\nassert f(text)",
    "class FTest(unittest.TestCase):\n    def test(self): assert f(1)", "x = f(1)", "assert f(" + "9" * 5000 + ")",
]  # fmt: skip


@pytest.mark.parametrize("code", SOUND)
def test_a_sound_test_is_not_refused(code: str) -> None:
    code_tests.checked([{"type": "assert", "code": code}])


def test_packages_that_the_sandbox_has_may_be_imported() -> None:
    tests = [{"type": "assert", "code": "import numpy as np\nassert np.allclose(f(1), 1)"}]
    assert code_tests.checked(tests, None, ["numpy"]) == tests


@pytest.mark.parametrize(
    "columns",
    [
        {"entry_point": "f", "test": "import numpy\ndef check(candidate):\n    assert candidate(1)"},
        {"test_list": ["assert f(1)"], "test_imports": ["import numpy as np"]},
        {"answer": "1"},
    ],
)
def test_tasks_that_no_program_could_solve_are_refused_before_a_run(columns: dict[str, Any]) -> None:
    tasks = [task(test_list=["assert f(1)"]), Task(id="mbpp:7", prompt="", source="a", columns=columns)]
    config = RewardConfig(name="code", path="rlreason.rewards.code:reward")
    why = "has no tests" if "answer" in columns else "test 1 .assert. imports numpy"
    with pytest.raises(UserError, match=f"task mbpp:7: .*{why}"):
        check_tasks([config], tasks)
    check_tasks([config.model_copy(update={"sources": ["b"]})], tasks)
    if "answer" not in columns:
        check_tasks([config.model_copy(update={"args": {"packages": ["numpy"]}})], tasks)


def test_rows_declare_the_names_that_a_program_must_define() -> None:
    columns: dict[str, Any] = {"entry_point": "decode", "test_list": ["assert decode(encode('a')) == 'a'"]}
    config = RewardConfig(name="code", path="rlreason.rewards.code:reward")
    with pytest.raises(UserError, match="task t: test 1 .assert. uses encode, and only decode is the program's"):
        check_tasks([config], [task(**columns)])
    check_tasks([config], [task(**columns, program_names=["encode"])])
    for wrong in ("encode", ["encode()"], [1]):
        with pytest.raises(UserError, match="program_names: give a list of names"):
            check_tasks([config], [task(**columns, program_names=wrong)])


def test_leetcode_rows_get_their_header_without_the_class_to_write() -> None:
    prompt = (
        "from math import *\nfrom typing import List\ninf = float('inf')\nclass ListNode:\n    pass\nclass Solution:\n"
    )
    columns = {"prompt": f"{prompt}    def f(self): ", "entry_point": "Solution().f", "test": "def check(c): c(inf)"}
    row = Task(id="t", prompt="Solve it.", columns=columns)
    ((test,), entry_point) = code_tests.tests_of(row)
    assert "import *" in test["code"] and "class ListNode" in test["code"] and "Solution" not in test["code"]
    program = code_tests.header(row, entry_point).program
    assert "inf =" in program and "import List" in program and "import *" not in program and "Solution" not in program


def test_integers_of_tests_may_be_of_any_length() -> None:
    digits = "9" * 5000
    cases = json.dumps([{"input": digits, "output": digits, "testtype": "functional"}])
    ((test,), _) = code_tests.tests_of(task(public_test_cases=cases, metadata='{"func_name": "f"}'))
    assert test["args"] == [test["expected"]] == [10**5000 - 1]
    (read,) = read_tests(f'[{{"type": "call", "args": [{digits}], "expected": {digits}}}]', "row 1")
    assert read["args"] == [10**5000 - 1]


def test_a_row_without_tests_names_its_columns() -> None:
    with pytest.raises(ValueError, match="task t has no tests; its columns are answer"):
        code_tests.tests_of(task(answer="1"))
    with pytest.raises(ValueError, match="must be unpacked"):
        code_tests.tests_of(task(private_test_cases="eJzT"))


def test_none_may_be_expected() -> None:
    (test,) = code_tests.checked([{"type": "call", "args": [], "expected": None, "code": None}], "f")
    assert test["expected"] is None
    (test,) = code_tests.checked([{"type": "assert", "code": "assert f()", "args": None, "expected": None}])
    assert test["code"] == "assert f()"
