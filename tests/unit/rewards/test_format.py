"""Form of the response: a pattern, and the think block."""

import time

import pytest

from rlreason.rewards.format import regex, think
from rlreason.types import Task, UserError

TASK = Task(id="t", prompt="?")


def test_regex_searches_or_matches_the_whole() -> None:
    assert regex("so x = 4.", TASK, pattern=r"x = \d").value == 1.0
    assert regex("so x = 4.", TASK, pattern=r"x = \d", whole=True).status == "wrong"
    assert regex("a\nb", TASK, pattern=r"(?s)a.b", whole=True).value == 1.0
    assert regex("", TASK, pattern="x").value == 0.0
    assert regex("", TASK, pattern="(x)?").value == 1.0  # an empty match is a match


def test_a_pattern_that_backtracks_for_ever_is_a_timeout() -> None:
    regex("a", TASK, pattern="a")  # the child's start is no part of the deadline
    start = time.perf_counter()
    score = regex("a" * 60, TASK, pattern="(a+)+b", timeout_s=0.3)
    assert (score.value, score.status) == (0.0, "timeout")
    assert time.perf_counter() - start < 3.0
    assert regex("a", TASK, pattern="a").value == 1.0


def test_a_broken_pattern_is_the_users_error() -> None:
    with pytest.raises(UserError, match="not a regular expression"):
        regex("a", TASK, pattern="(")


@pytest.mark.parametrize(
    "response", ["<think>\n6*7\n</think>\n42", "  <think>a < b</think>\n\n\\boxed{1}\n", "<think>x</think><b>1</b>"]
)
def test_a_thought_and_an_answer_are_well_formed(response: str) -> None:
    score = think(response, TASK)
    assert (score.value, score.status) == (1.0, "ok"), score.detail


@pytest.mark.parametrize(
    "response",
    [
        "", "42", "<think>x", "x</think>42", "<think></think>42", "<think> \n</think>42", "<think>x</think>",
        "<think>x</think> \n", "Well. <think>x</think>42", "<think>x</think>42<think>y</think>",
        "<think>x</think>42</think>", "<think><think>x</think>42", "<think>x</think></think>42", "</think>x<think>42",
    ],
)  # fmt: skip
def test_anything_else_is_malformed(response: str) -> None:
    score = think(response, TASK)
    assert (score.value, score.status) == (0.0, "wrong")


def test_other_tags_and_an_opening_tag_in_the_prompt() -> None:
    assert think("<reason>x</reason>42", TASK, think_tag="reason").value == 1.0
    assert think("x</think>42", TASK, opened_in_prompt=True).value == 1.0
    assert think("<think>x</think>42", TASK, opened_in_prompt=True).value == 0.0


def test_with_an_answer_tag_nothing_may_stand_outside() -> None:
    def value(response: str) -> float:
        return think(response, TASK, answer_tag="answer").value

    assert value("<think>x</think>\n<answer> 42 </answer>\n") == 1.0
    assert value("<think>x</think>42") == 0.0
    assert value("<think>x</think><answer> </answer>") == 0.0
    assert value("<think>x</think>so <answer>42</answer>") == 0.0
    assert value("<think>x</think><answer>42</answer>.") == 0.0
    assert value("<think>x</think><answer>1</answer><answer>2</answer>") == 0.0
    assert value("<think><answer>1</answer></think><answer>2</answer>") == 0.0
