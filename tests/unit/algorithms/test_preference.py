"""Preference losses and figures, against numbers worked out by hand.

Notation: S = answers, R = rows.
"""

import math
import random

import pytest
import torch
from torch import Tensor

from rlreason.algorithms.intervals import wilson
from rlreason.algorithms.preference import bradley_terry, centring, plackett_luce, row_accuracy
from rlreason.algorithms.preference_figures import preference_figures


def bt(
    score_S: list[float], row_S: list[int], place_S: list[int], margin: float = 0.0, smoothing: float = 0.0
) -> Tensor:
    margin_S = torch.full((len(score_S),), margin)
    return bradley_terry(
        torch.tensor(score_S), torch.tensor(row_S), torch.tensor(place_S), margin_S, label_smoothing=smoothing
    )


def pl(score_S: list[float], row_S: list[int], place_S: list[int]) -> Tensor:
    return plackett_luce(torch.tensor(score_S), torch.tensor(row_S), torch.tensor(place_S))


def test_bradley_terry_by_hand() -> None:
    # log(1 + e^-1) = 0.313262 and, the wrong way round, log(1 + e) = 1.313262
    assert bt([1.0, 0.0, 1.0, 0.0], [0, 0, 1, 1], [1, 2, 2, 1]).tolist() == pytest.approx(
        [0.313262, 1.313262], abs=1e-6
    )
    # a margin of 0.5: log(1 + e^-0.5) = 0.474077
    assert bt([1.0, 0.0], [0, 0], [1, 2], margin=0.5).item() == pytest.approx(0.474077, abs=1e-6)
    # 0.9 x 0.313262 + 0.1 x 1.313262 = 0.413262
    assert bt([1.0, 0.0], [0, 0], [1, 2], smoothing=0.1).item() == pytest.approx(0.413262, abs=1e-6)


def test_bradley_terry_of_a_ranking_is_the_mean_over_decided_pairs() -> None:
    # places 1, 2, 2: the pairs are (3, 1) and (3, 0): log(1 + e^-2) = 0.126928, log(1 + e^-3) = 0.048587
    assert bt([3.0, 1.0, 0.0], [0] * 3, [1, 2, 2]).item() == pytest.approx((0.126928 + 0.048587) / 2, abs=1e-6)
    assert bt([3.0, 1.0], [0, 0], [1, 1]).tolist() == [0.0], "ties alone decide nothing"


def test_plackett_luce_by_hand() -> None:
    # log(1 + e^-1 + e^-2) = 0.407606 and log(1 + e^-1) = 0.313262
    assert pl([2.0, 1.0, 0.0], [0] * 3, [1, 2, 3]).item() == pytest.approx((0.407606 + 0.313262) / 2, abs=1e-6)
    # the first two are tied: each is picked from all three: 0.407606 and 1 + 0.407606
    assert pl([2.0, 1.0, 0.0], [0] * 3, [1, 1, 2]).item() == pytest.approx(0.407606 + 0.5, abs=1e-6)
    pair = ([0.3, -0.4], [0, 0], [2, 1])
    assert pl(*pair).item() == pytest.approx(bt(*pair).item(), abs=1e-6)
    assert pl([1.0, 2.0], [0, 0], [1, 1]).tolist() == [0.0]


def test_plackett_luce_is_the_probability_of_the_ranking() -> None:
    """Over all orders of three answers the probabilities sum to 1."""
    orders = [(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)]
    total = sum(math.exp(-2 * pl([0.5, -1.0, 2.0], [0] * 3, list(places)).item()) for places in orders)
    assert total == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("loss", [bt, pl])
def test_gradient_is_that_of_finite_differences(loss: object) -> None:
    score_S = torch.tensor([0.3, -0.2, 0.9, 0.1, 0.4], dtype=torch.float64, requires_grad=True)
    row_S, place_S = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([2, 1, 3, 1, 2])
    margin_S = torch.full((5,), 0.2, dtype=torch.float64)

    def total(score_S: Tensor) -> Tensor:
        if loss is pl:
            return plackett_luce(score_S, row_S, place_S).sum()
        return bradley_terry(score_S, row_S, place_S, margin_S, label_smoothing=0.1).sum()

    assert torch.autograd.gradcheck(total, (score_S,))


def test_centring_and_accuracy() -> None:
    score_S, row_S = torch.tensor([2.0, 1.0, -1.0, 1.0]), torch.tensor([0, 0, 1, 1])
    assert centring(score_S, row_S).tolist() == [9.0, 0.0]  # (2 + 1)^2 and (-1 + 1)^2
    accuracy_R, gap_R = row_accuracy(score_S, row_S, torch.tensor([1, 2, 1, 2]))
    assert accuracy_R.tolist() == [1.0, 0.0] and gap_R.tolist() == [1.0, -2.0]
    accuracy_R, _ = row_accuracy(
        torch.tensor([1.0, 1.0, 0.0]), torch.zeros(3, dtype=torch.long), torch.tensor([1, 2, 3])
    )
    assert accuracy_R.item() == pytest.approx(2.5 / 3)


def test_figures_by_hand() -> None:
    found = preference_figures(
        scores=[[2.0, 0.0], [1.0, 1.0], [0.0, 2.0], [3.0, 1.0]],
        places=[[1, 2], [1, 2], [1, 2], [2, 1]],
        lengths=[[5, 3], [4, 4], [2, 6], [9, 8]],
        prompts="abcd",
    )
    # right, equal, wrong, wrong
    assert found["accuracy"] == pytest.approx(1.5 / 4)
    # prompts: 0.625, 0.125, -0.375, -0.375 away from the mean: the sum of squares is 0.6875, the variance 4/3 of a
    # sixteenth of it, 0.0572917; 0.375 x 0.625 over that is 4.09 pairs, of which there are 4
    assert (found["accuracy_low"], found["accuracy_high"]) == pytest.approx(wilson(0.375, 4))
    assert found["num_pairs"] == 4 and found["gap"] == pytest.approx((2 + 0 - 2 - 2) / 4)
    # gaps 2, 0, -2, -2: log(1 + e^-2) = 0.126928, log 2 = 0.693147, twice 2.126928
    assert found["log_loss"] == pytest.approx((0.126928 + 0.693147 + 2 * 2.126928) / 4, abs=1e-6)
    # confidences 0.880797 three times with 1 right of 3, and 0.5 with a half right
    assert found["calibration_error"] == pytest.approx((3 * 0.880797 - 1) / 4, abs=1e-6)
    # the better answer is longer, equal, shorter, shorter; the higher scored one longer in all three
    assert found["longer_chosen"] == pytest.approx(1 / 3) and found["longer_scored"] == 1.0
    # centred scores 1, 0, 1, 1 beside lengths 1, 0, 2, 0.5 (and their negatives): 3.5 / sqrt(3 x 5.25)
    assert found["length_correlation"] == pytest.approx(3.5 / math.sqrt(3 * 5.25))


def test_scores_without_length_have_no_correlation() -> None:
    found = preference_figures(scores=[[1.0, 0.0]], places=[[1, 2]], lengths=[[4, 4]], prompts=[0])
    assert (found["length_correlation"], found["longer_chosen"], found["accuracy"]) == (0.0, 0.5, 1.0)
    assert (found["accuracy_low"], found["accuracy_high"]) == pytest.approx(wilson(1.0, 1)), "one prompt proves little"


def test_more_labellers_of_a_prompt_are_no_more_prompts() -> None:
    rng = random.Random(0)
    rows = [[rng.gauss(0.5, 1.0), 0.0] for _ in range(50)]

    def of(rows: list[list[float]], prompts: list[int]) -> tuple[float, float, float]:
        found = preference_figures(rows, [[1, 2]] * len(rows), [[1, 1]] * len(rows), prompts)
        return found["accuracy"], found["accuracy_low"], found["accuracy_high"]

    once = of(rows, list(range(50)))
    assert of(rows * 3, list(range(50)) * 3) == pytest.approx(once), "three people who agree"
    rights = sum(row[0] > 0 for row in rows)
    assert once == pytest.approx((rights / 50, *wilson(rights / 50, 49))), "49: the variance has one degree less"
    pooled = of(rows * 3, list(range(150)))
    assert pooled[2] - pooled[1] < 0.7 * (once[2] - once[1]), "as if they were other prompts"


def test_one_wrong_pair_proves_no_more_than_none() -> None:
    """A hundred prompts of ten pairs each: a single wrong pair does not show that the others are independent."""
    lows = []
    for num_wrong in (0, 1, 3):
        rows = [[-1.0, 0.0] if number < num_wrong else [1.0, 0.0] for number in range(1000)]
        prompts = [number % 100 for number in range(1000)]
        lows.append(preference_figures(rows, [[1, 2]] * 1000, [[1, 1]] * 1000, prompts)["accuracy_low"])
    assert lows == sorted(lows, reverse=True) and lows[0] == pytest.approx(wilson(1.0, 100)[0])
