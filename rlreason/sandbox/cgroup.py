"""A control group for one zygote and all that runs under it: what no limit of a single process counts (files in memory,
socket buffers, memory that is shared) and what several add up to.

Made where this process may: as root below its own group of each version 1 hierarchy; with version 2 beside or below its
own group where that is delegated (a systemd user session or scope). Elsewhere there is none, and the limits of
processes are all there is. Version 2 was tried on files alone, not on a kernel.
"""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BASE_BYTES = 128 << 20
"""The zygote, and what the kernel keeps for it."""
_PREFIX = "rlreason-"
_LEAVING_S = 1.0
_numbers = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a group might be made."""

    memory: Path
    pids: Path
    limit: str
    """The file that limits memory."""
    events: str
    """The file that counts what was killed for it."""


class Group:
    """One group: a folder for memory and one for processes, which are the same in version 2."""

    def __init__(self, place: Place, name: str, process: int, most_tasks: int) -> None:
        """Makes it and puts the process in. OSError where that is refused; nothing is left then."""
        self._folders = {place.memory / name, place.pids / name}
        self._limit, self._events = place.memory / name / place.limit, place.memory / name / place.events
        self._memory_bytes = 0
        try:
            for folder in self._folders:
                folder.mkdir()
            (place.pids / name / "pids.max").write_text(str(most_tasks))
            for folder in self._folders:
                (folder / "cgroup.procs").write_text(str(process))
        except OSError:
            self.close()
            raise

    def limit(self, memory_bytes: int) -> None:
        """What a run may take from now on."""
        if memory_bytes != self._memory_bytes:
            self._memory_bytes = memory_bytes
            with suppress(OSError):  # busy: the kernel cannot take back what an earlier run left, under a higher limit
                self._limit.write_text(str(memory_bytes + BASE_BYTES))

    def num_killed(self) -> int:
        """Processes that were killed because the group took too much."""
        words = self._events.read_text().split()
        return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0

    def close(self) -> None:
        """When its processes have been killed."""
        deadline = time.monotonic() + _LEAVING_S
        for folder in self._folders:
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.01)


def group_for(process: int, most_tasks: int, *, proc: Path = Path("/proc")) -> Group | None:
    """With the process in it; None where none may be made."""
    name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
    for place in _places(proc):
        for folder in {place.memory, place.pids}:
            _remove_old(folder, proc)
        with suppress(OSError):
            return Group(place, name, process, most_tasks)
    return None


def _places(proc: Path) -> Iterator[Place]:
    """Best first."""
    own: dict[str, str] = {}
    """Path of this process's group by controller; "" is version 2."""
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    mounted: dict[str, Path] = {}
    for line in (proc / "self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        controllers = {"cgroup2": "", "cgroup": options.split()[-1]}.get(kind, "none")
        for controller in own.keys() & {*controllers.split(",")}:
            below = os.path.relpath(own[controller], root)
            if not below.startswith(".."):
                mounted[controller] = Path(point) / below
    if "memory" in mounted and "pids" in mounted:
        yield Place(
            memory=mounted["memory"],
            pids=mounted["pids"],
            limit="memory.limit_in_bytes",
            events="memory.oom_control",
        )
    for folder in (mounted[""].parent, mounted[""]) if "" in mounted else ():
        with suppress(OSError):
            if {"memory", "pids"} <= {*(folder / "cgroup.subtree_control").read_text().split()}:
                yield Place(memory=folder, pids=folder, limit="memory.max", events="memory.events")


def _remove_old(folder: Path, proc: Path) -> None:
    """Groups of processes that were killed."""
    for old in folder.glob(f"{_PREFIX}[0-9]*-[0-9]*"):
        if not (proc / old.name.split("-")[1]).exists():
            with suppress(OSError):
                old.rmdir()
