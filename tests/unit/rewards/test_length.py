"""Length penalties, with values worked out by hand."""

import pytest

from rlreason.rewards.length import budget, overlong
from rlreason.types import Task, UserError

TASK = Task(id="t", prompt="?", columns={"budget": 200, "bad": "200"})


@pytest.mark.parametrize(
    ("num_tokens", "value"),
    [
        # DAPO's own figures: L_max 20480, L_cache 4096, so the ramp starts at 16384.
        (0, 0.0),
        (16384, 0.0),
        (16385, -1 / 4096),  # (16384 - 16385) / 4096
        (17408, -0.25),  # (16384 - 17408) / 4096 = -1024 / 4096
        (18432, -0.5),
        (20480, -1.0),
        (20481, -1.0),
        (999999, -1.0),
    ],
)
def test_overlong_punishment_follows_dapo(num_tokens: int, value: float) -> None:
    score = overlong("x", TASK, max_tokens=20480, buffer_tokens=4096, num_tokens=num_tokens)
    assert score.value == value
    assert score.status == ("ok" if value == 0 else "wrong")


@pytest.mark.parametrize(
    ("num_tokens", "value"),
    [(0, 0.0), (100, 0.0), (125, -0.25), (150, -0.5), (200, -1.0), (5000, -1.0)],  # -(n - 100) / 100, at least -1
)
def test_the_budget_penalty_is_relative(num_tokens: int, value: float) -> None:
    assert budget("x", TASK, budget_tokens=100, num_tokens=num_tokens).value == value


def test_a_row_may_name_its_own_budget() -> None:
    assert budget("x", TASK, budget_column="budget", num_tokens=250).value == -0.25  # -(250 - 200) / 200


def test_no_token_count_is_an_error_not_a_guess() -> None:
    assert overlong("x", TASK, max_tokens=10, buffer_tokens=5).status == "verifier_error"
    assert budget("x", TASK, budget_tokens=10).status == "verifier_error"


@pytest.mark.parametrize(
    "options",
    [{}, {"budget_tokens": 5, "budget_column": "budget"}, {"budget_tokens": 0}, {"budget_column": "bad"},
     {"budget_column": "absent"}],
)  # fmt: skip
def test_a_wrong_budget_is_the_users_error(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match="budget"):
        budget("x", TASK, num_tokens=5, **options)  # type: ignore[arg-type]


def test_a_wrong_buffer_is_the_users_error() -> None:
    for buffer_tokens in (0, 11):
        with pytest.raises(UserError, match="buffer_tokens"):
            overlong("x", TASK, max_tokens=10, buffer_tokens=buffer_tokens, num_tokens=5)
