"""What a run shows where there is no terminal."""

import io
import re
from types import SimpleNamespace

import pytest

from rlreason.running import console

LINE = re.compile(r"30-rl (\d+)/4  \d+\.\d\d/s  (\d+) s left  reward 0\.\d")


def no_terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A standard output that is no terminal, whatever the tests run on. Not a fixture: pytest resets it after those."""
    output = io.StringIO()
    monkeypatch.setattr("sys.stdout", output)
    return output


def test_plain_lines_without_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    output = no_terminal(monkeypatch)
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.0)
    with console.Progress("30-rl", total=4) as bar:
        for step in range(1, 5):
            bar.step(step, f"reward 0.{step}")
    found = [LINE.fullmatch(line) for line in output.getvalue().splitlines()]
    assert [match and match[1] for match in found] == ["1", "2", "3", "4"]
    assert found[-1] and found[-1][2] == "0"
    assert "\x1b" not in output.getvalue() and "\r" not in output.getvalue()


def test_fast_steps_do_not_fill_the_log_and_the_last_is_always_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    output = no_terminal(monkeypatch)
    with console.Progress("30-rl", total=4) as bar:
        for step in range(1, 5):
            bar.step(step, "reward 0.5")
    assert [line.split("  ")[0] for line in output.getvalue().splitlines()] == ["30-rl 4/4"]


def test_the_rate_of_a_resumed_run_counts_its_own_steps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    output = no_terminal(monkeypatch)
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    console.Progress("30-rl", total=110, done=100).step(105, "")
    # 5 steps in 10 s, 5 to go
    assert output.getvalue().startswith("30-rl 105/110  0.50/s  10 s left")


def test_what_is_being_started_is_said_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    output = no_terminal(monkeypatch)
    with console.starting("60-rl", "the learners"):
        assert output.getvalue() == "60-rl: starting the learners\n"
    assert output.getvalue().splitlines()[1] == "60-rl: ready after 0 s: the learners"
    assert [console.counted(n, "learner") for n in (1, 2)] == ["1 learner", "2 learners"]


HOSTILE, SEEN = "a\x1b]0;x\x07\x00\u202e[/b]", "a\ufffd]0;x\ufffd\ufffd\ufffd[/b]"


def test_foreign_text_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    output = no_terminal(monkeypatch)
    console.say(f"{HOSTILE}\n")
    console.Progress(HOSTILE, total=1).step(1, HOSTILE)
    first, _, last = output.getvalue().splitlines()
    assert first == SEEN and last.startswith(f"{SEEN} 1/1") and last.endswith(SEEN)


def test_foreign_text_is_shown_as_it_is_in_a_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """`[/b]` is no markup there either, which would end the run."""
    output = no_terminal(monkeypatch)
    output.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with console.Progress(HOSTILE, total=1) as bar:
        bar.step(1, HOSTILE)
    assert output.getvalue().count(SEEN) >= 2
    assert "\x1b]" not in output.getvalue() and not {"\x07", "\x00", "\u202e"} & set(output.getvalue())
