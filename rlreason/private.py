"""Folders that nobody else on the host may enter, for sockets and logs: short enough for a socket's path.

Whoever made one removes it. What processes that were killed left is removed by later ones, after a day in which
somebody may want to read the logs. Does not hide the names.
"""

import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "rlr-"
MAX_CHARS = 40
"""Of the temporary folder's path; where it is longer /tmp is taken. A socket's path has 107 at most."""
KEPT_S, REMOVING_S = 24 * 3600.0, 3.0


@contextmanager
def private_folder(*, keep_on_error: bool = False) -> Iterator[Path]:
    """Removed at the end. OSError where none can be made."""
    below = Path(tempfile.gettempdir() if len(tempfile.gettempdir()) <= MAX_CHARS else "/tmp")
    _remove_old(below)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=below))
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        if not (keep_on_error and isinstance(sys.exception(), Exception)):
            _remove(folder)
        os.close(lock)


def _remove(folder: Path) -> None:
    """Processes that are about to end may write into it yet."""
    deadline = time.monotonic() + REMOVING_S
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


def _remove_old(below: Path) -> None:
    """Of this user's those that nobody holds."""
    for folder in below.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = folder.lstat()
            if found.st_uid != os.geteuid() or time.time() - found.st_mtime < KEPT_S:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
