"""What a run shows: a progress bar with rate and remaining time on a terminal, plain lines otherwise."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from rlreason.text import shown

LINE_EVERY_S = 5.0
"""Without a terminal, one line at most so often."""


def say(text: str) -> None:
    """Prints text that may be foreign. A terminal that is gone, or a full disk behind standard output, ends no run."""
    with suppress(OSError):
        print(shown(text), flush=True)


@contextmanager
def starting(title: str, what: str) -> Iterator[None]:
    """Says what is being started, and how long it took."""
    say(f"{title}: starting {what}")
    start_s = time.monotonic()
    yield
    say(f"{title}: ready after {time.monotonic() - start_s:.0f} s: {what}")


def counted(number: int, what: str) -> str:
    """`counted(2, "learner")` is "2 learners"."""
    return f"{number} {what}{'s' * (number != 1)}"


class Progress:
    """Example: with Progress("30-rl", total=60) as bar: bar.step(1, "reward 0.4")"""

    def __init__(self, title: str, *, total: int, done: int = 0) -> None:
        self._title, self._total, self._first = title, total, done
        self._start_s = self._line_s = time.monotonic()
        self._bar = None
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}", markup=False),
            )
            self._task = self._bar.add_task(shown(title), total=total, completed=done, rate="", text="")

    def step(self, done: int, text: str) -> None:
        """`done` steps of the total are finished."""
        now = time.monotonic()
        rate = (done - self._first) / max(1e-9, now - self._start_s)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, rate=f"{rate:.2f}/s", text=shown(text))
        elif now - self._line_s >= LINE_EVERY_S or done == self._total:
            self._line_s = now
            remaining_s = (self._total - done) / max(1e-9, rate)
            say(f"{self._title} {done}/{self._total}  {rate:.2f}/s  {remaining_s:.0f} s left  {text}")

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with suppress(OSError):
                self._bar.stop()
