"""Wall time of `rlreason check-reward` on real rows; RLREASON_TEST_DATA names the folder that holds `gsm8k/`."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 5.0

pytestmark = pytest.mark.bench


@pytest.mark.parametrize(
    "function",
    ["rlreason.rewards.math:reward", "rlreason.rewards.match:numeric", "reward_fns/short_and_right.py:reward",
     "reward_fns/format_gate.py:reward"],
)  # fmt: skip
def test_gsm8k_takes_less_than_five_seconds(function: str) -> None:
    folder = os.environ.get("RLREASON_TEST_DATA")
    if not folder:
        pytest.skip("RLREASON_TEST_DATA is not set: no GSM8K rows to check")
    words = [sys.executable, "-m", "rlreason", "check-reward", function, f"{folder}/gsm8k/test.jsonl"]
    start = time.perf_counter()
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    duration_s = time.perf_counter() - start
    print(f"{function}: {duration_s:.2f} s; {done.stdout.splitlines()[1]}")
    assert done.returncode == 0, done.stdout
    assert duration_s < LIMIT_S
