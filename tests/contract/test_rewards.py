"""Every shipped reward gives its own gold answer 1.0 and garbage 0.0.

Real data: RLREASON_TEST_DATA names a folder that holds `gsm8k/train.jsonl`.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlreason.rewards.combine import RewardSet, RewardSpec
from rlreason.rewards.math import verify
from rlreason.types import Task

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = {
    "rlreason.rewards.math:reward": r"\boxed{42}",
    f"{ROOT}/reward_fns/short_and_right.py:reward": r"\boxed{42}",
    f"{ROOT}/reward_fns/trl_style.py:last_number_matches": "6 * 7 = 42",
    f"{ROOT}/reward_fns/verl_style.py:compute_score": "6 * 7\n#### 42",
}
"""Path and a response that carries the gold answer 42 in the form that the reward expects."""
GARBAGE = ("", "I don't know.", "The answer is 43.", r"\boxed{41}", "#### 421", "]]}{$ \\", "\x00\ud800", "4 2" * 999)
TASK = Task(id="t", prompt="What is 6 * 7?", answer="42", source="gsm8k")
NUM_ROWS = 200


@pytest.fixture(scope="module", params=SHIPPED, ids=lambda path: path.rpartition("/")[2])
def shipped(request: pytest.FixtureRequest) -> Iterator[tuple[str, RewardSet]]:
    rewards = RewardSet([RewardSpec(name="it", path=request.param, weight=1.0, timeout_s=10.0)])
    rewards.check()
    yield request.param, rewards
    rewards.close()


def test_gold_scores_one(shipped: tuple[str, RewardSet]) -> None:
    path, rewards = shipped
    score = rewards.score(SHIPPED[path], TASK)["it"]
    assert (score.value, score.status) == (1.0, "ok"), score.detail


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_scores_zero_and_breaks_nothing(shipped: tuple[str, RewardSet], garbage: str) -> None:
    score = shipped[1].score(garbage, TASK)["it"]
    assert score.value == 0.0
    assert score.status in ("wrong", "unparseable"), score.detail


def test_every_example_file_is_covered() -> None:
    named = {Path(path.rpartition(":")[0]).name for path in SHIPPED}
    assert {file.name for file in (ROOT / "reward_fns").glob("*.py")} <= named


def test_brevity_is_paid_for_right_answers_only() -> None:
    path = f"{ROOT}/reward_fns/short_and_right.py:reward"
    rewards = RewardSet([RewardSpec(name="it", path=path, weight=1.0, timeout_s=10.0)])
    long_and_right = rewards.score("so " * 3000 + r"\boxed{42}", TASK)["it"].value
    assert long_and_right == pytest.approx(0.8)
    assert rewards.score(r"\boxed{41}", TASK)["it"].value == 0.0
    rewards.close()


def test_gsm8k_golds() -> None:
    folder = os.environ.get("RLREASON_TEST_DATA")
    if not folder:
        pytest.skip("RLREASON_TEST_DATA is not set: no GSM8K rows to check")
    with (Path(folder) / "gsm8k" / "train.jsonl").open(encoding="utf-8") as lines:
        golds = [json.loads(line)["answer"] for line, _ in zip(lines, range(NUM_ROWS), strict=False)]
    assert len(golds) == NUM_ROWS
    for gold in golds:
        number = int(gold.rpartition("####")[2].replace(",", ""))
        for right in (gold, rf"Thus \boxed{{{number}}}.", f"The answer is {number}."):
            assert verify(right, gold).value == 1.0, (right, gold)
        for wrong in (f"#### {number + 1}", rf"Thus \boxed{{{number + 1}}}.", f"The answer is {number}{number}."):
            assert verify(wrong, gold).status == "wrong", (wrong, gold)
