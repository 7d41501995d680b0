"""What verdicts come to: the reward of each sample, or why it is left out. Pure functions.

Decided here and nowhere else. Does not normalise over a group: `algorithms.advantages` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from rlreason.config.rewards import Action, CombineConfig, RewardConfig
from rlreason.types import FAILED_STATUSES, Group, Judged, Sample, Score, Task, UserError

MAX_REWARD = 1e15
"""Largest reward, times its weight, either way: its square fits float32, in which the learners count, with room."""


class Judge:
    """Settles groups by the rewards of one configuration.

    Example: group = Judge(config.rewards, config.combine).settle(task, [sample], [{"math": Score(1.0)}])
    """

    def __init__(self, rewards: Sequence[RewardConfig], rule: CombineConfig | None = None) -> None:
        self._rewards, self._rule = rewards, rule or CombineConfig()
        # Most verdicts are equal: the driver holds each kind once.
        self._settled = lru_cache(4096)(self._of_verdicts)

    def settle(
        self,
        task: Task,
        samples: Sequence[Sample],
        scores: Sequence[Mapping[str, Score]],
        greedy: tuple[Sample, Mapping[str, Score]] | None = None,
    ) -> Group:
        """The group of `samples` with the verdicts on each. UserError for a reward too large to be trained on.

        One verdict whose `on_status` is `drop_group` leaves the whole group out, and so does a greedy response without
        a reward, which the others would be compared with.
        """
        judged = [self._judged(task, sample, found) for sample, found in zip(samples, scores, strict=True)]
        best = self._judged(task, *greedy) if greedy is not None else None
        reason = next(
            (one.left_out for one in judged if "drop_group" in actions(one.scores, self._rewards).values()), ""
        )
        if best is not None and best.left_out:
            reason = f"its greedy response has no reward: {best.left_out}"
        if reason:
            judged = [replace(one, left_out=one.left_out or f"with its group: {reason}") for one in judged]
        return Group(task=task, judged=tuple(judged), greedy=best)

    def _judged(self, task: Task, sample: Sample, scores: Mapping[str, Score]) -> Judged:
        judged = Judged(sample=sample, **self._settled(tuple(scores.items())))
        for reward in self._rewards:
            value = judged.values.get(reward.name, 0.0)
            if abs(value) * max(1.0, abs(reward.weight)) > MAX_REWARD:
                raise UserError(
                    f"reward `{reward.name}`: {value:g} for sample {sample.index} of task {task.id}; with its weight "
                    f"no reward may be beyond +-{MAX_REWARD:g}, which overflows in training; bound what it returns"
                )
        return judged

    def _of_verdicts(self, verdicts: tuple[tuple[str, Score], ...]) -> dict[str, Any]:
        """The fields of `Judged` beside the sample."""
        scores = dict(verdicts)
        found = actions(scores, self._rewards)
        missing = [name for name, action in found.items() if action != "zero"]
        return {
            "scores": scores,
            "reward": None if missing else combine(scores, self._rewards, self._rule),
            "left_out": ", ".join(f"{name}: {scores[name].status}" for name in missing),
            "values": {name: value_of(score) for name, score in scores.items() if name not in missing},
            # A timeout that counts as zero is the policy's own fault.
            "broken": tuple(n for n, action in found.items() if (scores[n].status, action) != ("timeout", "zero")),
        }


def value_of(score: Score) -> float:
    """The score's value; 0.0 for a check that did not work, whatever it says."""
    return 0.0 if score.status in FAILED_STATUSES else score.value


def combine(scores: Mapping[str, Score], rewards: Sequence[RewardConfig], rule: CombineConfig) -> float:
    """One number: the weighted sum of the values, the smallest of those with a weight, or the sum behind a gate.

    gate: the others count only where every gate that applies is above 0, so that a format reward does not raise wrong
    answers. Mode gdpo has no one number; for the record it is the weighted sum. KeyError for a score of no reward.
    """
    values = {name: value_of(score) for name, score in scores.items()}
    weights = {reward.name: reward.weight for reward in rewards}
    if rule.mode == "min":
        return min((value for name, value in values.items() if weights[name]), default=0.0)
    if any(values.get(name, 1.0) <= 0 for name in rule.gate):
        values = {name: value for name, value in values.items() if name in rule.gate}
    return sum(weights[name] * value for name, value in values.items())


def actions(scores: Mapping[str, Score], rewards: Sequence[RewardConfig]) -> dict[str, Action]:
    """What happens to the sample, by the name of each reward that did not work on it; {} where all did."""
    found = {reward.name: reward.action(scores[reward.name].status) for reward in rewards if reward.name in scores}
    return {name: action for name, action in found.items() if action is not None}
