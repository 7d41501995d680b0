"""What the tests of this folder share: one Ray, one rollout engine and one learner, each started once for all of them.

The files stay in one process of xdist's (tests/conftest.py). The engine holds whatever weights were sent to it last, so
a test that reads it connects a learner and sends its weights first.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlreason.config.schema import LearnerConfig, RewardConfig, RewardWorkerConfig, RolloutConfig
from rlreason.workers.learner_fleet import LearnerFleet
from rlreason.workers.reward_fleet import RewardFleet
from rlreason.workers.rollout_fleet import RolloutFleet

ROLLOUT = RolloutConfig(cpus=0.5, threads=1, max_context_tokens=64, max_response_tokens=16, max_concurrent=48)
LEARNER = LearnerConfig(cpus=0.5, threads=1, lr=1e-3)


def start_engine(model: Path, *, adapter_rank: int | None = None) -> RolloutFleet:
    rewards = RewardFleet([RewardConfig(name="math", path="rlreason.rewards.math:reward")], RewardWorkerConfig())
    return RolloutFleet(str(model), ROLLOUT, dtype="float32", seed=0, rewards=rewards, adapter_rank=adapter_rank)


def start_learner(model: Path) -> LearnerFleet:
    fleet = LearnerFleet(LEARNER, total_steps=100, seed=0, model=str(model), keep_reference=True)
    fleet.wait_ready()
    return fleet


class Renewed:
    """Learners that stand at their start again for each run: to start their processes anew takes ten seconds."""

    def __init__(self, learners: LearnerFleet, folder: Path, *, has_reference: bool = False) -> None:
        folder.mkdir()
        self._learners, self._start, self._has_reference = learners, folder, has_reference
        learners.save_checkpoint(folder)

    def learners(self) -> LearnerFleet:
        self._learners.load_checkpoint(self._start)
        if self._has_reference:
            self._learners.refresh_reference()
        return self._learners


@contextmanager
def judged_by(rollouts: RolloutFleet, rewards: RewardFleet) -> Iterator[None]:
    """The engine's samples go to other rewards for the block; they end with it."""
    before, rollouts.rewards = rollouts.rewards, rewards
    try:
        yield
    finally:
        rollouts.rewards = before
        rewards.shutdown()


@pytest.fixture(scope="package")
def local_ray() -> Iterator[None]:
    """More logical CPUs than the machine has: the workers of a test take turns.

    Ends with the folder, since other tests start a Ray of their own in this process.
    """
    import ray

    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="package")
def llama(make_model: Callable[..., Path]) -> Path:
    """The checkpoint that the shared engine and learner were started with."""
    return make_model()


@pytest.fixture(scope="package")
def rollouts(local_ray: None, llama: Path) -> Iterator[RolloutFleet]:
    fleet = start_engine(llama)
    fleet.wait_ready()
    yield fleet
    fleet.shutdown()


@pytest.fixture(scope="package")
def renewed(local_ray: None, llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renewed]:
    """A learner with a reference."""
    fleet = start_learner(llama)
    yield Renewed(fleet, tmp_path_factory.mktemp("learner") / "start", has_reference=True)
    fleet.shutdown()
