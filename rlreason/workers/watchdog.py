"""Deadlines for what the driver waits for, and what it tells of workers that miss one.

Everything that a fleet waits for goes through its `Watch`. Does not: replace a worker that is stuck (the run ends with
one line and can be resumed).
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import ray
import ray.exceptions
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rlreason.config.base import WatchdogConfig
from rlreason.processes import Seen, end, look, siblings
from rlreason.types import Stuck
from rlreason.workers._compat import Place, place_of
from rlreason.workers.cluster import readable, require_ray

POLL_S = 1.0
"""How soon a wait notices that Ray itself has ended; most calls are faster and would never."""
LOOKING_S = 30.0
NO_TASKS = ("ray::IDLE", "ray::_", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Titles of Ray's own processes, and of those that wait for something to do."""
NUM_NAMED, NUM_FRAMES = 3, 5
"""Processes, and frames of each one's stack, in the line that the user reads. The event has all of them."""


class Watch:
    """The waits of one fleet.

    Example: watch.get("the update", [worker.update.remote(batch) for worker in workers], workers)
    """

    def __init__(self, config: WatchdogConfig | None) -> None:
        self._config = config
        self._longest: dict[str, tuple[float, float]] = {}
        """By kind of wait: seconds of the longest, and the largest size."""
        self._failure: Stuck | None = None
        self._lock = asyncio.Lock()

    def limit_s(self, kind: str, size: float = 1.0) -> float:
        """Seconds that a wait may take. `size`: in any unit, of what is waited for."""
        if self._config is None:
            return math.inf
        if kind not in self._longest:
            return self._config.least_s if self._failure else self._config.first_s
        longest_s, largest = self._longest[kind]
        return max(self._config.least_s, self._config.factor * longest_s * max(1.0, size / largest))

    def get(
        self,
        kind: str,
        calls: Sequence[Any],
        workers: Sequence[ActorHandle],
        *,
        size: float = 1.0,
        beyond: Sequence[ActorHandle] = (),
    ) -> list[Any]:
        """The workers' answers to `calls`, one each. Raises Stuck for those that do not come in time.

        beyond: workers whose answers these may need for theirs.
        """
        start_s, limit_s = time.monotonic(), self.limit_s(kind, size)
        while True:
            require_ray()
            left_s = start_s + limit_s - time.monotonic()
            try:
                found: list[Any] = ray.get(list(calls), timeout=max(0.0, min(POLL_S, left_s)))
                break
            except ray.exceptions.GetTimeoutError:
                if left_s <= 0:
                    ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
                    late = [worker for call, worker in zip(calls, workers, strict=True) if call not in ready]
                    raise self._stuck(kind, limit_s, late, beyond) from None
            except ray.exceptions.RayError as error:
                raise readable(error) from error
        self._took(kind, time.monotonic() - start_s, size)
        return found

    async def answer(self, kind: str, call: Awaitable[Any], worker: ActorHandle, *, size: float = 1.0) -> Any:
        """`get` of one answer, for an event loop."""
        start_s, limit_s = time.monotonic(), self.limit_s(kind, size)
        try:
            found = await asyncio.wait_for(call, limit_s if math.isfinite(limit_s) else None)
        except TimeoutError:
            async with self._lock:  # of several that are late at the same time one tells
                if self._failure is None:
                    await asyncio.to_thread(self._stuck, kind, limit_s, [worker], [])
                assert self._failure is not None
                raise self._failure from None
        except ray.exceptions.RayError as error:
            raise self._failure or readable(error) from error
        self._took(kind, time.monotonic() - start_s, size)
        return found

    def _took(self, kind: str, seconds: float, size: float) -> None:
        longest_s, largest = self._longest.get(kind, (0.0, size))
        self._longest[kind] = max(longest_s, seconds), max(largest, size)

    def _stuck(self, kind: str, limit_s: float, late: Sequence[ActorHandle], beyond: Sequence[ActorHandle]) -> Stuck:
        """The error that tells of them. Ends those that are to blame: others may be waiting for them, which are needed
        for a checkpoint.
        """
        places = [place_of(worker) for worker in (*late, *beyond)]
        seen = _look_at(places)
        stopped = [place for place in places if any(one.is_stopped for one in seen.get(place, []))]
        said = f"{kind} took more than {limit_s:g} s (`watchdog` sets the limit)"
        self._failure = _failure(said, stopped or places[: len(late)], seen)
        _end(stopped or places[len(late) :] or places, seen)
        return self._failure


def _failure(said: str, named: Sequence[Place], seen: Mapping[Place, list[Seen]]) -> Stuck:
    told = [_told(place, seen.get(place)) for place in named]
    more = f" and {len(told) - NUM_NAMED} more" if len(told) > NUM_NAMED else ""
    return Stuck(
        f"{said}: {'; '.join(told[:NUM_NAMED])}{more}; "
        "events.jsonl has the stacks of all; with --resume the run goes on from its last checkpoint",
        tuple({**asdict(place), **asdict(one)} for place, ones in seen.items() for one in ones),
    )


def stuck_tasks(said: str) -> Stuck:
    """The error that tells of the tasks of Ray Data, which only Ray knows the places of. Ends those that are stopped.

    `said`: what the line begins with.
    """
    hosts = {
        node["NodeID"]: _on(Place(name="", node=node["NodeID"], host="", pid=0), siblings)
        for node in ray.nodes()
        if node["Alive"]
    }
    ready, _ = ray.wait(list(hosts.values()), num_returns=len(hosts), timeout=LOOKING_S)
    seen = {}
    for node in ray.nodes():
        if hosts.get(node["NodeID"]) in ready:
            for one in ray.get(hosts[node["NodeID"]]):
                if one.title.startswith("ray::") and not one.title.startswith(NO_TASKS):
                    name, host = one.title.split()[0], node["NodeManagerAddress"]
                    seen[Place(name=name, node=node["NodeID"], host=host, pid=one.pid)] = [one]
    stopped = [place for place, (one,) in seen.items() if one.is_stopped]
    _end(stopped, seen)
    return _failure(said, stopped or list(seen), seen)


def _look_at(places: Sequence[Place]) -> dict[Place, list[Seen]]:
    """What there is to see of each, by a task on its host; those are missing whose host does not answer."""
    calls = {place: _on(place, look, place.pid) for place in places if place.pid}
    ready, _ = ray.wait(list(calls.values()), num_returns=len(calls), timeout=LOOKING_S) if calls else ([], [])
    seen = {}
    for place, call in calls.items():
        if call in ready:
            try:
                seen[place] = ray.get(call)
            except ray.exceptions.RayError:
                continue  # its host has left the cluster
    return seen


def _end(places: Sequence[Place], seen: Mapping[Place, list[Seen]]) -> None:
    """Those of them that could be looked at."""
    calls = [_on(place, end, [one.pid for one in seen[place]]) for place in places if place in seen]
    if calls:
        ray.wait(calls, num_returns=len(calls), timeout=LOOKING_S)


def _on(place: Place, function: Any, *args: Any) -> Any:
    there = NodeAffinitySchedulingStrategy(node_id=place.node, soft=False)
    return ray.remote(function).options(num_cpus=0, scheduling_strategy=there).remote(*args)


def _told(place: Place, seen: list[Seen] | None) -> str:
    """Of one worker, for the user."""
    if not place.pid:
        return f"{place.name} has not started: no node has room for it"
    who = f"{place.name} (process {place.pid} on {place.host})"
    if not seen:
        return f"{who} cannot be looked at: {'it has ended' if seen == [] else 'its host does not answer'}"
    one = next((one for one in seen if one.is_stopped), seen[0])
    if one.pid != place.pid:
        who += f", its {one.title.split()[0]} (process {one.pid})"
    stack = max(one.stacks.values(), key=len, default=[])
    frames = " < ".join(stack[:NUM_FRAMES]) or f"what it does cannot be read ({one.unread})"
    return f"{who} {'is stopped' if one.is_stopped else 'is'} at {frames}"
