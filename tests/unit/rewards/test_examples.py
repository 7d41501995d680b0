"""What the worked examples teach, with values worked out by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.rewards import RewardConfig
from rlreason.paths import find_function
from rlreason.rewards.runtime.reward_set import RewardSet
from rlreason.types import Score, Task

FOLDER = Path(__file__).resolve().parents[3] / "reward_fns"
TASK = Task(id="t", prompt="6*7=", answer="42")


def example(name: str, response: str, task: Task = TASK, **options: Any) -> Score:
    score = find_function(f"{FOLDER}/{name}.py:reward")(response, task, **options)
    assert isinstance(score, Score)
    return score


@pytest.mark.parametrize(
    ("num_tokens", "value"),
    [(None, 1.0), (10, 1.0), (300, 1.0), (900, 0.9), (1500, 0.8), (9999, 0.8)],  # 1 - 0.2 * (n - 300) / 1200
)
def test_brevity_is_paid_for_right_answers_only(num_tokens: int | None, value: float) -> None:
    assert example("short_and_right", r"\boxed{42}", num_tokens=num_tokens).value == pytest.approx(value)
    wrong = example("short_and_right", r"\boxed{41}", num_tokens=num_tokens)
    assert (wrong.value, wrong.status) == (0.0, "wrong")


def test_a_broken_check_stays_one() -> None:
    for name in ("short_and_right", "format_gate"):
        response = "<think>x</think>" * (name == "format_gate") + "42"
        assert (
            example(
                name,
                response,
                Task(id="t", prompt="?"),
            ).status
            == "verifier_error"
        )


@pytest.mark.parametrize(
    ("response", "value", "status"),
    [
        ("<think>6*7</think>42", 1.0, "ok"),
        ("<think>6*7</think>41", 0.1, "wrong"),
        ("<think>6*7</think>who knows?", 0.1, "unparseable"),
        ("42", 0.0, "wrong"),
        ("<think>42", 0.0, "wrong"),
    ],
)
def test_nothing_counts_before_the_gate(response: str, value: float, status: str) -> None:
    score = example("format_gate", response)
    assert (score.value, score.status) == (value, status)
    assert example("format_gate", "<think>6*7</think>41", credit=0.0).value == 0.0


@pytest.mark.parametrize(
    ("response", "gold"),
    [
        ("1.5 km", "1500 m"), ("It is 1500m.", "1.5 km"), ("first 3 s, then 150000 cm", "1500 m"),
        ("90 km/h", "25 m/s"), ("1 mi", "1609344 mm"), ("0.1 lb", "45.359237 g"), ("-2 h", "-7200 s"),
    ],
)  # fmt: skip
def test_units_convert_exactly(response: str, gold: str) -> None:
    score = example("units", response, Task(id="t", prompt="?", answer=gold))
    assert (score.value, score.status) == (1.0, "ok"), score.detail


@pytest.mark.parametrize(
    ("response", "status"),
    [
        ("1500", "unparseable"), ("1500 miles", "unparseable"), ("1500 m/s", "wrong"), ("1500 kg", "wrong"),
        ("1500.0000001 m", "wrong"), ("1500 m or 2 m", "wrong"), ("1,500 m", "unparseable"),
        ("9" * 10**6, "unparseable"),
    ],
)  # fmt: skip
def test_other_quantities_do_not_score(response: str, status: str) -> None:
    score = example("units", response, Task(id="t", prompt="?", answer="1.5 km"))
    assert (score.value, score.status) == (0.0, status), score.detail


def test_a_row_without_a_quantity_is_an_error() -> None:
    assert example("units", "5 m", TASK).status == "verifier_error"


@pytest.fixture
def configured() -> Iterator[RewardSet]:
    path = f"{FOLDER}/short_and_right.py:reward"
    args = {"free_tokens": 0, "long_tokens": 10, "length_cost": 0.5}
    rewards = RewardSet([RewardConfig(name="it", path=path, timeout_s=10.0, args=args)])
    yield rewards
    rewards.close()


def test_options_and_the_token_count_arrive_by_name(configured: RewardSet) -> None:
    score = configured.score("42", TASK, num_tokens=4)["it"]
    assert score.value == pytest.approx(0.8)  # 1 - 0.5 * 4 / 10
