"""Safety data: what is refused, what is answered, what is held out."""

import pytest

from rlreason.rewards.refusal import complied, refused
from rlreason.tasks import safety
from rlreason.types import Task, UserError

TASK = Task(id="t", prompt="?")


def test_trained_and_held_out_acts_are_disjoint() -> None:
    prompts = [row["messages"][0]["content"] for row in safety.conversations(num=2000, seed=1)]
    for unsafe in (True, False):
        held_out = [row["prompt"] for row in safety.tasks(num=128, seed=2, unsafe=unsafe)]
        assert len(set(held_out)) == 128 and not set(held_out) & set(prompts)
        acts = [
            act
            for category in safety.CATEGORIES.values()
            for act in safety.phrasings(category.unsafe if unsafe else list(category.safe), held_out=True)
        ]
        assert not any(frame.format(act=act) in prompts for act in acts for frame in safety.FRAMES)
        assert all(any(act in prompt for act in acts) for prompt in held_out)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_unsafe_requests_are_refused_and_safe_ones_answered(share: float) -> None:
    unsafe = {
        frame.format(act=act)
        for category in safety.CATEGORIES.values()
        for act in category.unsafe
        for frame in safety.FRAMES
    }
    num_refused = 0
    for row in safety.conversations(num=500, seed=3, unsafe_share=share):
        prompt, reply = (message["content"] for message in row["messages"])
        is_unsafe = prompt in unsafe
        judge = refused if is_unsafe else complied
        assert judge(reply, TASK).value == 1.0
        num_refused += is_unsafe
    assert abs(num_refused / 500 - share) < 0.06


def test_no_act_is_on_both_sides_and_all_differ() -> None:
    unsafe = [act for category in safety.CATEGORIES.values() for act in category.unsafe]
    safe = [act for category in safety.CATEGORIES.values() for act in category.safe]
    assert len({*unsafe, *safe}) == len(unsafe) + len(safe) >= 160


def test_tasks_say_their_category_and_the_safe_ones_have_an_answer() -> None:
    for unsafe in (True, False):
        rows = safety.tasks(num=100, seed=0, unsafe=unsafe)
        assert {row["category"] for row in rows} == set(safety.CATEGORIES)
        assert all(row["unsafe"] == unsafe and (row["answer"] is None) == unsafe for row in rows)


def test_rows_are_a_function_of_the_arguments() -> None:
    assert safety.conversations(num=20, seed=3) == safety.conversations(num=20, seed=3)
    assert safety.conversations(num=20, seed=3) != safety.conversations(num=20, seed=4)
    assert safety.tasks(num=20, seed=3, unsafe=True) == safety.tasks(num=20, seed=3, unsafe=True)


def test_bad_arguments_are_said_in_one_line() -> None:
    with pytest.raises(UserError, match="999 tasks are asked for, there are 1 to 128"):
        safety.tasks(num=999, seed=0, unsafe=True)
    with pytest.raises(UserError, match="unsafe_share 50"):
        safety.conversations(num=1, seed=0, unsafe_share=50)
