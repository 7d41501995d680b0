"""Scorer workers: the reward models of a stage in Ray processes, and the fleet that shares answers out among them.

Each worker holds every model. A model whose files are replaced is loaded anew between two calls, on all workers or on
none. A chunk of answers is one call, whatever else waits: what is padded together moves a score's last digits, and is
not left to chance.
"""

import asyncio
import math
import os
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle

from rlreason.config.base import WatchdogConfig
from rlreason.config.rewards import RewardConfig, ScorerConfig
from rlreason.processes import let_be_read
from rlreason.rewards.load import Attempt
from rlreason.types import RunError, Score, Stuck, UserError
from rlreason.workers.cluster import worker_options
from rlreason.workers.watchdog import Watch

LOADING = "loading the reward models"


class ScorerWorker:
    """Ray actor."""

    def __init__(self, rewards: list[RewardConfig], config: ScorerConfig) -> None:
        let_be_read()
        self._rewards, self._config = rewards, config
        self._models: dict[str, Any] = {}
        self._loaded: dict[str, Any] = {}

    def load(self, names: list[str]) -> None:
        """The models of these rewards, from their paths; `adopt` puts them in place of those held before."""
        import torch

        from rlreason.engines.scorer import RewardModel

        device = "cuda" if self._config.gpus else "cpu"
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        for reward in self._rewards:
            if reward.name in names and reward.model is not None:
                found = RewardModel(reward.model, dtype=self._config.dtype, device=device)
                found.require_chat(reward.chat)
                self._loaded[reward.name] = found

    def adopt(self, names: list[str]) -> None:
        self._models |= {name: self._loaded[name] for name in names if name in self._loaded}
        self._loaded = {}

    def score(self, attempts: list[Attempt]) -> list[dict[str, Score]]:
        """A score from each model that applies to the attempt's task."""
        found: list[dict[str, Score]] = [{} for _ in attempts]
        for reward in self._rewards:
            places = [at for at, attempt in enumerate(attempts) if reward.applies_to(attempt.task.source)]
            answers = [(attempts[at].task.prompt, attempts[at].response) for at in places]
            model = self._models[reward.name]
            values = model.score(answers, batch_tokens=self._config.batch_tokens, chat=reward.chat)
            for at, value in zip(places, values, strict=True):
                found[at][reward.name] = _verdict(value, model.max_tokens)
        return found


def _verdict(value: float | None, max_tokens: int | None) -> Score:
    if value is None:
        detail = f"prompt and answer are longer than the reward model's {max_tokens} positions"
        return Score(value=0.0, status="verifier_error", detail=detail)
    if not math.isfinite(value):
        return Score(value=0.0, status="verifier_error", detail=f"the reward model gave {value}")
    return Score(value=value, status="ok")


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
        self._names = [reward.name for reward in rewards]
        self._ready = self._each("load", self._names)

    def wait_ready(self) -> None:
        """UserError for a model that cannot be loaded."""
        self._watch.get(LOADING, self._ready, self.workers)
        self._adopt(self._names)

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
