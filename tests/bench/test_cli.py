"""`rlreason --help` answers within a second. Run with `pytest -m bench -s tests/bench`."""

import statistics
import subprocess
import sys
import time

import pytest


@pytest.mark.bench
def test_help_takes_less_than_a_second() -> None:
    durations_s = []
    for _ in range(7):
        start_s = time.monotonic()
        subprocess.run([sys.executable, "-m", "rlreason", "--help"], check=True, capture_output=True)
        durations_s.append(time.monotonic() - start_s)
    print(f"\nmedian {statistics.median(durations_s):.2f} s of {[round(s, 2) for s in durations_s]}")
    assert statistics.median(durations_s) < 1.0
