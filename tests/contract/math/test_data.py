"""Every GSM8K test solution is right against itself and wrong once its number is changed.

Real data: RLREASON_TEST_DATA names a folder that holds `gsm8k/test.jsonl`.
"""

import json
import os
from pathlib import Path

import pytest

from rlreason.rewards.math import verify

NUM_ROWS = 1319


@pytest.fixture(scope="module")
def golds() -> list[str]:
    folder = os.environ.get("RLREASON_TEST_DATA")
    if not folder:
        pytest.skip("RLREASON_TEST_DATA is not set: no GSM8K rows to check")
    with (Path(folder) / "gsm8k" / "test.jsonl").open(encoding="utf-8") as lines:
        found = [json.loads(line)["answer"] for line in lines]
    assert len(found) == NUM_ROWS
    return found


def number_of(gold: str) -> int:
    return int(gold.rpartition("####")[2].replace(",", ""))


def test_each_solution_is_right_against_its_own_gold(golds: list[str]) -> None:
    for gold in golds:
        number = number_of(gold)
        steps = gold.rpartition("####")[0]
        for right in (
            gold,
            rf"{steps}Thus \boxed{{{number}}}.",
            f"{steps}The answer is {number:,}.",
            f"{steps}#### ${number}",
        ):
            assert verify(right, gold).status == "ok", (right, gold)
        assert verify(gold, str(number)).status == "ok", gold


def test_each_solution_is_wrong_against_a_changed_gold(golds: list[str]) -> None:
    for gold in golds:
        number = number_of(gold)
        for other in (number + 1, number - 1, 10 * number + 3, -number - 1, number * 100 + 100):
            changed = f"{gold.rpartition('####')[0]}#### {other}"
            assert verify(gold, changed).status == "wrong", (gold, other)
            assert verify(changed, gold).status == "wrong", (gold, other)
            assert verify(rf"Thus \boxed{{{other}}}.", gold).status == "wrong", (gold, other)
