"""Ctrl-C, SIGTERM and SIGHUP: end soon, but never between an optimizer step and what is written about it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 12.0
"""How long a shielded section may last after a signal. With a checkpoint and the end of the workers, a run ends within
30 s of one SIGTERM, which is what schedulers commonly allow, even if a worker is stuck."""


class Standstill(KeyboardInterrupt):
    """What is waited for does not move. Ends a wait in a library as Ctrl-C does."""


class Interrupts:
    """While installed, a signal raises KeyboardInterrupt; inside `shield()`, at its end.

    A second signal does not wait, and neither does a section that lasts longer than GRACE_S: then `is_broken`, what the
    shield protects is half done, and no checkpoint may be written from it. Signals reach the main thread only, so this
    is for the driver.
    """

    def __init__(self) -> None:
        self._is_bounded = False
        self._left_s: Callable[[], float] | None = None
        """In a block that is watched."""
        self._shielded = False
        self._wanted = False
        self.is_broken = False
        self.remark = ""
        """What an interrupt cost, for the line that the user reads."""

    @contextmanager
    def installed(self) -> Iterator["Interrupts"]:
        """A SIGHUP that `nohup` turned off stays off."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._late)
        try:
            yield self
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def shield(self) -> Iterator[None]:
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
            self._stop_timer()
        if self._wanted:
            raise KeyboardInterrupt

    @contextmanager
    def at_most(self, seconds: float | None) -> Iterator[None]:
        """Raises KeyboardInterrupt in a block that lasts longer; None: it may last as long as it likes."""
        if seconds is not None:
            self._start_timer(seconds)
        try:
            yield
        finally:
            self._stop_timer()

    @contextmanager
    def while_moving(self, left_s: Callable[[], float]) -> Iterator[None]:
        """Raises Standstill in a block once `left_s`, which is asked again after so many seconds, is not above 0."""
        self._left_s = left_s
        self._start_timer(max(left_s(), 0.001))
        try:
            yield
        finally:
            self._left_s = None
            self._stop_timer()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._shielded and not self._wanted:
            self._wanted = True
            self._start_timer(GRACE_S)
            return
        self.is_broken = self.is_broken or self._shielded
        raise KeyboardInterrupt

    def _late(self, number: int, frame: FrameType | None) -> None:
        if self._is_bounded and self._left_s is not None:
            if (left_s := self._left_s()) <= 0:
                raise Standstill
            self._start_timer(left_s)
        elif self._is_bounded:
            self._is_bounded = False
            self.is_broken = self.is_broken or self._shielded
            raise KeyboardInterrupt

    def _start_timer(self, seconds: float) -> None:
        self._is_bounded = True
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _stop_timer(self) -> None:
        self._is_bounded = False  # first: a timer that fires now finds nothing to interrupt
        signal.setitimer(signal.ITIMER_REAL, 0)
