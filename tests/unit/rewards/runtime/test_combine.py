"""Verdicts on one response become one number; numbers by hand."""

import pytest

from rlreason.config.rewards import CombineConfig, RewardConfig
from rlreason.rewards.runtime.combine import Judge, actions, combine
from rlreason.types import Sample, Score, ScoreStatus, Task

MATH = RewardConfig(name="math", path="rlreason.rewards.math:reward", weight=0.5)
FORM = RewardConfig(name="form", path="mine.py:form", weight=0.25)
MINE = RewardConfig(
    name="mine",
    path="mine.py:f",
    on_status={"timeout": "drop_group", "verifier_error": "zero", "sandbox_error": "mask"},  # type: ignore[arg-type]
)
SUM = CombineConfig()
TASK = Task(id="0", prompt="p")
SAMPLE = Sample(
    task_id="0", index=0, policy_version=0, num_prompt_tokens=1, num_response_tokens=1, prompt="p",
    response="r", finish_reason="stop",
)  # fmt: skip
GATE = CombineConfig(mode="gate", gate="math")  # type: ignore[arg-type]


def scores(status: ScoreStatus = "ok", **values: float) -> dict[str, Score]:
    return {name: Score(value=value, status=status) for name, value in values.items()}


def test_sum_is_weighted() -> None:
    assert combine(scores(math=1.0, form=-2.0), [MATH, FORM], SUM) == 0.0
    assert combine(scores(form=1.0), [MATH, FORM], SUM) == 0.25
    with pytest.raises(KeyError):
        combine(scores(other=1.0), [MATH, FORM], SUM)


def test_min_is_the_smallest_value() -> None:
    rule = CombineConfig(mode="min")
    watched = RewardConfig(name="watched", path="mine.py:f", weight=0.0)
    assert combine(scores(math=1.0, form=0.25), [MATH, FORM], rule) == 0.25
    assert combine(scores(math=-1.0, form=0.25), [MATH, FORM], rule) == -1.0
    assert combine(scores(math=1.0, form=0.25, watched=0.0), [MATH, FORM, watched], rule) == 0.25


def test_a_format_reward_counts_only_behind_an_open_gate() -> None:
    assert combine(scores(math=1.0, form=1.0), [MATH, FORM], GATE) == 0.75
    assert combine(scores(math=0.0, form=1.0), [MATH, FORM], GATE) == 0.0
    assert combine(scores(math=0.0, form=-1.0), [MATH, FORM], GATE) == 0.0
    assert combine(scores(math=-1.0, form=1.0), [MATH, FORM], GATE) == -0.5


def test_where_the_gate_does_not_apply_nothing_is_gated_and_several_must_all_be_open() -> None:
    assert combine(scores(form=1.0), [MATH, FORM], GATE) == 0.25
    two = CombineConfig(mode="gate", gate=["math", "mine"])
    assert combine(scores(math=1.0, form=1.0), [MATH, FORM, MINE], two) == 0.75
    assert combine(scores(mine=1.0, form=1.0), [MATH, FORM, MINE], two) == 1.25
    assert combine(scores(math=1.0, mine=0.0, form=1.0), [MATH, FORM, MINE], two) == 0.5


def test_a_check_that_did_not_work_is_worth_nothing_whatever_it_says() -> None:
    assert combine(scores("timeout", math=1.0), [MATH], SUM) == 0.0
    assert combine({**scores("sandbox_error", math=1.0), **scores(form=1.0)}, [MATH, FORM], GATE) == 0.0


@pytest.mark.parametrize(
    ("reward", "status", "action"),
    [
        (MATH, "timeout", "zero"),  # shipped: the response was too expensive
        (FORM, "timeout", "mask"),  # a user's: the checker hung
        (FORM, "verifier_error", "mask"),
        (FORM, "sandbox_error", "retry"),
        (MINE, "timeout", "drop_group"),
        (MINE, "verifier_error", "zero"),
        (MINE, "sandbox_error", "mask"),
    ],
)
def test_each_status_has_its_action(reward: RewardConfig, status: ScoreStatus, action: str) -> None:
    found = scores(status, **{reward.name: 0.0})
    assert actions(found, [MATH, FORM, MINE]) == {reward.name: action}
    (judged,) = Judge([MATH, FORM, MINE]).settle(TASK, [SAMPLE], [found]).judged
    assert judged.left_out == ("" if action == "zero" else f"{reward.name}: {status}")
    assert judged.reward == (0.0 if action == "zero" else None)
    assert judged.values == ({reward.name: 0.0} if action == "zero" else {})
    # A timeout that counts as zero is the policy's own fault; a checker that raises is broken even then.
    assert judged.broken == (() if (status, action) == ("timeout", "zero") else (reward.name,))


@pytest.mark.parametrize("status", ["ok", "wrong", "unparseable"])
def test_a_checker_that_worked_costs_nothing(status: ScoreStatus) -> None:
    found = scores(status, math=0.0, form=0.0)
    (judged,) = Judge([MATH, FORM]).settle(TASK, [SAMPLE], [found]).judged
    assert actions(found, [MATH, FORM]) == {} and (judged.broken, judged.left_out) == ((), "")
