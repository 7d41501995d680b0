"""The scorer fleet: the workers that hold a stage's reward models, which share the answers out among them.

A model whose files are replaced is loaded anew between two calls, on all workers or on none. A chunk of answers is one
call, whatever else waits: what is padded together moves a score's last digits, and is not left to chance.
"""

import asyncio
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle

from rlreason.config.base import WatchdogConfig
from rlreason.config.rewards import RewardConfig, ScorerConfig
from rlreason.rewards.runtime.load import Attempt
from rlreason.types import RunError, Score, Stuck, UserError
from rlreason.workers.cluster import worker_options
from rlreason.workers.scorer import ScorerWorker
from rlreason.workers.watchdog import Watch

LOADING = "loading the reward models"


class ScorerFleet:
    """All scorer workers of a stage."""

    def __init__(
        self, rewards: list[RewardConfig], config: ScorerConfig, watchdog: WatchdogConfig | None = None
    ) -> None:
        """`rewards`: those with a `model`."""
        self._rewards, self._watch = rewards, Watch(watchdog)
        actor = ray.remote(ScorerWorker).options(**worker_options(config))
        self.workers: list[ActorHandle] = [actor.remote(rewards, config) for _ in range(config.workers)]
        self._loaded = self._seen = {reward.name: _state(reward) for reward in rewards}
        names = [reward.name for reward in rewards]
        self._ready = [*self._each("load", names), *self._each("adopt", names)]

    def wait_ready(self) -> None:
        """UserError for a model that cannot be loaded."""
        self._watch.get(LOADING, self._ready, self.workers * 2)

    async def score(self, attempts: list[Attempt]) -> list[dict[str, Score]]:
        """The models' verdicts on each attempt, in order; each worker scores one part. RunError for one that died."""
        size = -(-len(attempts) // len(self.workers)) or 1
        parts = [attempts[start : start + size] for start in range(0, len(attempts), size)]
        answers = [
            self._watch.answer("a batch of scores", worker.score.remote(part), worker, size=len(part))
            for worker, part in zip(self.workers, parts, strict=False)
        ]
        return [found for part in await asyncio.gather(*answers) for found in part]

    def reload(self) -> dict[str, str | None]:
        """By name the models whose files were replaced since they were loaded: None where every worker holds the new
        one now, else why it cannot be loaded and all go on with the old one.

        Files that changed since the last call may not be all there yet; they wait for the next one.
        """
        before, self._seen = self._seen, {reward.name: _state(reward) for reward in self._rewards}
        found: dict[str, str | None] = {}
        for name, state in self._seen.items():
            has_weights = any(file.endswith(".safetensors") for file, _, _ in state)
            if state == self._loaded[name] or state != before[name] or not has_weights:
                continue
            self._loaded = self._loaded | {name: state}
            try:
                self._watch.get(LOADING, self._each("load", [name]), self.workers)
            except Stuck:
                raise
            except (UserError, RunError) as error:
                found[name] = str(error)
                self._adopt([])  # where it could be loaded it is forgotten
                continue
            self._adopt([name])
            found[name] = None
        return found

    def shutdown(self) -> None:
        for worker in self.workers:
            ray.kill(worker)

    def _adopt(self, names: list[str]) -> None:
        self._watch.get("the change of reward models", self._each("adopt", names), self.workers)

    def _each(self, method: str, names: list[str]) -> list[Any]:
        return [getattr(worker, method).remote(names) for worker in self.workers]


def _state(reward: RewardConfig) -> list[tuple[str, int, int]]:
    """Of a local model's files: real path, size, time of change; [] for a hub name."""
    folder = Path(str(reward.model))
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")])
    return [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
