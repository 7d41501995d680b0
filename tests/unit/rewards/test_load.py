"""The four forms of reward function, and what a user is told when a file is wrong."""

import math
from pathlib import Path

import pytest

from rlreason.rewards.load import load_reward, to_score
from rlreason.types import Score, Task, UserError

TASK = Task(id="t1", prompt="3+4=", answer="7", source="sums", columns={"level": 2})
CHAT = Task(id="t2", prompt=({"role": "user", "content": "3+4="},), answer=("7", "seven"))


def write(tmp_path: Path, text: str) -> str:
    file = tmp_path / "mine.py"
    file.write_text(text)
    return f"{file}:f"


def score(tmp_path: Path, text: str, response: str = "7", task: Task = TASK) -> Score:
    return load_reward(write(tmp_path, text))(response, task)


@pytest.mark.parametrize(
    "text",
    [
        "def f(response, task): return response == task.answer",
        "async def f(response, task): return 1.0",
        "async def f(*, task, response, strict=True): return 1",
        "from rlreason.types import Score\ndef f(response, task): return Score(value=1.0, status='ok')",
        "class F:\n  def __call__(self, response, task): return 1\nf = F()",
        "def f(prompts, completions, answer, **kw): return [float(c == a) for c, a in zip(completions, answer)]",
        "def f(completions, level, **kw): return [1.0 if level == [2] else 0.0]",
        "async def f(prompts, completions, **columns): return [float(prompts == ['3+4='])]",
        "def f(data_source, solution_str, ground_truth, extra_info=None):\n"
        "  return data_source == 'sums' and solution_str == ground_truth and extra_info == {'level': 2}",
        "def f(solution_str, ground_truth, **kw): return {'score': 1.0, 'acc': True}",
        "def f(queries, prompts, labels, **kw): return [float(queries == ['3+4=7'] and labels == ['7'])]",
        "import numpy\ndef f(queries, prompts, labels): return {'rewards': numpy.ones(1), 'scores': numpy.ones(1)}",
        "import numpy\ndef f(response, task): return numpy.float32(1.0)",
    ],
)
def test_forms(tmp_path: Path, text: str) -> None:
    verdict = score(tmp_path, text)
    assert (verdict.value, verdict.status) == (1.0, "ok"), verdict.detail


def test_chat_tasks_give_trl_chat_completions(tmp_path: Path) -> None:
    text = (
        "def f(prompts, completions, answer):\n"
        "  assert prompts == [[{'role': 'user', 'content': '3+4='}]], prompts\n"
        "  return [float(completions[0][0]['content'] in answer[0])]"
    )
    verdict = score(tmp_path, text, task=CHAT)
    assert verdict.value == 1.0, verdict.detail


def test_numbers_and_none(tmp_path: Path) -> None:
    assert score(tmp_path, "def f(response, task): return 0").status == "wrong"
    assert score(tmp_path, "def f(response, task): return -0.5") == Score(value=-0.5, status="wrong")
    assert score(tmp_path, "def f(completions): return [None]") == Score(
        value=0.0, status="unparseable", detail="no verdict"
    )


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("return float('nan')", "nan"),
        ("return float('inf')", "inf"),
        ("return 'good'", "good"),
        ("return None", "None"),
        ("return [1.0]", "list"),
        ("1/0", "ZeroDivisionError"),
        ("raise SystemError('x')", "SystemError"),
    ],
)
def test_a_broken_checker_is_an_error(tmp_path: Path, body: str, detail: str) -> None:
    verdict = score(tmp_path, f"def f(response, task): {body}")
    assert verdict.status == "verifier_error" and verdict.value == 0.0
    assert detail in verdict.detail


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    verdict = score(tmp_path, "def f(completions, difficulty): return [1.0]")
    assert verdict.status == "verifier_error" and "difficulty" in verdict.detail


def test_own_scores_are_checked_too() -> None:
    assert to_score(Score(value=math.nan, status="ok")).status == "verifier_error"
    assert to_score(Score(value=1.0, status="fine")).status == "verifier_error"  # type: ignore[arg-type]
    assert to_score(10**400).status == "verifier_error"


def test_timeout_is_handed_on(tmp_path: Path) -> None:
    path = write(tmp_path, "def f(response, task, *, timeout_s): return timeout_s")
    assert load_reward(path, timeout_s=2.5)("7", TASK).value == 2.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def reward_fn(response, task): return 1", "has no function 'f'; did you mean reward_fn?"),
        ("f = 3", "is a int, not a function"),
        ("def f(x, y): return 1", "f(x, y) is not a known form"),
        ("def f(response, task, /): return 1", "is not a known form"),
        ("def f(response, task, judge): return 1", "wants more than a response and a task: judge"),
        ("\nimport nowhere_to_be_found", "mine.py:2: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("x = 1\n\ndef f(:", "mine.py:3: SyntaxError"),
        ("def g():\n    return 1/0\n\ng()", "mine.py:2: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(2)", "mine.py:1: SystemExit: 2"),
    ],
)
def test_one_line_says_what_is_wrong(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        load_reward(write(tmp_path, text))
    message = str(caught.value)
    assert expected in message and "\n" not in message
    if "known form" in message:
        assert all(form in message for form in ("response, task", "TRL", "verl", "OpenRLHF"))


def test_missing_files_and_modules(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    for path, expected in (
        (f"{tmp_path}/mien.py:f", "did you mean"),
        ("no_such_package.mod:f", "there is no module 'no_such_package'"),
        ("mine.py", "does not name a function"),
        ("mine.py:", "does not name a function"),
        ("json:dunps", "did you mean dumps"),
    ):
        with pytest.raises(UserError, match=expected):
            load_reward(path)


def test_a_sibling_called_math_does_not_hide_the_library(tmp_path: Path) -> None:
    (tmp_path / "fractions.py").write_text("raise RuntimeError('hidden')")
    (tmp_path / "helper_of_mine.py").write_text("ONE = 1.0")
    text = "import fractions, helper_of_mine\ndef f(response, task): return helper_of_mine.ONE"
    assert score(tmp_path, text).value == 1.0
