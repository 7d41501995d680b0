"""Tasks of reasoning-gym: plain, repeatable, and no two seeds alike."""

import ast
import json
import sys

import pytest

from rlreason.tasks import gym
from rlreason.types import UserError


def test_a_missing_package_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", None)
    with pytest.raises(UserError, match=r"pip install 'reasoning-gym==0\.1\.25'"):
        gym.tasks(name="gcd", num=1, seed=0)


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if "missing" not in request.node.name:
        pytest.importorskip("reasoning_gym", reason="the extra `gym` is not installed")


def test_rows_are_plain_json_and_the_problem_reads_back() -> None:
    for name in ("gcd", "knights_knaves", "rotate_matrix"):  # numpy strings and tuples among their values
        rows = gym.tasks(name=name, num=3, seed=0)
        assert json.loads(json.dumps(rows)) == rows
        for row in rows:
            problem = ast.literal_eval(row["gym"]["entry"])
            assert (problem["question"], problem["answer"]) == (row["prompt"], row["answer"])


def test_tuples_stay_tuples() -> None:
    problem = ast.literal_eval(gym.tasks(name="knights_knaves", num=1, seed=0)[0]["gym"]["entry"])
    assert isinstance(problem["metadata"]["solution"], tuple)


def test_the_same_arguments_give_the_same_rows_and_more_rows_keep_the_first() -> None:
    rows = gym.tasks(name="chain_sum", num=5, seed=3)
    assert gym.tasks(name="chain_sum", num=9, seed=3)[:5] == rows


def test_neighbouring_seeds_share_no_problem() -> None:
    first, second = ({row["prompt"] for row in gym.tasks(name="chain_sum", num=200, seed=s)} for s in (1, 2))
    assert not first & second


def test_args_reach_the_generator() -> None:
    (row,) = gym.tasks(name="chain_sum", num=1, seed=0, args={"min_terms": 7, "max_terms": 7})
    assert row["prompt"].count("+") + row["prompt"].count(" - ") == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "countdwn"}, "no generator `countdwn`; did you mean countdown"),
        ({"name": "puzzle24"}, "not offered: its verifier does not look"),
        ({"name": "gcd", "args": {"max_nubers": 3}}, "`gcd` refuses its args: .*max_nubers"),
        ({"name": "gcd", "args": {"min_numbers": 9, "max_numbers": 2}}, "`gcd` refuses its args"),
        ({"name": "gcd", "args": {"size": 3}}, "`size` is set by `num`"),
        ({"name": "gcd", "num": 0}, "at least one task"),
    ],
)
def test_bad_input_is_one_line(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        gym.tasks(**{"num": 1, "seed": 0} | arguments)
    assert "\n" not in str(caught.value)
