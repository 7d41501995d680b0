"""The scorer worker: the reward models of a stage in a Ray process."""

import math
import os
from typing import Any

from rlreason.config.rewards import RewardConfig, ScorerConfig
from rlreason.processes import let_be_read
from rlreason.rewards.runtime.load import Attempt
from rlreason.types import Score


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
