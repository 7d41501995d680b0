"""`rlreason check-reward`: what it makes of good, bad and broken rewards, and of bad input."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.data import TaskConfig
from rlreason.data.tasks import load_tasks
from rlreason.rewards.dryrun.probes import Columns, corrupted, forms_for
from rlreason.stages.check_reward import Options, check_reward, check_stage, read_rows
from rlreason.types import UserError

ROOT = Path(__file__).resolve().parents[2]
ROWS = [{"prompt": f"{n}+{n}=", "answer": str(2 * n)} for n in range(10, 40)]
RIGHT = "def f(response, task): return float(response.rpartition('#### ')[2] == task.answer)"
Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """check(source or path, rows or text, **options) -> exit status, output."""

    def run(function: str, rows: list[Any] | str = ROWS, **options: Any) -> tuple[int, str]:
        data = tmp_path / "rows.jsonl"
        data.write_text(rows if isinstance(rows, str) else "\n".join(map(json.dumps, rows)))
        if "\n" in function or function.startswith(("def ", "async ", "import ")):
            (tmp_path / "mine.py").write_text(function)
            function = f"{tmp_path}/mine.py:f"
        defaults: dict[str, Any] = {"columns": Columns(), "limit": 200, "seconds": 3.0, "timeout_s": 4.0}
        args = options.pop("args", "{}")
        status = check_reward(function, data, options=Options(**(defaults | options)), args=args)
        return status, capsys.readouterr().out

    return run


def conclusion(output: str) -> str:
    return output.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "source",
    [
        RIGHT,
        "async def f(response, task): return float('#### ' + task.answer == response)",
        "def f(responses, tasks): return [float('#### ' + t.answer == r) for r, t in zip(responses, tasks)]",
        "def f(prompts, completions, answer): return [float(c == '#### ' + a) for c, a in zip(completions, answer)]",
        "def f(data_source, solution_str, ground_truth): return solution_str == '#### ' + ground_truth",
        "def f(queries, prompts, labels): return [float(queries[0] == prompts[0] + '#### ' + labels[0])]",
    ],
)  # fmt: skip
def test_a_right_reward_of_any_form_passes(check: Check, source: str) -> None:
    status, output = check(source)
    assert status == 0, output
    assert conclusion(output) == "OK: 30 of 30 gold and 0 of 150 corrupted answers score 1.0"
    assert "latency in ms: p50" in output
    assert output.count("  verdict ") == 3
    for kind in ("gold", "answer changed", "answer emptied", "other row's answer", "cut in half", "garbage"):
        assert f"│ {kind} " in output


def test_the_form_that_the_reward_accepts_is_found(check: Check) -> None:
    _, output = check("def f(response, task): return response == r'\\boxed{%s}' % task.answer")
    assert r"gold is written as `\boxed{}`" in output
    assert r"as is 0/5, \boxed{} 5/5, #### 0/5" in output


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(response, task): return 0.0", "GOLD DOES NOT SCORE: 0 of "),
        ("def f(response, task): return 1.0", "WRONG ANSWERS SCORE: 150 of 150"),
        ("def f(response, task): return 0.5 + 0.5 * (response == task.answer)", ""),
        ("def f(response, task): return 0.9 if response != task.answer else 1.0", "WRONG ANSWERS SCORE: 0 of 150"),
        ("def f(response, task): return float(response.isdigit())", "most of all `answer changed`"),
        ("def f(response, task): 1 / 0", "THE REWARD BREAKS: 30 of 30"),
        ("def f(response, task): return None", "THE REWARD BREAKS"),
        ("def f(response, task): import os; os._exit(3)", "THE REWARD BREAKS"),
        ("import random\ndef f(response, task): return random.random()", "NOT DETERMINISTIC: tasks:0"),
    ],
)
def test_a_wrong_reward_fails_and_the_last_line_says_why(check: Check, source: str, said: str) -> None:
    status, output = check(source, seconds=2.0)
    assert status == (1 if said else 0), output
    assert said in conclusion(output)


def test_foreign_text_cannot_steer_the_terminal(check: Check) -> None:
    """Of rows, of the error of a reward, and in its traceback."""
    hostile, seen = "a\x1b]0;x\x07\x00\u202e", "a\ufffd]0;x\ufffd\ufffd\ufffd"
    rows = [{"prompt": f"{n}", "answer": f"{n} {hostile}"} for n in range(3)]
    _, output = check("def f(response, task): raise ValueError(f'no {task.answer}')", rows)
    assert f"gold 0 {seen}" in output and output.count(f"ValueError: no 0 {seen}") >= 2
    assert not set(output) & set("\x1b\x07\x00\u202e")


def test_the_first_broken_verdict_is_shown_with_its_traceback(check: Check) -> None:
    _, output = check("def f(response, task):\n    return {}['scale']")
    assert "first broken verdict: gold, tasks:0, verifier_error" in output
    assert output.count("KeyError: 'scale'") == 4  # three samples, and the traceback once
    assert output.count("Traceback") == 1
    assert output.count("verdict   0 verifier_error: KeyError: 'scale'") == 3


def test_gold_that_holds_its_working_is_recognised(check: Check) -> None:
    rows = [{"question": "?", "answer": f"So it is {n}.\n#### {n}"} for n in range(12)]
    status, output = check(RIGHT, rows)
    assert status == 1
    assert "keep only what follows `####`" in conclusion(output)
    status, output = check("rlreason.rewards.match:numeric", rows)
    assert status == 0, output


def test_a_reward_that_hangs_does_not_hang_the_command(check: Check) -> None:
    start = time.monotonic()
    status, output = check("import time\ndef f(response, task): time.sleep(60)", seconds=0.5, timeout_s=0.3)
    assert time.monotonic() - start < 4.0
    assert status == 1
    assert "timeout" in output
    assert "1 of the 30 rows" in output or "2 of the 30 rows" in output


def test_options_and_columns(check: Check) -> None:
    rows = [{"q": f"{n}?", "gold": f"Word {n}", "label": "x"} for n in range(5)]
    columns = Columns(prompt="q", answer="gold")
    source = "def f(response, task, *, upper=False): return response == (task.answer.upper() if upper else task.answer)"
    assert check(source, rows, columns=columns)[0] == 0
    assert check(source, rows, columns=columns, args='{"upper": true}')[0] == 1
    _, output = check(source, rows, columns=columns, limit=3)
    assert "3 of the 3 rows" in output


def test_token_counts_and_truncation_are_told(check: Check) -> None:
    source = (
        "def f(response, task, *, num_tokens, truncated):\n"
        "    assert num_tokens == len(response) // 4 and truncated == (len(response) < 4 and response != 'x')\n"
        "    return response == task.answer"
    )
    rows = [{"prompt": "?", "answer": f"{n}"} for n in range(1000, 1006)]
    _, output = check(source, rows)
    assert "cut in half        │ 6 │ 0.000 │     0.0% │ wrong 6" in output
    assert "gold               │ 6 │ 1.000" in output


def test_programs_use_the_solution_column(tmp_path: Path, check: Check) -> None:
    tests = [{"type": "stdio", "input": "", "output": "4"}]
    texts = [tests, json.dumps(tests), tests]  # hub data sets keep them as JSON text as well
    rows = [{"prompt": f"Task {n}", "tests": text, "code": f"print({n} + 4)"} for n, text in enumerate(texts)]
    status, output = check(
        "def f(response, task): return response == f\"```python\\n{task.columns['code']}\\n```\"", rows
    )
    assert status == 0, output
    assert "gold is written as `fenced solution`" in output
    read = read_rows(tmp_path / "rows.jsonl", Columns(), 10)
    probes = {probe.kind: probe.response for probe in corrupted(read, 0, forms_for(read)[0])}
    assert probes["answer changed"] == "```python\nprint('?', 0 + 4)\n```"
    assert probes["other row's answer"] == "```python\nprint(1 + 4)\n```"
    with pytest.raises(UserError, match="tests but no solution column"):
        check(RIGHT, [{"prompt": "?", "tests": tests, "answer": None}])


@pytest.mark.parametrize(
    ("answer", "changed"),
    [
        ("42", "43"), ("-3/4", "-3/5"), ("1,299", "1,300"), (r"\frac{1}{2}", r"\frac{1}{3}"), ("B", "C"),
        ("Fizz", "Fiza"), ('{"a": true}', '{"a": truf}'), ("x = 9 cm", "x = 10 cm"),
    ],
)  # fmt: skip
def test_changed_answers_are_other_answers(tmp_path: Path, answer: str, changed: str) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"prompt": "?", "answer": answer}))
    rows = read_rows(data, Columns(), 1)
    probes = {probe.kind: probe.response for probe in corrupted(rows, 0, forms_for(rows)[0])}
    assert probes["answer changed"] == changed
    assert "other row's answer" not in probes  # there is no other row


def test_no_corrupted_answer_is_another_gold(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"prompt": "a", "answer": ["1", "2"]}\n{"prompt": "b", "answer": "2"}')
    rows = read_rows(data, Columns(), 2)
    kinds = [probe.kind for probe in corrupted(rows, 0, forms_for(rows)[0])]
    assert kinds == ["answer emptied", "cut in half", "garbage"]


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ('{"prompt": "a", "answer": "1"}\n\n{"prompt": ', {}, "rows.jsonl`, line 3: "),
        ('{"prompt": "a", "answer": "1"}\n[1]', {}, "rows.jsonl`, line 2: "),
        ("\n \n", {}, "no rows"),
        ([{"x": 1}], {}, "which column is the prompt"),
        ([{"prompt": "a", "x": 1}], {}, "no gold: its columns are prompt, x"),
        ([{"prompt": "a", "answer": "1"}], {"columns": Columns(answer="anser")}, "no column `anser`; its columns are"),
        ([{"prompt": "a", "answer": "1"}, {"prompt": "b"}], {}, "row 1: no column `answer`"),
        ([{"prompt": 3, "answer": "1"}], {}, "neither text nor a list of messages"),
        ([{"prompt": "a", "answer": "1", "tests": "x"}], {}, "`tests` is text that is no JSON"),
        ([{"prompt": "a", "answer": None}], {}, "an empty answer"),
        (ROWS, {"args": "{"}, "--args is not JSON"),
        (ROWS, {"args": "[1]"}, "--args must be a JSON object"),
        (ROWS, {"args": '{"no_such": 1}'}, "no_such"),
    ],
)
def test_bad_input_is_one_line(check: Check, rows: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        check(RIGHT, rows, **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_told_with_their_line(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(UserError, match="line 1: .*0xff"):
        read_rows(data, Columns(), 5)


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    code = (
        "import sys\n"
        "from rlreason.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = {'ray', 'torch', 'datasets', 'vllm', 'deepspeed', 'transformers', 'numpy'} & set(sys.modules)\n"
        "    print('heavy:', sorted(heavy), file=sys.stderr)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "check-reward", *words], capture_output=True, text=True, cwd=ROOT, timeout=60
    )


def test_the_command_loads_nothing_heavy(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, ROWS)))
    done = command("reward_fns/short_and_right.py:reward", str(data), "--limit", "30")
    assert done.returncode == 0, done.stderr
    assert "heavy: []" in done.stderr
    assert conclusion(done.stdout).startswith("OK: 30 of 30 gold")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("{root}/reward_fns/no_such.py:reward", "no_such.py does not exist"),
        ("{root}/reward_fns/short_and_right.py:rewrd", "did you mean reward"),
        ("{root}/reward_fns/short_and_right.py", "does not name a function"),
        ("{broken}:f", "broken.py:2: ModuleNotFoundError"),
        ("{broken}:f x", "does not name a function"),
        ("rlreason.rewards.match:nummeric", "did you mean numeric"),
    ],
)
def test_a_function_that_cannot_be_loaded_is_one_line(tmp_path: Path, check: Check, function: str, said: str) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("x = 1\nimport no_such_module_here\n")
    with pytest.raises(UserError) as error:
        check(function.format(root=ROOT, broken=broken))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_input_ends_with_status_two() -> None:
    done = command("rlreason.rewards.match:numeric", "no_such.jsonl")
    assert done.returncode == 2
    error, heavy = done.stderr.strip().splitlines()
    assert error.startswith("error: data `no_such.jsonl`: no such file")
    assert heavy == "heavy: []"


def test_a_reward_that_fails_ends_with_status_one(tmp_path: Path) -> None:
    rows, mine = tmp_path / "rows.jsonl", tmp_path / "mine.py"
    rows.write_text("\n".join(map(json.dumps, ROWS)))
    mine.write_text("def f(response, task): return 0")
    done = command(f"{mine}:f", str(rows))
    assert done.returncode == 1
    assert conclusion(done.stdout).startswith("GOLD DOES NOT SCORE")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("int(response[-1:])", "verifier_error"),
        ("time.sleep(9 if response == '' else 0)", "timeout"),
        ("if task.answer == '40': return float('nan')", "verifier_error"),
        ("if task.answer == '40': return Score(0.0, 'verifier_error', 'no number')", "verifier_error"),
    ],
)
def test_a_reward_that_breaks_on_any_row_fails(check: Check, line: str, status: str) -> None:
    imports = "import time\nfrom rlreason.types import Score\n"
    source = f"{imports}def f(response, task):\n  {line}\n  return response == task.answer"
    code, output = check(source, timeout_s=0.3, seconds=2.0)
    assert code == 1
    assert conclusion(output).startswith("THE REWARD BREAKS") and f"({status} " in conclusion(output), output
    assert status in output.partition("first broken verdict")[2]


def test_a_wrong_program_that_runs_too_long_is_no_break(check: Check) -> None:
    waits = "import sys\ns = sys.stdin.read()\nwhile not s:\n    pass\nprint(s)"
    rows = [
        {"prompt": "?", "tests": [{"type": "stdio", "input": text, "output": output}], "code": code}
        for text, output, code in (("", "4", "print(4)"), ("5", "5", waits))
    ]
    _, output = check("rlreason.rewards.code:reward", rows, timeout_s=1.0, seconds=20.0)
    assert "timeout 1" in output and "THE REWARD BREAKS" not in output, output


def test_what_responses_earn_that_only_hold_the_gold_is_told(check: Check) -> None:
    status, output = check("rlreason.rewards.match:numeric")
    assert status == 0
    assert "earn on average: false sentence 1.00, every candidate 0.00; HACKABLE: " in output
    assert "for any sentence that ends in the answer; let it take the answer alone or marked" in output
    assert "Every bird is a fish, so 2 + 2 is 20" in output
    status, output = check("rlreason.rewards.match:numeric", args='{"alone": true}')
    assert status == 0
    assert "earn on average: false sentence 0.00, every candidate 0.00\n" in output
    status, output = check("def f(response, task): return task.answer in response.split()")
    assert "false sentence 1.00, every candidate 1.00; HACKABLE" in output and "listing every candidate" in output
    assert "OK: 30 of 30 gold" in conclusion(output)


def test_every_candidate_of_a_boxed_answer_has_its_box(tmp_path: Path, check: Check) -> None:
    source = "import re\ndef f(response, task): return task.answer in re.findall(r'boxed{(.*?)}', response)"
    assert "false sentence 0.00, every candidate 1.00; HACKABLE" in check(source)[1]


def test_a_column_that_a_trl_function_wants_and_rows_lack_is_told_before_scoring(check: Check) -> None:
    with pytest.raises(UserError, match="wants `difficulty`, which task tasks:0 does not have; its columns are"):
        check("def f(completions, difficulty, **columns): return [1.0]")
    with pytest.raises(UserError, match="wants more than it is given: trainer_state"):
        check("def f(completions, trainer_state): return [1.0]")
    status, output = check(
        "def f(completion_ids, completions, ground_truth):\n"
        "  rows = zip(completion_ids, completions, ground_truth)\n"
        "  return [float(c == g and len(i) == len(c) // 4) for i, c, g in rows]",
        [{"prompt": f"{n}", "ground_truth": str(n)} for n in range(10, 20)],
    )
    assert status == 0, output


def test_a_trl_function_that_takes_chats_for_text_is_told(check: Check) -> None:
    rows = [{"prompt": [{"role": "user", "content": f"{n}?"}], "answer": str(n)} for n in range(10, 20)]
    equal = "def f(completions, answer): return [float(c == a) for c, a in zip(completions, answer)]"
    status, output = check(equal, rows)
    assert status == 1
    assert 'these prompts are chats, so its completions are too: the text is completion[0]["content"]' in output
    status, output = check(
        "def f(completions, answer): return [float(c[0]['content'] == a) for c, a in zip(completions, answer)]"
    )
    assert status == 1 and "completions are plain text here: read completion, not" in output


def test_rows_are_those_of_a_run(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    golds = ["7", "7.0", "1e5", str(10**30), '"2024-01-31"', '["a", "b"]']
    data.write_text("\n".join(f'{{"prompt": "?", "answer": {gold}}}' for gold in golds))
    tasks = load_tasks(TaskConfig(path=str(data)), "tasks")
    assert [row.task for row in read_rows(data, Columns(), 10)] == tasks
    assert [task.answer for task in tasks] == ["7", "7.0", "1e5", str(10**30), "2024-01-31", ("a", "b")]
    data.write_text(
        '{"data_source": "openai/gsm8k", "prompt": [{"role": "user", "content": "1+1"}], "extra_info": {"index": 4}, '
        '"reward_model": {"style": "rule", "ground_truth": "2"}}'
    )
    (row,) = read_rows(data, Columns(), 10)
    assert row.answer == "2"
    data.write_text('{"prompt": "1+1", "solution": "2"}')
    assert read_rows(data, Columns(), 10)[0].answer == "2"


STAGE = """
stage: rl
model: no/such-model
learner: {lr: 1.0e-5}
steps: 1
prompts_per_step: 2
samples_per_prompt: 2
rollout: {max_context_tokens: 64, max_response_tokens: 16}
tasks:
  sums: {path: SUMS, prompt_column: question, answer_column: result, template: "Add: {prompt}"}
  free: {path: FREE, answer_column: null}
rewards:
  - {name: mine, path: "MINE:f", args: {mark: "Add"}, sources: [sums]}
  - {name: short, path: "rlreason.rewards.length:budget", args: {budget_tokens: 100}}
  - {name: liked, model: some/model}
"""


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """An RL stage with a function of its own, a set without golds and a reward model."""
    sums, free, mine = tmp_path / "sums.jsonl", tmp_path / "free.jsonl", tmp_path / "mine.py"
    sums.write_text("\n".join(json.dumps({"question": f"{n}+{n}", "result": 2 * n}) for n in range(10, 30)))
    free.write_text("\n".join(json.dumps({"prompt": f"Write {n} words."}) for n in range(10)))
    mine.write_text("def f(response, task, mark): return response == task.answer and task.prompt.startswith(mark)")
    path = tmp_path / "rl.yaml"
    path.write_text(STAGE.replace("SUMS", str(sums)).replace("FREE", str(free)).replace("MINE", str(mine)))
    return path


OPTIONS = Options(columns=Columns(), limit=60, seconds=3.0, timeout_s=None)


def test_a_stage_has_all_its_rewards_tried_on_its_own_tasks(stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_stage(stage, options=OPTIONS) == 0
    output = capsys.readouterr().out
    assert "mine on sums: OK: 20 of 20 gold and 0 of" in output
    assert "short on sums: it works, and is not about the gold" in output
    assert "short on free: it works, and is not about the gold: 10 responses have a verdict" in output
    assert "liked: is a reward model, which is not tried here" in output
    assert conclusion(output) == "OK: no reward breaks, and golds are told from corrupted answers on sums"


def test_a_stage_fails_where_one_of_its_rewards_does(stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = stage.read_text()
    stage.write_text(text.replace('mark: "Add"', 'mark: "Subtract"'))
    assert check_stage(stage, options=OPTIONS) == 1
    assert conclusion(capsys.readouterr().out).startswith("NO REWARD TELLS GOLD FROM CORRUPTED ANSWERS on sums: mine: ")
    stage.write_text(text.replace("budget_tokens: 100", "budget_column: length"))
    assert check_stage(stage, options=OPTIONS) == 1
    assert conclusion(capsys.readouterr().out).startswith("short on sums: THE REWARD BREAKS: 20 of 20")
    stage.write_text(
        text.replace("budget_tokens: 100}}", "budget_tokens: 100}, sources: [other]}").replace(
            "model: some/model", "model: m, sources: [sums]"
        )
    )
    with pytest.raises(UserError, match="no reward is for the tasks of source `free`"):
        check_stage(stage, options=OPTIONS)


def test_rewards_that_are_not_about_the_gold_need_not_tell_it(stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = stage.read_text()
    stage.write_text(text.replace("length:budget", "knows:abstains").replace(", args: {budget_tokens: 100}", ""))
    assert check_stage(stage, options=OPTIONS) == 0
    stage.write_text(stage.read_text().replace("sources: [sums]", "sources: [free]"))
    assert check_stage(stage, options=OPTIONS) == 0
    assert conclusion(capsys.readouterr().out) == "OK: no reward breaks"


def test_a_stage_is_tried_on_other_rows_with_its_own_columns(stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = stage.with_name("other.jsonl")
    other.write_text("\n".join(json.dumps({"question": f"{n}", "result": str(n)}) for n in range(40, 45)))
    assert check_stage(stage, other, options=OPTIONS) == 0
    assert f"on sums ({other})" in capsys.readouterr().out
    done = command(str(stage), "--args", "{}")
    assert done.returncode == 2 and "the file of a stage has the `args` of its rewards" in done.stderr
    done = command("configs/tiny-cpu")
    assert done.returncode == 2 and "is a folder: give the file of one stage" in done.stderr
    done = command("reward_fns/short_and_right.py:reward")
    assert done.returncode == 2 and "say on which rows to try it" in done.stderr
    done = command(str(stage))
    assert done.returncode == 0 and "heavy: []" in done.stderr, done.stderr
