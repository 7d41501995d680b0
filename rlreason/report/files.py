"""Reads a run directory's files as they are: half-written, torn, or very long.

Torn lines are left out. Does not: validate what a row holds, or write.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rlreason.report.plots import Row, number

NUM_STRATA, ROWS_PER_STRATUM = 10, 20
"""Samples are read at 10 places spread evenly over the file, 20 lines at each: at most 200."""
OWN_TABLES = ("dropped/", "continuation")
"""Beginnings of the splits of samples that stand in tables of their own."""


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


@dataclass(frozen=True)
class RunFiles:
    """What several parts of a report need of one run directory, each file read once."""

    folder: Path

    @cached_property
    def config(self) -> str:
        """The text of config.yaml; "" where there is none."""
        path = self.folder / "config.yaml"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def setting(self, key: str) -> str:
        """The first word of a key's value at the top of config.yaml; "" where it has none."""
        found = re.search(rf"^{key}:\s*(\w+)", self.config, re.MULTILINE)
        return found[1] if found else ""

    @cached_property
    def metrics(self) -> list[Row]:
        return [row for row in rows(self.folder / "metrics.jsonl") if isinstance(row.get("step"), int)]

    @cached_property
    def last(self) -> Row:
        """The last value of each metric."""
        return {key: value for row in self.metrics for key, value in row.items()}

    @cached_property
    def events(self) -> list[Row]:
        return list(rows(self.folder / "events.jsonl"))

    @cached_property
    def nothing_learned(self) -> str:
        """What the last run of an RL stage says of rewards that never differed; "" where they did."""
        last = [row for row in self.events if row.get("event") in ("start", "nothing learned")][-1:]
        return "".join(str(row.get("message", "")) for row in last if row["event"] == "nothing learned")

    @cached_property
    def _tables(self) -> list[Row]:
        return list(self.samples(OWN_TABLES))

    def table(self, prefix: str) -> list[Row]:
        """The samples whose split begins with one of OWN_TABLES."""
        return [row for row in self._tables if str(row["split"]).startswith(prefix)]

    def samples(self, prefixes: tuple[str, ...]) -> Iterator[Row]:
        """Those whose split begins with one of these. Only their lines are parsed: the file may be long."""
        marks = [f'"{prefix}'.encode() for prefix in prefixes]
        path = self.folder / "samples.jsonl"
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    row = _parse(line) if any(mark in line for mark in marks) else None
                    if row is not None and str(row.get("split", "")).startswith(prefixes):
                        yield row


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


def reward_values(row: Row) -> dict[str, float]:
    """The value that each reward gave, by its name."""
    found = row.get("rewards")
    return {str(name): number(value) for name, value in found.items()} if isinstance(found, dict) else {}
