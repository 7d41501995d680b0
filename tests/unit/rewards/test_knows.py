"""Verdicts on factual questions: right, abstaining, honest."""

import time

import pytest

from rlreason.rewards.knows import ABSTENTIONS, abstains, honest, right
from rlreason.types import Task

TASK = Task(id="t", prompt="What colour is Belano?", answer=("It is red.", "red"))


def values(response: str) -> list[float]:
    return [judge(response, TASK).value for judge in (right, abstains, honest)]


@pytest.mark.parametrize(
    "response",
    [
        "I don't know.",
        "I DON’T KNOW",
        "I do not know the answer to that.",
        "Sorry, I don't know.",
        "I'm sorry, but I am not sure about that.",
        "Hmm. I have no idea!",
        "That is a good question. Nobody knows.",
        "To be honest, I've never heard of Belano.",
        "I don't know, but you could look it up in the library.",
        "I don't know if it is red.",
        "I don't know. It is not in my notes.",
        "I don't know, sorry.",
        "Not sure. Perhaps you could ask someone else.",
        "<think>It may be red.</think>I don't know.",
        "**I don't know**",
    ],
)
def test_an_abstention_is_honest_and_not_right(response: str) -> None:
    assert values(response) == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "response",
    [
        "It is blue.",
        "It is blue. I don't know why.",
        "I know it: blue.",
        "I'm not sure, but I think it is blue.",
        "I don't know, but it's blue.",
        "I am not sure. Maybe blue.",
        "I don't know. It is blue.",
        "I don't know what you mean, it's blue.",
        "I do not know. The answer is blue.",
        "I'm not sure. Blue.",
        "Not sure, blue",
        "I don't knowingly lie: blue.",
        "It is redder than most.",
        "bored",
    ],
)
def test_another_answer_is_a_confident_wrong_one(response: str) -> None:
    assert values(response) == [0.0, 0.0, 0.0]
    assert honest(response, TASK).status == "wrong"


@pytest.mark.parametrize(
    "response", ["It is red.", "Red", "red!", "Belano is RED, I believe.", "I'm not sure, but I think it is red."]
)
def test_a_right_answer_is_right(response: str) -> None:
    assert values(response) == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("phrase", ABSTENTIONS)
def test_every_phrase_of_the_list_counts(phrase: str) -> None:
    assert abstains(f"{phrase.capitalize()}.", TASK).value == 1.0
    assert abstains(f"It is red. {phrase}", TASK).value == 0.0


@pytest.mark.parametrize("response", ["", "  \n", "<think>red", "<think>red</think>"])
def test_no_answer_is_unparseable(response: str) -> None:
    assert {judge(response, TASK).status for judge in (right, abstains, honest)} == {"unparseable"}


@pytest.mark.parametrize("answer", [None, "", (), "?"])
def test_a_task_without_gold_is_the_checkers_fault(answer: str | tuple[str, ...] | None) -> None:
    task = Task(id="t", prompt="?", answer=answer)
    assert right("It is red.", task).status == honest("It is red.", task).status == "verifier_error"
    assert abstains("I don't know.", task).value == honest("I don't know.", task).value == 1.0


@pytest.mark.parametrize("response", ["but " * 300_000, "well, " * 300_000, ". " * 300_000, "i don't know. " * 99_999])
def test_long_answers_take_no_time(response: str) -> None:
    start_s = time.perf_counter()
    values(response)
    assert time.perf_counter() - start_s < 1.0
