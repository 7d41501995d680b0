"""Batches of judged groups for the RL loop: which prompts, when, and what is kept of them.

Prompts come from one endless stream, shuffled anew each epoch. A place in the stream is used once: a checkpoint holds
the next one, and those of batches that are under way, which are drawn again first.

Without `dynamic_sampling` a batch is the next `prompts_per_step` prompts. With it, each group that teaches nothing is
replaced as soon as it is judged, so the batch is the shortest stretch of the stream with enough groups that do,
whatever the order in which they are written.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from rlreason.config.schema import RLConfig
from rlreason.data.order import rows_between
from rlreason.rl.batch import teaches
from rlreason.types import Group, PromptTask
from rlreason.workers.rollout_fleet import Pending, RolloutFleet


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one step has drawn."""

    groups: list[Group]
    """All of it, in the order of the stream."""
    kept: list[Group]
    """What is trained on."""
    metrics: dict[str, float]


@dataclass(slots=True)
class _Drawn:
    """A batch under way."""

    places: list[int] = field(default_factory=list)
    sampled: list[Pending] = field(default_factory=list)


class RolloutBuffer:
    """Example: buffer = RolloutBuffer(config, prompts, rollouts, None); buffer.start(); batch = buffer.collect()"""

    def __init__(
        self, config: RLConfig, prompts: list[PromptTask], rollouts: RolloutFleet, state: dict[str, Any] | None
    ) -> None:
        """`state` is what an earlier buffer's `state` returned."""
        self._config, self._prompts, self._rollouts = config, prompts, rollouts
        self._next: int = state["next"] if state else 0
        self._again: deque[int] = deque(state["again"] if state else ())
        self._under_way: deque[_Drawn] = deque()
        dynamic = config.algorithm.dynamic_sampling
        self._max_draws = int(dynamic.max_draws * config.prompts_per_step) if dynamic else config.prompts_per_step

    @property
    def num_under_way(self) -> int:
        return len(self._under_way)

    def state(self) -> dict[str, Any]:
        """To go on from, as JSON values."""
        return {"next": self._next, "again": [*(p for drawn in self._under_way for p in drawn.places), *self._again]}

    def start(self) -> None:
        """Sends the prompts of one more batch to the engines."""
        self._under_way.append(_Drawn())
        self._draw(self._under_way[-1], self._config.prompts_per_step)

    def collect(self) -> Batch:
        """The oldest batch, when it is written and judged."""
        drawn = self._under_way[0]
        pending = drawn.sampled
        while pending:
            done, pending = self._rollouts.wait_any(pending)
            judged = self._rollouts.collect(done)[0]
            missing = sum(not self._is_kept(group) for group in judged)
            pending = pending + self._draw(drawn, min(missing, self._max_draws - len(drawn.places)))
        groups, metrics = self._rollouts.collect(drawn.sampled)
        self._under_way.popleft()
        kept = [group for group in groups if self._is_kept(group)]
        if self._config.algorithm.dynamic_sampling:
            metrics |= {"sampling/groups_drawn": float(len(groups)), "sampling/groups_kept": float(len(kept))}
        return Batch(groups=groups, kept=kept, metrics=metrics)

    def _is_kept(self, group: Group) -> bool:
        by_reward = self._config.combine.mode == "gdpo"
        return self._config.algorithm.dynamic_sampling is None or teaches(group, by_reward=by_reward)

    def _draw(self, drawn: _Drawn, num_prompts: int) -> list[Pending]:
        """Sends so many more prompts of the stream for this batch."""
        if not num_prompts:
            return []
        places = [self._again.popleft() if self._again else self._advance() for _ in range(num_prompts)]
        prompts = [prompt_at(self._prompts, place, self._config.seed) for place in places]
        sampled = self._rollouts.submit(
            prompts, num_samples=self._config.samples_per_prompt, with_greedy=self._config.algorithm.needs_greedy
        )
        drawn.places += places
        drawn.sampled += sampled
        return sampled

    def _advance(self) -> int:
        self._next += 1
        return self._next - 1


def prompt_at(prompts: list[PromptTask], place: int, seed: int) -> PromptTask:
    """The prompt at a place of the stream: a pure function of the seed.

    From the second epoch on, ids carry the epoch: request seeds come from them, and where two epochs meet one prompt
    may be in a batch twice.
    """
    prompt, epoch = prompts[rows_between(place, place + 1, len(prompts), seed)[0]], place // len(prompts)
    return replace(prompt, task=replace(prompt.task, id=f"{prompt.task.id}#{epoch + 1}")) if epoch else prompt
