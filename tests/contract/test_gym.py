"""Every generator of reasoning-gym that is offered: its own gold answer scores 1.0, garbage 0.0, nothing breaks."""

import ast
import json
import warnings

import pytest

from rlreason.rewards import gym
from rlreason.tasks import gym as data
from rlreason.types import Score, Task

pytest.importorskip("reasoning_gym", reason="the extra `gym` is not installed")

GOLD_IN_METADATA = {
    "graph_color": "possible_answer",
    "propositional_logic": "example_answer",
    "rubiks_cube": "example_correct_answer",
}
"""Generators with many right answers, and where they keep an example."""
NO_GOLD = ("boxnet", "rush_hour")
GARBAGE = ("", "I don't know.", "<answer>zzz</answer>", r"\boxed{-7.25}", "<answer>[[]]</answer>", '{"a": 1}', "nan")


def names() -> list[str]:
    from reasoning_gym.factory import DATASETS

    return sorted(set(DATASETS) - set(data.UNSOUND))


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_gold_scores_full_and_garbage_nothing(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = data.tasks(name=name, num=2, seed=5)
    for row in rows:
        task = Task(id="t", prompt=row["prompt"], answer=row["answer"], source="gym", columns={"gym": row["gym"]})
        gold = row["answer"]
        if name in GOLD_IN_METADATA:
            gold = ast.literal_eval(row["gym"]["entry"])["metadata"][GOLD_IN_METADATA[name]]
            gold = gold if isinstance(gold, str) else json.dumps(gold)
        if name not in NO_GOLD:
            verdict = gym.reward(f"<answer>{gold}</answer>", task, timeout_s=60.0)
            assert (verdict.value, verdict.status) == (1.0, "ok"), (gold, verdict.detail)
        for garbage in GARBAGE:
            verdict = gym.reward(garbage, task, timeout_s=60.0)
            assert (verdict.value, verdict.status in ("wrong", "unparseable")) == (0.0, True), (garbage, verdict)


def task(name: str, seed: int = 0) -> Task:
    (row,) = data.tasks(name=name, num=1, seed=seed)
    return Task(id="t", prompt=row["prompt"], answer=row["answer"], source="gym", columns={"gym": row["gym"]})


def judge(response: str, of: Task, **options: bool) -> Score:
    return gym.reward(response, of, timeout_s=20.0, **options)


@pytest.mark.parametrize("form", ["{}", "<answer>{}</answer>", "<think>hm, 3?</think>\nSo <answer>\n{}\n</answer>"])
@pytest.mark.parametrize("name", ["gcd", "rotate_matrix", "knights_knaves", "countdown", "number_sorting"])
def test_gold_scores_full_bare_and_tagged(name: str, form: str) -> None:
    one = task(name)
    assert judge(form.replace("{}", str(one.answer)), one) == Score(value=1.0, status="ok", detail=f"{name}: 1")


def test_boxes_and_phrases_are_read() -> None:
    one = task("gcd")
    assert judge(rf"It is \boxed{{{one.answer}}}.", one).value == 1.0
    assert judge(f"The answer is {one.answer}.", one).value == 1.0


@pytest.mark.parametrize("name", ["gcd", "rotate_matrix", "knights_knaves", "countdown", "prime_factorization"])
@pytest.mark.parametrize("garbage", ["", "I don't know.", "<answer>-7</answer>", "<think>1", "\ud800\x00", "nan"])
def test_garbage_scores_nothing(name: str, garbage: str) -> None:
    verdict = judge(garbage, task(name))
    assert verdict.value == 0.0
    assert verdict.status in ("wrong", "unparseable")


def test_the_right_answer_among_others_does_not_count() -> None:
    one = task("gcd")
    wrong = str(int(str(one.answer)) + 1)
    assert judge(f"<answer>{one.answer}</answer> or <answer>{wrong}</answer>", one).value == 0.0
    assert judge(f"<answer>{wrong}</answer>\n{one.answer}", one).value == 0.0


def test_marks_for_the_form_alone_count_only_where_they_are_asked_for() -> None:
    one = task("countdown")
    assert judge("<answer>1 + 1</answer>", one).value == 0.0
    assert judge("<answer>1 + 1</answer>", one, partial=True).value == pytest.approx(0.05)
    assert judge(f"<answer>{one.answer}</answer>", one, partial=True).value == 1.0


def test_a_verdict_that_takes_too_long_is_a_timeout() -> None:
    verdict = gym.reward("<answer>9**9**9**9</answer>", task("countdown"), timeout_s=0.5)
    assert (verdict.value, verdict.status) == (0.0, "timeout")
