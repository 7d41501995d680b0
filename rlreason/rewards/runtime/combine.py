"""How the verdicts on one response become one reward, and what a check that did not work costs. Pure functions.

Does not normalise over a group: `algorithms.advantages` does.
"""

from collections.abc import Mapping, Sequence

from rlreason.config.rewards import Action, CombineConfig, RewardConfig
from rlreason.types import FAILED_STATUSES, Score


def value_of(score: Score) -> float:
    """A check that did not work is worth nothing, whatever it says."""
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


def is_left_out(scores: Mapping[str, Score], rewards: Sequence[RewardConfig]) -> bool:
    """The sample has no reward: a check that did not work is not counted as zero."""
    return any(action != "zero" for action in actions(scores, rewards).values())


def broken(scores: Mapping[str, Score], rewards: Sequence[RewardConfig]) -> list[str]:
    """Names of the rewards whose checker is to blame. A timeout that counts as zero is the policy's own fault."""
    return [
        name
        for name, action in actions(scores, rewards).items()
        if not (scores[name].status == "timeout" and action == "zero")
    ]
