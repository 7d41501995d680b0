"""avg@k, pass@k, maj@k by hand."""

import pytest

from rlreason.algorithms.evaluation import avg_at_k, maj_at_k, pass_at_k


@pytest.mark.parametrize(
    ("correct", "average", "passed"),
    [
        ([True, False, False, True], 0.5, 1.0),
        ([False, False, False], 0.0, 0.0),
        ([True], 1.0, 1.0),
        ([False, False, False, True], 0.25, 1.0),
    ],
)
def test_average_and_pass(correct: list[bool], average: float, passed: float) -> None:
    assert avg_at_k(correct) == average
    assert pass_at_k(correct) == passed


@pytest.mark.parametrize(
    ("answers", "right", "majority"),
    [
        (["7", "3", "7"], "7", 1.0),
        (["7", "3", "3"], "7", 0.0),
        (["3", "7", "7", "3"], "3", 1.0),  # a tie: the first answer counts
        (["3", "7", "7", "3"], "7", 0.0),
        ([None, None, None, "7"], "7", 1.0),  # no answer is no vote
        ([None, None, "3", "7", "7"], "7", 1.0),
        ([None, None], "7", 0.0),
        ([], "7", 0.0),
    ],
)
def test_majority(answers: list[str | None], right: str, majority: float) -> None:
    assert maj_at_k([answer == right for answer in answers], answers) == majority
