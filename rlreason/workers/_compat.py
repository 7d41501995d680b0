"""Workarounds for upstream behaviour, each with its reason and the condition for its removal."""

from collections.abc import Iterator
from contextlib import contextmanager

import ray

from rlreason.types import RunError, first_line


@contextmanager
def no_exit_at_sigterm() -> Iterator[None]:
    """Ray 2.60: `ray.init` takes SIGTERM and leaves with sys.exit from wherever it is; its agents outlive that.

    Remove when `ray.init` ends every process that it started, however it is left.
    """
    setter = ray._private.utils.set_sigterm_handler
    ray._private.utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        ray._private.utils.set_sigterm_handler = setter


@contextmanager
def ready_in_time() -> Iterator[None]:
    """Ray 2.60: `ray.init` raises a bare Exception where its processes take more than 30 s. RunError in its place.

    Remove when that error has a class of its own.
    """
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise RunError(
            f"Ray did not start: {first_line(error)} Try again with less running on this machine; Ray's logs are in "
            "/tmp/ray/session_latest/logs"
        ) from error
