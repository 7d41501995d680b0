"""Reads a run directory's files as they are: half-written, torn, or very long.

Torn lines are left out. Does not: validate what a row holds, or write.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlreason.report.plots import Row

NUM_STRATA, ROWS_PER_STRATUM = 10, 20
"""Samples are read at 10 places spread evenly over the file, 20 lines at each: at most 200."""


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:  # torn by a crash, or in the middle of a character
        return None
    return row if isinstance(row, dict) else None


def rows(path: Path) -> Iterator[Row]:
    """All whole lines; none where there is no file."""
    if path.exists():
        with path.open("rb") as file:
            yield from (row for line in file if (row := _parse(line)) is not None)


def split_rows(path: Path, prefix: str) -> Iterator[Row]:
    """The samples whose split begins with `prefix`. Only their lines are parsed: the file may be long."""
    mark = f'"{prefix}'.encode()
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                row = _parse(line) if mark in line else None
                if row is not None and str(row.get("split", "")).startswith(prefix):
                    yield row


def metric_rows(run_dir: Path) -> list[Row]:
    return [row for row in rows(run_dir / "metrics.jsonl") if isinstance(row.get("step"), int)]


def manifest(run_dir: Path) -> dict[str, Any]:
    """{} where there is none yet."""
    try:
        found = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def sample_rows(path: Path) -> Iterator[Row]:
    """All rows, or 200 from places spread over the file, the first and the last lines among them.

    Reads only those places, so the time does not grow with the file.
    """
    if not path.exists():
        return
    if _tail_offset(path, NUM_STRATA * ROWS_PER_STRATUM) == 0:
        yield from rows(path)
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        for stratum in range(NUM_STRATA):
            last = stratum == NUM_STRATA - 1
            start = _tail_offset(path, ROWS_PER_STRATUM) if last else size * stratum // (NUM_STRATA - 1)
            if start > file.tell():
                file.seek(start - 1)
                file.readline()  # to the next line's start, which is `start` itself where a line ends just before it
            for _ in range(ROWS_PER_STRATUM):
                row = _parse(file.readline())
                if row is not None:
                    yield row


def _tail_offset(path: Path, num_lines: int) -> int:
    """Where the last `num_lines` lines begin."""
    size = path.stat().st_size
    window = 1 << 16
    with path.open("rb") as file:
        while True:
            start = max(0, size - window)
            file.seek(start)
            tail = file.read()
            if start == 0 or tail.count(b"\n") > num_lines:
                break
            window *= 2
    return start + len(tail) - len(b"".join(tail.splitlines(keepends=True)[-num_lines:]))


def verdicts(row: Row) -> list[tuple[str, str]]:
    """(name, status) of each reward; `verdicts` maps names to a status or to a score with its status."""
    found = row.get("verdicts")
    if not isinstance(found, dict):
        return []
    return [(str(name), str(v.get("status", "")) if isinstance(v, dict) else str(v)) for name, v in found.items()]
