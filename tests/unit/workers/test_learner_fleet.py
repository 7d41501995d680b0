"""What a fleet makes of its ranks' figures; no Ray."""

from math import inf, nan
from typing import Any

import pytest

from rlreason.types import NotFinite, UpdateStats
from rlreason.workers.learner_fleet import merge_stats, require_finite

ROWS = [f"chat row {number}" for number in (7, 7, 12, 3, 9, 4)]


def rank(**fields: Any) -> UpdateStats:
    values = {"loss": 0.5, "sums": {}, "num_tokens": 3, "grad_norm": 1.0, "lr": 0.01, "largest_weight": 2.0}
    return UpdateStats(**{**values, **fields})


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_one_rank_with_a_number_that_is_not_finite_stops_the_run(bad: float) -> None:
    require_finite([rank(), rank()], "policy", 1, ROWS)
    assert merge_stats([rank(), rank()], "policy")["policy/loss"] == 1.0
    for place in (0, 1):
        for field, said in (("loss", "policy/loss"), ("largest_weight", "a trained weight")):
            ranks = [rank(), rank()]
            ranks[place] = rank(**{field: bad})
            with pytest.raises(NotFinite, match=f"^step 3: {said} is {bad}; trained on chat row 7, chat row 12, chat"):
                require_finite(ranks, "policy", 3, ROWS)


def test_the_rows_to_blame_are_named_and_what_to_try() -> None:
    with pytest.raises(NotFinite) as error:
        require_finite([rank(loss=nan, suspects=("chat row 12",)), rank()], "critic", 3, ROWS)
    assert str(error.value) == (
        "step 3: critic/loss is nan; trained on chat row 12; lower critic.lr (0.01) or raise "
        "critic.warmup_steps, and look at these rows"
    )
    assert error.value.batch == ("chat row 12",)
    with pytest.raises(NotFinite, match="chat row 7, chat row 12, chat row 3, chat row 9 and 1 more; lower") as error:
        require_finite([rank(grad_norm=inf)], "policy", 3, ROWS)
    assert error.value.batch == ("chat row 7", "chat row 12", "chat row 3", "chat row 9", "chat row 4")
