"""Real signals, sent to this process."""

import signal
import time

import pytest

from rlreason.running import interrupts as module
from rlreason.running.interrupts import Interrupts, Standstill

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_run_at_once_outside_the_shield(number: signal.Signals) -> None:
    with Interrupts().installed() as interrupts:
        with interrupts.shield():
            pass
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_inside_the_shield_waits_for_its_end(number: signal.Signals) -> None:
    done = []

    def step(interrupts: Interrupts) -> None:
        with interrupts.shield():
            signal.raise_signal(number)
            done.append("inside")
        done.append("after")

    with Interrupts().installed() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            step(interrupts)
        assert done == ["inside"] and not interrupts.is_broken


@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_does_not_wait(second: signal.Signals) -> None:
    done = []

    def step(interrupts: Interrupts) -> None:
        with interrupts.shield():
            signal.raise_signal(signal.SIGTERM)
            done.append("after the first")
            signal.raise_signal(second)
            done.append("after the second")

    with Interrupts().installed() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            step(interrupts)
        assert done == ["after the first"] and interrupts.is_broken


def test_a_section_that_does_not_end_is_cut_off_soon_after_one_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.1)

    def step(interrupts: Interrupts) -> None:
        with interrupts.shield():
            signal.raise_signal(signal.SIGTERM)
            time.sleep(30)

    start_s = time.monotonic()
    with Interrupts().installed() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            step(interrupts)
        assert interrupts.is_broken and time.monotonic() - start_s < 5


def test_a_section_that_ends_in_time_leaves_no_timer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.05)

    def step(interrupts: Interrupts) -> None:
        with interrupts.shield():
            signal.raise_signal(signal.SIGTERM)

    with Interrupts().installed() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            step(interrupts)
        with interrupts.at_most(0.05):
            pass
        time.sleep(0.1)
        with pytest.raises(KeyboardInterrupt), interrupts.at_most(0.05):
            time.sleep(30)
        assert not interrupts.is_broken


def test_a_hangup_that_nohup_turned_off_stays_off() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts().installed():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_after_the_shield_breaks_nothing() -> None:
    with Interrupts().installed() as interrupts:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert not interrupts.is_broken


def test_an_error_inside_the_shield_is_not_hidden_by_the_signal() -> None:
    def step(interrupts: Interrupts) -> None:
        with interrupts.shield():
            signal.raise_signal(signal.SIGTERM)
            raise OSError("disk full")

    with Interrupts().installed() as interrupts, pytest.raises(OSError, match="disk full"):
        step(interrupts)


@pytest.mark.parametrize("ends_badly", [False, True])
def test_the_handlers_of_before_are_restored(ends_badly: bool) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    def run() -> None:
        with Interrupts().installed():
            assert all(signal.getsignal(n) != b for n, b in zip(SIGNALS, before, strict=True))
            if ends_badly:
                raise OSError

    if ends_badly:
        with pytest.raises(OSError):  # noqa: PT011
            run()
    else:
        run()
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_wait_ends_only_once_nothing_has_moved_for_long_enough() -> None:
    last_s = time.monotonic()

    def left_s() -> float:
        return last_s + 0.2 - time.monotonic()

    with Interrupts().installed() as interrupts:
        with interrupts.while_moving(left_s):
            for _ in range(4):
                time.sleep(0.1)
                last_s = time.monotonic()
        with pytest.raises(Standstill), interrupts.while_moving(left_s):
            time.sleep(5)
        time.sleep(0.3)
        assert not interrupts.is_broken
