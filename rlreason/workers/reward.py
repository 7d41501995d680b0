"""The reward worker: reward functions in a Ray process, each call with a deadline."""

import os
from dataclasses import dataclass, replace

from rlreason.config.rewards import RewardConfig
from rlreason.processes import resident_bytes
from rlreason.rewards.runtime.load import Attempt, Traits
from rlreason.types import Score, TokenArrays, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailure:
    """A reward that cannot be loaded."""

    message: str
    """One line for the user."""
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What rewards say of themselves once they are loaded, by name."""

    reports: dict[str, str]
    traits: dict[str, Traits]


class RewardWorker:
    """Ray actor. Stateless, so that a call may be repeated on another one."""

    def __init__(self, rewards: list[RewardConfig]) -> None:
        from rlreason.rewards.runtime.reward_set import RewardSet

        self._rewards = RewardSet(rewards)

    def check(self) -> Loaded | LoadFailure:
        """Loads every function; or says which is the first that does not load."""
        try:
            return Loaded(reports=self._rewards.check(), traits=self._rewards.traits())
        except UserError as error:
            return LoadFailure(message=str(error), traceback="\n".join(error.__notes__) or str(error))

    def score(self, attempts: list[Attempt], arrays: TokenArrays | None = None) -> tuple[list[dict[str, Score]], int]:
        """Verdicts of each attempt, and the bytes that this process and its children take now. `arrays`: their tokens,
        where a reward reads ids.
        """
        if arrays is not None:
            attempts = [_with_ids(attempt, arrays) for attempt in attempts]
        return self._rewards.score_many(attempts), resident_bytes(os.getpid())


def _with_ids(attempt: Attempt, arrays: TokenArrays) -> Attempt:
    tokens, mask, _ = arrays.row(attempt.row)
    return replace(attempt, prompt_ids=tuple(tokens[~mask].tolist()), completion_ids=tuple(tokens[mask].tolist()))
