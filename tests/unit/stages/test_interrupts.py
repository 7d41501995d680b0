"""Real signals, sent to this process."""

import signal

import pytest

from rlreason.stages.interrupts import Interrupts

SIGNALS = [signal.SIGINT, signal.SIGTERM]


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
