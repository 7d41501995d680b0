"""How long a wait may take follows from how long such waits took."""

import asyncio
import math
from typing import Any

import pytest

from rlreason.config.base import WatchdogConfig
from rlreason.workers.watchdog import Watch

NOBODY: Any = None


def watch(**keys: float) -> Watch:
    return Watch(WatchdogConfig(**{"first_s": 50.0, "least_s": 0.001, "factor": 4.0} | keys))


def wait(watch: Watch, kind: str, seconds: float, size: float = 1.0) -> None:
    assert asyncio.run(watch.answer(kind, asyncio.sleep(seconds, "answer"), NOBODY, size=size)) == "answer"


def test_the_first_wait_of_a_kind_has_a_limit_of_its_own() -> None:
    waits = watch()
    wait(waits, "an update", 0.05)
    assert waits.limit_s("a batch of rollouts") == 50.0
    assert 4 * 0.05 <= waits.limit_s("an update") < 4 * 0.5


def test_the_longest_wait_counts_and_not_the_last() -> None:
    waits = watch()
    wait(waits, "an update", 0.2)
    wait(waits, "an update", 0.0)
    assert waits.limit_s("an update") >= 4 * 0.2


def test_a_larger_batch_may_take_so_much_longer_and_a_smaller_one_no_less() -> None:
    waits = watch()
    wait(waits, "an update", 0.1, size=10)
    usual = waits.limit_s("an update", size=10)
    assert waits.limit_s("an update", size=30) == pytest.approx(3 * usual)
    assert waits.limit_s("an update", size=1) == usual


def test_fast_waits_have_the_least_limit() -> None:
    waits = watch(least_s=7.0)
    wait(waits, "an update", 0.0)
    assert waits.limit_s("an update") == 7.0


def test_without_a_watchdog_there_is_no_limit() -> None:
    waits = Watch(None)
    wait(waits, "an update", 0.0)
    assert waits.limit_s("an update") == math.inf
