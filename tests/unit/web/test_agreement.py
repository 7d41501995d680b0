"""Krippendorff's alpha against the paper's own example and by hand."""

import math
from itertools import chain

import pytest

from rlreason.web.label.agreement import krippendorff_alpha, pairwise_labels

# Krippendorff 2011, section C: four observers, twelve units, missing data.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
UNITS = [[value for value in unit if value is not None] for unit in zip(*OBSERVERS, strict=True)]


@pytest.mark.parametrize(("level", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_paper_s_example(level: str, expected: float) -> None:
    assert krippendorff_alpha(UNITS, level) == pytest.approx(expected, abs=5e-4)  # type: ignore[arg-type]


def test_by_hand() -> None:
    # Coincidences: 1-1 twice, 2-2 twice, 1-2 and 2-1 once each: n = 6, three of each; observed 2, expected 18.
    assert krippendorff_alpha([(1, 1), (2, 2), (1, 2)], "nominal") == pytest.approx(1 - 5 * 2 / 18)
    assert krippendorff_alpha([(1, 1), (-1, -1), (0, 0)]) == 1.0
    assert krippendorff_alpha([(1, -1), (-1, 1)]) < 0


def test_nothing_to_compare() -> None:
    assert math.isnan(krippendorff_alpha([(1,), (2,)])) and math.isnan(krippendorff_alpha([(1, 1), (1, 1)]))
    assert math.isnan(krippendorff_alpha([]))


def test_pairs_of_rankings() -> None:
    # Two labellers of three answers: pairs (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1).
    assert pairwise_labels([(1, 2, 2), (2, 1, 3)]) == [(1, -1), (1, 1), (-1, 1), (0, 1), (-1, -1), (0, -1)]


def test_the_order_of_the_answers_means_nothing() -> None:
    of_prompts = [[(1, 2), (1, 2)], [(1, 2), (1, 2)], [(1, 2), (1, 1)], [(1, 2), (2, 1)]]
    turned = [[(other, one) for one, other in places] for places in of_prompts]
    mixed = of_prompts[:2] + turned[2:]
    alphas = [krippendorff_alpha(chain(*map(pairwise_labels, prompts))) for prompts in (of_prompts, turned, mixed)]
    assert alphas == [pytest.approx(alphas[0])] * 3
    assert krippendorff_alpha(chain(*map(pairwise_labels, of_prompts[:2]))) == 1.0, "all prefer the first: they agree"
