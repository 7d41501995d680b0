"""Folders for sockets: nobody else's to enter, short, and removed."""

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from rlreason.private import KEPT_S, PREFIX, private_folder


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("rlreason.private.MAX_CHARS", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_this_users_alone_and_gone_afterwards(below: Path) -> None:
    with private_folder() as folder:
        assert folder.parent == below and folder.stat().st_mode & 0o777 == 0o700
        (folder / "socket").write_text("")
    assert list(below.iterdir()) == []


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_logs_of_what_failed_are_kept_where_that_is_wished(below: Path, keep: bool, error: type[BaseException]) -> None:
    with pytest.raises(error), private_folder(keep_on_error=keep):
        raise error
    assert len(list(below.iterdir())) == (keep and error is ValueError)


def test_what_killed_processes_left_is_removed_after_a_day(below: Path) -> None:
    for name in ("old", "held", "young"):
        (below / f"{PREFIX}{name}" / "r").mkdir(parents=True)
    (below / "other").mkdir()
    for name in (f"{PREFIX}old", f"{PREFIX}held", "other"):
        os.utime(below / name, (0, os.stat(below).st_mtime - KEPT_S - 60))
    held = os.open(below / f"{PREFIX}held", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with private_folder() as folder:
        left = {path.name for path in below.iterdir()} - {folder.name}
    os.close(held)
    assert left == {f"{PREFIX}held", f"{PREFIX}young", "other"}


def test_a_long_path_is_not_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with private_folder() as folder:
        assert folder.parent == Path("/tmp") and len(str(folder)) < 40
