"""The forms of reward function, one response or many, and what a user is told when a file is wrong."""

import math
import time
from pathlib import Path
from typing import Any

import pytest

from rlreason.rewards.runtime.load import Attempt, load_reward, to_score
from rlreason.types import Score, Task, UserError

TASK = Task(id="t1", prompt="3+4=", answer="7", source="sums", columns={"level": 2})
CHAT = Task(id="t2", prompt=({"role": "user", "content": "3+4="},), answer=("7", "seven"))


def write(tmp_path: Path, text: str) -> str:
    file = tmp_path / "mine.py"
    file.write_text(text)
    return f"{file}:f"


def score(tmp_path: Path, text: str, response: str = "7", task: Task = TASK) -> Score:
    (found,) = load_reward(write(tmp_path, text)).score([Attempt(response=response, task=task)])
    return found


def attempts(*responses: str) -> list[Attempt]:
    """Of tasks whose answers are 0, 1, 2, ... with as many tokens."""
    return [
        Attempt(
            response=response,
            task=Task(id=str(i), prompt=f"{i}?", answer=str(i), columns={"row": i}),
            num_tokens=i,
            truncated=i == 0,
        )
        for i, response in enumerate(responses)
    ]


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
        "def f(responses, tasks): return [r == t.answer for r, t in zip(responses, tasks)]",
        "async def f(tasks, responses): return [1.0]",
        "async def g(response): return 1.0\ndef f(response, task): return g(response)",
        "async def f(prompts, completions, **columns): return [float(prompts == ['3+4='])]",
        "def f(data_source, solution_str, ground_truth, extra_info=None):\n"
        "  return data_source == 'sums' and solution_str == ground_truth and extra_info == {'level': 2}",
        "def f(solution_str, ground_truth, **kw): return {'score': 1.0, 'acc': True}",
        "def f(queries, prompts, labels, **kw): return [float(queries == ['3+4=7'] and labels == ['7'])]",
        "import numpy\ndef f(queries, prompts, labels): return {'rewards': numpy.ones(1), 'scores': numpy.ones(1)}",
        "import numpy\ndef f(response, task): return numpy.float32(1.0)",
        "from rlreason.types import Score\ndef f(response, task): return Score(1.0)",
        "from rlreason.types import Score\ndef f(response, task): return Score(1.0, 'ok', 'the same')",
        "def f(data_sources, solution_strs, ground_truths, extra_infos=None, **kw):\n"
        "  assert data_sources == ['sums'] and extra_infos == [{'level': 2}]\n"
        "  return [{'score': float(s == g)} for s, g in zip(solution_strs, ground_truths)]",
        "def f(completions, trainer_state=None, log_extra=None, log_metric=None, **columns): return [1.0]",
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


TRL_FORMS = {
    "names": "def f(completions, completion_ids, prompt_ids): return [len(c) + 10 * len(p) for c, p in "
    "zip(completion_ids, prompt_ids)]",
    "ids alone": "def f(completion_ids, **kw): return [len(c) + 10 * len(p) for c, p in "
    "zip(completion_ids, kw['prompt_ids'])]",
    "any keyword": "def f(completions, **kw): return [len(c) + 10 * len(p) for c, p in "
    "zip(kw['completion_ids'], kw['prompt_ids'])]",
}


@pytest.mark.parametrize("text", TRL_FORMS.values(), ids=TRL_FORMS)
def test_trl_functions_get_the_token_ids_they_ask_for(tmp_path: Path, text: str) -> None:
    found = load_reward(write(tmp_path, text))
    given = [Attempt(response="7", task=TASK, prompt_ids=(1, 2), completion_ids=(3, 4, 5))] * 2
    assert found.traits.wants_token_ids
    assert [one.value for one in found.score(given)] == [23.0, 23.0]
    plain = load_reward(write(tmp_path, "def f(completions, answer): return [1.0]"))
    assert not plain.traits.wants_token_ids and plain.traits.columns == ()


@pytest.mark.parametrize("name", ["trainer_state", "log_extra", "log_metric", "environments"])
def test_a_trl_function_that_cannot_be_given_what_it_asks_for_does_not_load(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, f"def f(prompts, completions, {name}, **columns): return [1.0]")
    with pytest.raises(UserError, match=f"wants more than it is given: {name}; set them by `args` or give them"):
        load_reward(path)
    assert load_reward(path, args={name: 1}).score([Attempt(response="7", task=TASK)])[0].value == 1.0


def test_what_a_row_must_have_is_known_once_the_function_is_loaded(tmp_path: Path) -> None:
    text = "def f(completions, answer, level, gold, factor, hint=None, **columns): return [1.0]"
    assert load_reward(write(tmp_path, text), args={"factor": 2}).traits.columns == ("gold", "level")


def test_verl_gets_its_own_columns_as_its_rows_have_them(tmp_path: Path) -> None:
    text = (
        "def f(data_source, solution_str, ground_truth, extra_info):\n"
        "  return data_source == 'openai/gsm8k' and extra_info == {**extra_info, 'index': 3, 'level': 2}"
    )
    columns = {"data_source": "openai/gsm8k", "level": 2, "extra_info": {"index": 3}}
    verdict = score(tmp_path, text, task=Task(id="t", prompt="?", answer="7", source="tasks", columns=columns))
    assert verdict.value == 1.0, verdict.detail


@pytest.mark.parametrize(
    ("task", "body", "hint"),
    [
        (TASK, "completions[0][0]['content']", "plain text here: read completion, not"),
        (TASK, "completions[0][-1].get('content')", "plain text here: read completion, not"),
        (TASK, "prompts[0][-1]['content']", "plain text here: read completion, not"),
        (CHAT, "completions[0].strip()", "chats here: the text is completion[0]"),
        (CHAT, "completions[0][0].strip()", "chats here: the text is completion[0]"),
        (CHAT, "__import__('re').search('7', completions[0])", "chats here: the text is completion[0]"),
        (CHAT, "'x' + completions[0]", "chats here: the text is completion[0]"),
        (CHAT, "completions[0]['content']", "chats here: the text is completion[0]"),
        (TASK, "1 / 0", ""),
        (CHAT, "{}['key']", ""),
    ],
)
def test_a_function_that_mistakes_text_for_messages_is_told(tmp_path: Path, task: Task, body: str, hint: str) -> None:
    verdict = score(tmp_path, f"def f(prompts, completions): return [bool({body})]", task=task)
    last_line = verdict.detail.splitlines()[-1]
    assert verdict.status == "verifier_error" and hint in last_line and "Error" in last_line
    assert bool(hint) == ("here" in last_line)


def test_a_timeout_is_the_functions_own_unless_it_is_given_one(tmp_path: Path) -> None:
    def seconds(text: str, **given: Any) -> float:
        return load_reward(write(tmp_path, text), **given).traits.timeout_s

    assert seconds("def f(response, task): return 1") == 5.0
    assert seconds("def f(response, task, timeout_s=90.0): return 1") == 90.0
    assert seconds("def f(response, task, timeout_s=90.0): return 1", timeout_s=2.0) == 2.0
    assert seconds("def f(response, task, timeout_s): return 1") == 5.0
    assert seconds("def f(solution_str, ground_truth, timeout_s=8): return 1", args={"timeout_s": 20}) == 20.0
    url = {"url": "http://127.0.0.1"}
    for name, args, own_s in (
        ("judge", {**url, "model": "m"}, 60.0), ("http", url, 30.0), ("code", {}, 10.0), ("math", {}, 5.0),
    ):  # fmt: skip
        assert load_reward(f"rlreason.rewards.{name}:reward", args=args).traits.timeout_s == own_s


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


@pytest.mark.parametrize(
    "text",
    [
        "from rlreason.types import Score\n"
        "def f(responses, tasks):\n"
        "  assert len(responses) == len(tasks) == 3\n"
        "  return [Score(value=float(r == t.answer), status='ok') for r, t in zip(responses, tasks)]",
        "def f(prompts, completions, row, answer):\n"
        "  assert row == [0, 1, 2] and prompts == ['0?', '1?', '2?']\n"
        "  return [float(c == a) for c, a in zip(completions, answer)]",
        "import numpy\n"
        "def f(queries, prompts, labels):\n"
        "  assert len(queries) == 3\n"
        "  return {'rewards': numpy.array([float(q == p + a) for q, p, a in zip(queries, prompts, labels)])}",
    ],
    ids=["ours", "TRL", "OpenRLHF"],
)
def test_a_batched_function_gets_all_in_one_call(tmp_path: Path, text: str) -> None:
    found = load_reward(write(tmp_path, text))
    scores = found.score(attempts("0", "9", "2"))
    assert found.takes_many and [one.value for one in scores] == [1.0, 0.0, 1.0], scores[0].detail


def test_one_bad_value_of_a_batch_hurts_no_other(tmp_path: Path) -> None:
    found = load_reward(write(tmp_path, "def f(responses, tasks): return [1.0, float('nan'), 'x', 0.5]"))
    statuses = [one.status for one in found.score(attempts("a", "b", "c", "d"))]
    assert statuses == ["ok", "verifier_error", "verifier_error", "ok"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("return [1.0]", "1 values for 3 responses"),
        ("return 1.0", "for 3 responses, not a list"),
        ("raise OSError('no judge')", "OSError: no judge"),
    ],
)
def test_a_batch_that_fails_is_a_verdict_for_each(tmp_path: Path, body: str, detail: str) -> None:
    found = load_reward(write(tmp_path, f"def f(responses, tasks): {body}")).score(attempts("a", "b", "c"))
    assert [one.status for one in found] == ["verifier_error"] * 3
    assert all(detail in one.detail for one in found)


def test_async_functions_wait_side_by_side_and_each_has_its_own_deadline(tmp_path: Path) -> None:
    text = (
        "import asyncio\nasync def f(response, task):\n"
        "  if response == 'raise': raise ValueError('no')\n"
        "  await asyncio.sleep(60 if response == 'hang' else 0.1)\n  return 1.0"
    )
    found = load_reward(write(tmp_path, text), timeout_s=0.5)
    began = time.monotonic()
    statuses = [one.status for one in found.score(attempts("a", "hang", "b", "raise", *"cdefghij"))]
    assert time.monotonic() - began < 1.0
    assert statuses == ["ok", "timeout", "ok", "verifier_error"] + ["ok"] * 8


def test_an_async_function_that_bounds_itself_is_not_cut(tmp_path: Path) -> None:
    text = "import asyncio\nasync def f(response, task, timeout_s):\n  await asyncio.sleep(3 * timeout_s)\n  return 1.0"
    path = write(tmp_path, text)
    for bounds_itself, status in ((False, "timeout"), (True, "ok")):
        (found,) = load_reward(path, timeout_s=0.1, bounds_itself=bounds_itself).score(attempts("a"))
        assert found.status == status


def test_facts_are_handed_to_the_parameters_of_their_names(tmp_path: Path) -> None:
    def told(text: str, *, facts: bool = True) -> list[float]:
        given = attempts("a", "b") if facts else [Attempt(response="a", task=TASK)]
        return [one.value for one in load_reward(write(tmp_path, text), timeout_s=2.5).score(given)]

    assert told("def f(response, task, *, timeout_s): return timeout_s") == [2.5, 2.5]
    assert told("def f(response, task, num_tokens, truncated): return num_tokens + 10 * truncated") == [10.0, 1.0]
    assert told("def f(responses, tasks, num_tokens, truncated): return num_tokens") == [0.0, 1.0]
    assert told("def f(response, task, **all): return len(all)") == [0.0, 0.0]
    assert told("def f(response, task, num_tokens=7): return num_tokens", facts=False) == [7.0]
    found = score(tmp_path, "def f(response, task, num_tokens): return 1.0")
    assert found.status == "verifier_error" and "num_tokens" in found.detail


def test_args_set_the_other_parameters(tmp_path: Path) -> None:
    def value(text: str, **args: object) -> float:
        return load_reward(write(tmp_path, text), args=args).score([Attempt(response="7", task=TASK)])[0].value

    assert value("def f(response, task, scale, bonus=0.0): return scale + bonus", scale=2.0, bonus=0.5) == 2.5
    assert value("def f(completions, factor, **columns): return [factor * columns['level'][0]]", factor=3) == 6.0
    assert value("def f(response, task, **all): return all['anything']", anything=4.0) == 4.0
    assert value("def f(solution_str, ground_truth, method): return method == 'strict'", method="strict") == 1.0


@pytest.mark.parametrize(
    ("text", "args", "expected"),
    [
        ("def f(response, task, scale=1): return 1", {"scael": 2}, "has no parameter `scael`, .*did you mean `scale`?"),
        ("def f(response, task): return 1", {"scale": 2}, "has no parameter `scale`, .*it has none to set"),
        ("def f(response, task): return 1", {"task": 2}, "`args.task` is what the function is given"),
        ("def f(response, task, num_tokens): return 1", {"num_tokens": 2}, "`args.num_tokens` is what the function"),
        ("def f(completions, **all): return [1]", {"completions": 2}, "`args.completions` is what the function"),
    ],
)
def test_args_that_do_not_fit_are_refused(tmp_path: Path, text: str, args: dict[str, int], expected: str) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        load_reward(write(tmp_path, text), args=args)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def reward_fn(response, task): return 1", "has no function 'f'; did you mean reward_fn?"),
        ("f = 3", "is a int, not a function"),
        ("def f(x, y): return 1", "f(x, y) is not a known form"),
        ("def f(response, task, /): return 1", "is not a known form"),
        ("def f(response, task, judge): return 1", "wants more than it is given: judge; set them by `args`"),
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
        ("rlreason.data.chains:tasks", "did you mean rlreason.tasks.chains?"),
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
