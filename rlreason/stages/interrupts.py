"""Ctrl-C and SIGTERM: end soon, but never between an optimizer step and what is written about it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """While installed, a signal raises KeyboardInterrupt; inside `shield()`, at its end.

    A second signal does not wait: then `is_broken`, what the shield protects is half done, and no checkpoint may be
    written from it. Signals reach the main thread only, so this is for the driver.
    """

    def __init__(self) -> None:
        self._shielded = False
        self._wanted = False
        self.is_broken = False

    @contextmanager
    def installed(self) -> Iterator["Interrupts"]:
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def shield(self) -> Iterator[None]:
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        if self._wanted:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._shielded and not self._wanted:
            self._wanted = True
            return
        self.is_broken = self.is_broken or self._shielded
        raise KeyboardInterrupt
