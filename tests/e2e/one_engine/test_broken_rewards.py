"""Rewards that hang and raise, judging what a real engine writes."""

from itertools import chain
from pathlib import Path

import pytest

from rlreason.config.schema import RLConfig
from rlreason.data.chat import load_tokenizer
from rlreason.data.prompts import task_sets
from rlreason.runlog import RunLog
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.running.rollouts import check_rewards
from rlreason.stages.rl import train
from rlreason.types import RunError
from rlreason.workers.reward_fleet import RewardFleet
from rlreason.workers.rollout_fleet import RolloutFleet
from tests.e2e.one_engine.conftest import LEARNER, ROLLOUT, Renewed, judged_by
from tests.faults.conftest import PROMPTS_PER_STEP, SAMPLES, BrokenRewards

pytestmark = [pytest.mark.engines, pytest.mark.slow]


def test_a_hanging_reward_is_a_timeout_and_too_many_broken_ones_end_the_run(
    llama: Path, rollouts: RolloutFleet, renewed: Renewed, tmp_path: Path
) -> None:
    broken = BrokenRewards(tmp_path)
    values = {"stage": "rl", "model": str(llama), "steps": 40, "samples_per_prompt": SAMPLES}
    values |= {"prompts_per_step": PROMPTS_PER_STEP, "rollout": ROLLOUT.model_dump(), "learner": LEARNER.model_dump()}
    config = RLConfig.model_validate(values | broken.keys)
    prompts = list(chain(*task_sets(config.tasks, config.rollout, load_tokenizer(str(llama))).values()))
    job = Job(name="broken", log=RunLog(tmp_path / "run", config_yaml=""), interrupts=Interrupts())
    rewards, policy = RewardFleet(config.rewards, config.reward_workers), renewed.learners()
    policy.connect(rollouts, config.rollout)
    with judged_by(rollouts, rewards):
        check_rewards(rewards, job)
        with pytest.raises(RunError) as caught:
            train(config, job, prompts, {}, rollouts, policy, None)
    job.log.close()
    broken.check(str(caught.value), tmp_path / "run")
