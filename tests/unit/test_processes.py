"""A process is read from outside, whatever state it is in."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rlreason.processes import end, family, look, resident_bytes
from tests.conftest import wait_for

WAITS = """
import subprocess, sys, time

def inner():
    print("ready", flush=True)
    time.sleep(600)

subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
inner()
"""


@pytest.fixture
def waits() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process.pid
        end(family(process.pid))


@pytest.mark.parametrize("stop", [False, True], ids=["waiting", "stopped"])
def test_a_process_shows_its_stack_and_its_children(waits: int, stop: bool) -> None:
    if stop:
        os.kill(waits, signal.SIGSTOP)
        wait_for(lambda: look(waits)[0].is_stopped, 5, "the stop")
    process, child = look(waits)
    assert process.pid == waits and process.title.startswith(sys.executable) and process.is_stopped is stop
    (stack,) = process.stacks.values()
    assert stack[0].startswith("inner (<string>:") and stack[1].startswith("<module> (")
    assert child.title == "sleep 600" and not child.is_stopped and child.stacks == {} and child.unread


def test_a_family_is_ended_also_where_it_is_stopped(waits: int) -> None:
    os.kill(waits, signal.SIGSTOP)
    both = family(waits)
    assert len(both) == 2 and resident_bytes(waits) > 2**20
    end([*both, 2**22 + 1])
    os.waitpid(waits, 0)
    wait_for(lambda: all(family(pid) == [] for pid in both[:1]), 5, "the end")
    assert look(waits) == [] and resident_bytes(waits) == 0
