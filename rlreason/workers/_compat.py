"""Workarounds for upstream behaviour, each with its reason and the condition for its removal."""

from collections.abc import Iterator
from contextlib import contextmanager

import ray


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
