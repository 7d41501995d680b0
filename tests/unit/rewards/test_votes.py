"""Votes of a majority: equal answers are one vote, for the judge's own notion of equality."""

import pytest

from rlreason.algorithms.evaluation import maj_at_k
from rlreason.config.rewards import RewardConfig
from rlreason.rewards import votes as module
from rlreason.rewards.math import verify
from rlreason.rewards.votes import votes


def judge(name: str, **args: object) -> RewardConfig:
    return RewardConfig(name="judge", path=f"rlreason.rewards.{name}", args=args)


def boxed(*answers: str) -> list[str]:
    return [rf"\boxed{{{answer}}}" for answer in answers]


@pytest.mark.parametrize(
    ("answers", "gold", "majority"),
    [
        ([r"\frac12", r"\frac{1}{2}", "0.5", "3", "3"], "1/2", 1.0),  # three right texts, two equal wrong ones
        ([r"\frac12", "0.5", "3", "3.0", r"\frac{6}{2}"], "1/2", 0.0),  # wrong ones are one vote as well
        (["x+1", "1+x", "2x", r"x\cdot 2", "x + x"], "x+1", 0.0),
        (["7", "8", "9", "7.0"], "7", 1.0),
        (["8", "7", "9", "10"], "7", 0.0),  # a tie: the first counts
        (["3", "3"], "7", 0.0),
    ],
)
def test_equal_mathematics_is_one_vote(answers: list[str], gold: str, majority: float) -> None:
    responses = boxed(*answers)
    right = [verify(response, gold).value >= 1.0 for response in responses]
    assert maj_at_k(right, votes(responses, right, judge("math:reward"))) == majority


def test_a_class_does_not_depend_on_the_direction_of_a_comparison() -> None:
    texts = ["0.333333", r"\frac13", "1/3", "2"]
    for order in (texts, texts[::-1]):
        found = votes(boxed(*order, "9"), [False] * 4 + [True], judge("math:reward"))
        by_text = dict(zip(order, found[:4], strict=True))
        assert len({by_text[text] for text in texts[:3]}) == 1 and by_text["2"] != by_text["1/3"]


def test_numbers_letters_and_texts_are_compared_as_their_reward_does() -> None:
    wrong = [False, False, False]
    assert len(set(votes(["It is 7.0", "so 7", "1,000"], wrong, judge("match:numeric")))) == 2
    assert votes(["It is 7.", "7", "The answer is 7."], wrong, judge("match:numeric", alone=True))[0] is None
    assert len(set(votes(["ANSWER: C", "(C)", "I think"], wrong, judge("match:choice")))) == 2
    assert len(set(votes(["New  York", "<think>?</think>New York", "Rome"], wrong, judge("match:exact_text")))) == 2
    assert len(set(votes([r"\boxed{ 7 }", "the answer is 7", "#### 8"], wrong, None))) == 2


def test_right_answers_are_one_vote_and_no_answer_is_none() -> None:
    found = votes(["seven", r"\boxed{7}", r"\boxed{8}", ""], [True, True, False, False], judge("judge:reward"))
    assert found[0] == found[1] != found[2] and found[3] is None


def test_the_number_of_comparisons_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COMPARISONS", 1)
    right = [True, False, False, False]
    found = votes(boxed("7", "2x", "x + x", "2 x + 0"), right, judge("math:reward"))
    assert found[1] == found[2] != found[3], "what is left votes by its text"
