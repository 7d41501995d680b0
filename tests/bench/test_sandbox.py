"""Milliseconds for a stdio case and for a submission of a function with three call tests, on one core."""

import os
import statistics
import time
from typing import Any

import pytest

from rlreason.rewards.code import checker as code
from rlreason.sandbox.pool import LEVELS, Sandbox, SandboxUnavailable

RUNS = 300
TARGET_MS = {"stdio": 7.5, "function": 12.0}
"""Medians, at the level that is chosen by default."""
SUBMISSIONS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "stdio": ("print(int(input()) * 2)", [{"type": "stdio", "input": "21", "output": "42"}]),
    "function": ("def f(x): return x * 2", [{"type": "call", "args": [x], "expected": 2 * x} for x in range(3)]),
}


def measured_ms(program: str, tests: list[dict[str, Any]]) -> list[float]:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        score = code.check(program, tests, entry_point="f")
        times.append(1000 * (time.perf_counter() - start))
        assert score.value == 1.0, score.detail
    return times


@pytest.mark.bench
@pytest.mark.parametrize("level", [*LEVELS, None], ids=[*LEVELS, "default"])
def test_a_submission_takes_milliseconds(level: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    sandbox = Sandbox(level=level)
    monkeypatch.setitem(code._backends, ("landlock", None), sandbox)
    try:
        said = sandbox.start()
        found = {name: measured_ms(*submission) for name, submission in SUBMISSIONS.items()}
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    finally:
        sandbox.close()
        os.sched_setaffinity(0, cores)
    print(f"\n{said}; load {os.getloadavg()[0]:.1f}\n{'':10}{'median':>8}{'p90':>8}{'p99':>8}{'runs/s':>8}")
    for name, times in found.items():
        tenths, hundredths = statistics.quantiles(times, n=10), statistics.quantiles(times, n=100)
        row = (statistics.median(times), tenths[-1], hundredths[-1], 1000 * RUNS / sum(times))
        print(f"{name:10}" + "".join(f"{value:8.1f}" for value in row))
    if level is None:
        medians = {name: statistics.median(times) for name, times in found.items()}
        assert all(medians[name] <= TARGET_MS[name] for name in medians), medians
