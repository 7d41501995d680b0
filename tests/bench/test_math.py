"""Speed and memory of the math reward. Run with `pytest -m bench -s tests/bench/test_math.py`; nothing is cached.

RLREASON_BENCH_CHECKS sets the number of checks of the leak run, 100,000 unless given.
"""

import itertools
import os
import runpy
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlreason.rewards.math import verifier as math
from rlreason.rewards.math import workers as math_workers

pytestmark = pytest.mark.bench
ROOT = Path(__file__).resolve().parents[2]
WANTED_PER_MINUTE = 10_000
SECONDS = 5.0
KILL_EVERY = 40
"""One check in so many ends in a kill."""
Check = tuple[str, str, float]
"""Response, gold, value."""


def numbers(n: int) -> Iterator[Check]:
    yield rf"The answer is $\boxed{{{n}}}$.", str(n), 1.0
    yield rf"So there are \boxed{{{n},{n % 900 + 100}}} ways.", f"{n}{n % 900 + 100}", float(n < 1000)
    yield rf"Therefore \boxed{{\frac{{{2 * n + 1}}}{{2}}}}", f"{n}.5", 1.0
    yield f"{n} * 2 = {2 * n}\n#### {2 * n}", f"#### {2 * n + 1}", 0.0
    yield rf"\boxed{{{n}\%}}", rf"{n}\%", 1.0
    yield rf"\boxed{{{n}\text{{ cm}}}}", str(n + 1), 0.0


def symbolic(n: int) -> Iterator[Check]:
    yield rf"\boxed{{x^2+{2 * n}x+{n * n}}}", f"(x+{n})^2", 1.0
    yield rf"\boxed{{{n}\sqrt{{3}}}}", rf"\frac{{{3 * n}}}{{\sqrt3}}", 1.0
    yield rf"\boxed{{\frac{{{n}\pi}}{{7}}}}", rf"\frac{{{n}\pi}}{{8}}", 0.0
    yield rf"\boxed{{y={n}x+2}}", f"y={n}x+3", 0.0
    yield rf"\boxed{{{n}+4i}}", f"{n}-4i", 0.0
    yield rf"\boxed{{2\ln {n + 2}}}", rf"\ln {(n + 2) ** 2}", 1.0


def structured(n: int) -> Iterator[Check]:
    yield rf"\boxed{{x={n}\text{{ or }}x={n + 1}}}", rf"\{{{n},{n + 1}\}}", 1.0
    yield rf"\boxed{{({n},\frac12)}}", f"({n}, 0.5)", 1.0
    yield rf"\boxed{{x>{n}}}", rf"({n},\infty)", 1.0
    yield rf"\boxed{{\begin{{pmatrix}}{n}&1\\0&2\end{{pmatrix}}}}", rf"\begin{{bmatrix}}{n}&1\\0&3\end{{bmatrix}}", 0.0
    yield rf"\boxed{{({n},\sqrt{{8}})}}", rf"({n},2\sqrt2)", 1.0
    yield rf"\boxed{{\text{{yes {n}}}}}", rf"\text{{no {n}}}", 0.0


def mixed(n: int) -> Iterator[Check]:
    """6 numbers, 2 or 3 expressions and 2 or 3 structures in 11: what competition data sets hold."""
    yield from numbers(n)
    yield from itertools.islice(symbolic(n), 3 * (n % 2), 3 * (n % 2) + 3)
    yield from itertools.islice(structured(n), 3 * (n % 2), 3 * (n % 2) + 2)


def measure(kind: Callable[[int], Iterator[Check]]) -> tuple[int, float, float]:
    """Number of checks, wall seconds, processor seconds of this process and its workers."""
    math._decide.cache_clear()
    num_checks, began, cpu = 0, time.monotonic(), processor_s()
    for n in itertools.count(1):
        for response, gold, value in kind(n):
            assert math.verify(response, gold).value == value, (response, gold)
            num_checks += 1
        if time.monotonic() - began > SECONDS:
            return num_checks, time.monotonic() - began, processor_s() - cpu
    raise AssertionError


def processor_s() -> float:
    pool = math_workers._pool
    pids = [os.getpid()] + ([worker.pid for worker in pool._idle] if pool.pid else [])
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def start() -> None:
    assert math.verify(r"\boxed{1+x}", "x+1", timeout_s=60.0).value == 1.0


@pytest.mark.parametrize("kind", [numbers, mixed, symbolic, structured])
def test_speed(kind: Callable[[int], Iterator[Check]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_workers._pool, "max_calls", 10**9)  # a replaced worker's time would not be counted
    start()
    num_checks, wall_s, cpu_s = measure(kind)
    per_minute = 60 * num_checks / cpu_s
    print(f"\n{kind.__name__:12} {num_checks / wall_s:9.0f} checks/s of wall, {per_minute:11,.0f} a minute and core")
    if kind in (numbers, mixed):
        assert per_minute >= WANTED_PER_MINUTE


def test_latency_over_the_suite() -> None:
    start()
    pairs = [
        pair
        for name in ("suite", "fresh")
        for pair in runpy.run_path(f"{ROOT}/tests/contract/math/test_{name}.py")["PAIRS"]
    ]
    math._decide.cache_clear()
    times_s, num_right = [], 0
    for _, gold, response, is_right in pairs:
        began = time.monotonic()
        num_right += math.verify(response, gold).value == float(is_right)
        times_s.append(time.monotonic() - began)
    times_s.sort()
    shares = {f"p{p}": times_s[len(times_s) * p // 100] for p in (50, 90, 99)} | {"max": times_s[-1]}
    print(f"\n{len(pairs)} pairs, {num_right} as judged; ", {k: f"{1000 * v:.1f} ms" for k, v in shares.items()})
    assert shares["p99"] <= 1.1


@pytest.mark.timeout(3600)
def test_nothing_is_left_after_very_many_checks() -> None:
    """Resident memory, descriptors and processes before and after, with one kill in KILL_EVERY checks."""
    total = int(os.environ.get("RLREASON_BENCH_CHECKS", "100000"))
    start()
    num_kills, before = 0, {}
    checks = (check for n in itertools.count(1) for check in mixed(n))
    began = time.monotonic()
    for k in range(total):
        if k == total // 10:
            before = footprint()  # by then the cache of verdicts is full of what it will hold
        if k % KILL_EVERY == 0:
            endless = "(" * 14 + f"x+{k}" + ")" * 14
            num_kills += math.verify(rf"\boxed{{{endless}}}", "x+1", timeout_s=0.01).status == "timeout"
        else:
            response, gold, value = next(checks)
            assert math.verify(response, gold).value == value
        if k % 20_000 == 0:
            math._decide.cache_clear()
            print(f"\n{k:7} {footprint()}", end="")
    math._decide.cache_clear()
    after = footprint()
    print(f"\n{total} checks, {num_kills} kills in {time.monotonic() - began:.0f} s: before {before}, after {after}")
    assert num_kills > total // KILL_EVERY * 0.9
    assert after["rss_mib"] < before["rss_mib"] + 32 and after["descriptors"] <= before["descriptors"] + 1
    assert after["children"] == 1 and after["workers"] <= len(os.sched_getaffinity(0))


def footprint() -> dict[str, float]:
    assert math_workers._pool.pid is not None
    template = math_workers._pool.pid
    children = [
        child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()
    ]
    workers = Path(f"/proc/{template}/task/{template}/children").read_text().split()
    return {
        "rss_mib": rss_mib("self"),
        "template_rss_mib": rss_mib(str(template)),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "children": len(children),
        "workers": len(workers),
    }


def rss_mib(pid: str) -> float:
    return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
