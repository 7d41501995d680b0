"""The reward worker: reward functions in a Ray process, each call with a deadline."""

from rlreason.config.schema import RewardConfig
from rlreason.types import Sample, Score, Task


class RewardWorker:
    """Ray actor. Stateless, so that Ray may restart it and repeat a call."""

    def __init__(self, rewards: list[RewardConfig]) -> None:
        from rlreason.rewards.combine import RewardSet, RewardSpec

        specs = [RewardSpec(name=r.name, path=r.path, weight=r.weight, timeout_s=r.timeout_s) for r in rewards]
        self._rewards = RewardSet(specs)

    def check(self) -> None:
        """Raises UserError where a function cannot be loaded."""
        self._rewards.check()

    def score(self, tasks: list[Task], groups: list[list[Sample]]) -> list[list[dict[str, Score]]]:
        return [
            [self._rewards.score(sample.response, task) for sample in group]
            for task, group in zip(tasks, groups, strict=True)
        ]
