"""Published programs and their tests: every reference solution is right, and what plain Python finds wrong stays wrong.

Data: HumanEval and sanitised MBPP under RLREASON_TEST_DATA. Whether a changed solution is wrong is decided here, in
this process and by plain `exec`, never by the sandbox.
"""

import ast
import contextlib
import copy
import gzip
import io
import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlreason.rewards.code import check, reward
from rlreason.rewards.code.program_tests import header
from rlreason.types import Task

MUTANTS_OF_EACH = 3
PLAIN_LIMIT_S = 0.5
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Add, ast.Mod: ast.Add,
    ast.Pow: ast.Mult, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


def data(name: str) -> Path:
    if "RLREASON_TEST_DATA" not in os.environ:
        pytest.skip("RLREASON_TEST_DATA is not set")
    return Path(os.environ["RLREASON_TEST_DATA"]) / name


def tasks(rows: list[dict[str, Any]]) -> list[Task]:
    return [
        Task(id=str(row["task_id"]), prompt=row["prompt"], columns={k: v for k, v in row.items() if k != "prompt"})
        for row in rows
    ]


@pytest.fixture(scope="module")
def humaneval() -> list[Task]:
    with gzip.open(data("humaneval/HumanEval.jsonl.gz"), "rt", encoding="utf-8") as file:
        return tasks([json.loads(line) for line in file])


def mutants(program: str, function: str) -> Iterator[str]:
    """The program with one operator, comparison, constant or returned value of the function changed."""
    tree = ast.parse(program)
    body = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function).body
    body = body[1:] if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) else body
    for node in (node for statement in body for node in ast.walk(statement)):
        for change in changes(node):
            before = copy.copy(node.__dict__)
            node.__dict__.update(change)
            yield ast.unparse(ast.fix_missing_locations(tree))
            node.__dict__.update(before)


def changes(node: ast.AST) -> Iterator[dict[str, Any]]:
    """New values of a node's fields."""
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPPED:
        yield {"op": SWAPPED[type(node.op)]()}
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        yield {"ops": [SWAPPED[type(node.ops[0])](), *node.ops[1:]]}
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield {"value": not node.value}
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield {"value": node.value + 1}
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield {"value": node.value + "x"}
    elif isinstance(node, ast.Return):
        yield {"value": ast.Constant(None)}


class TooLong(BaseException):
    """Raised by the timer; no program catches it."""


def _too_long(*_: object) -> None:
    raise TooLong


def is_wrong(program: str, task: Task) -> bool:
    """True if its tests fail in plain Python. What takes too long is left out: False."""
    scope: dict[str, Any] = {"__name__": "plain"}
    previous = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, PLAIN_LIMIT_S)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(program, scope)
            exec(task.columns["test"], scope)
            scope["check"](scope[task.columns["entry_point"]])
    except TooLong:
        return False
    except (Exception, RecursionError):
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    return False


@pytest.mark.slow
def test_every_humaneval_solution_is_right(humaneval: list[Task]) -> None:
    assert len(humaneval) == 164
    for task in humaneval:
        body, name = task.columns["canonical_solution"], task.columns["entry_point"]
        assert reward(body, task).value == 1.0, task.id
        helpers = header(task, name).tests  # three tests call a function of the prompt
        called = {"type": "assert", "code": f"{helpers}{task.columns['test']}\ncheck({name})"}
        score = check(f"```python\n{task.prompt}{body}\n```", [called])
        assert score.value == 1.0, f"{task.id}: {score.detail}"


@pytest.mark.long
@pytest.mark.slow
def test_every_mbpp_solution_is_right() -> None:
    rows = json.loads(data("mbpp_sanitized/sanitized-mbpp.json").read_text(encoding="utf-8"))
    assert len(rows) == 427
    for task in tasks(rows):
        score = reward(task.columns["code"], task)
        assert score.value == 1.0, f"{task.id}: {score.detail}"


@pytest.mark.slow
def test_what_plain_python_finds_wrong_scores_nothing(humaneval: list[Task]) -> None:
    num_mutants = 0
    for task in humaneval:
        program = f"{task.prompt}{task.columns['canonical_solution']}"
        assert not is_wrong(program, task)
        found = mutants(program, task.columns["entry_point"])
        wrong = list(itertools.islice((mutant for mutant in found if is_wrong(mutant, task)), MUTANTS_OF_EACH))
        assert wrong, f"{task.id}: no change makes it wrong"
        for mutant in wrong:
            score = reward(mutant, task)
            assert (score.value, score.status) in ((0.0, "wrong"), (0.0, "timeout")), f"{task.id}: {score}\n{mutant}"
        num_mutants += len(wrong)
    assert num_mutants > 2 * len(humaneval)
