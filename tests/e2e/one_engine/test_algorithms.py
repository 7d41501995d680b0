"""The RL loop with every part that an algorithm may ask for, on real engines: it runs, and a killed run goes on as if
nothing had happened.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from rlreason.config.schema import RLConfig
from rlreason.runlog import RunLog
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.stages.rl import train
from rlreason.types import BatchSize, PolicyLoss, PromptTask
from rlreason.workers.learner_fleet import LearnerFleet
from rlreason.workers.reward_fleet import RewardFleet
from rlreason.workers.rollout_fleet import RolloutFleet
from tests.conftest import untimed
from tests.e2e.one_engine.conftest import LEARNER, ROLLOUT, Renewed, judged_by, start_learner

pytestmark = [pytest.mark.engines, pytest.mark.slow]

LUCKY = '''
def reward(response, task):
    """Share of sevens: samples of a group differ."""
    return response.count("7") / max(1, len(response))


def advantage(reward_S, group_S, *, scale):
    return scale * (reward_S - reward_S.mean())


def loss(logprob_N, old_logprob_N, advantage_N, sequence_N):
    return -(logprob_N - old_logprob_N).exp() * advantage_N
'''
RESUMED = {
    "preset": "ppo",
    "minibatches": 2,
    "epochs": 2,
    "critic_warmup_steps": 1,
    "dynamic_sampling": {},
    "kl": {"target": 0.01, "horizon": 1000, "refresh_every": 2},
    "off_policy": {"correction": "sequence_reject", "low": 0.9, "high": 1.1},
    "entropy_coef": 0.01,
}


class Rig:
    """Runs of the loop over the shared engine and learner, and a critic of its own."""

    def __init__(
        self, model: Path, folder: Path, prompts: list[PromptTask], rollouts: RolloutFleet, policy: Renewed
    ) -> None:
        (folder / "lucky.py").write_text(LUCKY)
        self.model, self.folder, self.prompts, self.rollouts, self.policy = model, folder, prompts, rollouts, policy
        self.critic = Renewed(self.start_critic(), folder / "start")

    def config(self, algorithm: dict[str, Any], **keys: Any) -> RLConfig:
        values = {
            "stage": "rl",
            "model": str(self.model),
            "tasks": {"path": "none.jsonl"},
            "rewards": [{"name": "lucky", "path": f"{self.folder / 'lucky.py'}:reward"}],
            "rollout": ROLLOUT.model_dump(),
            "learner": LEARNER.model_dump(),
            "prompts_per_step": 4,
            "samples_per_prompt": 4,
            "algorithm": algorithm,
        }
        return RLConfig.model_validate(values | keys)

    def start_critic(self) -> LearnerFleet:
        config = self.config(RESUMED, steps=1).critic
        assert config is not None
        fleet = LearnerFleet(config, head="value", total_steps=100, seed=0, model=str(self.model))
        fleet.wait_ready()
        return fleet

    def run(self, config: RLConfig, name: str, *, resume: bool = False) -> dict[str, Any]:
        """Trains; returns the final weights. What resumes does so in processes of its own."""
        log = RunLog(self.folder / name, config_yaml="", resume=resume)
        policy = start_learner(self.model) if resume else self.policy.learners()
        critic = None
        if config.critic:
            critic = self.start_critic() if resume else self.critic.learners()
        policy.connect(self.rollouts, config.rollout)
        job = Job(name=name, log=log, interrupts=Interrupts())
        train(config, job, self.prompts, {}, self.rollouts, policy, critic)
        policy.save_model(self.folder / name / "weights")
        for fleet in (policy, critic):
            if resume and fleet is not None:
                fleet.shutdown()
        log.close()
        return load_file(self.folder / name / "weights" / "model.safetensors")

    def rows(self, name: str) -> list[dict[str, Any]]:
        return untimed(self.folder / name)


@pytest.fixture(scope="module")
def rig(
    llama: Path, prompts: list[PromptTask], rollouts: RolloutFleet, renewed: Renewed,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rig]:  # fmt: skip
    rig = Rig(llama, tmp_path_factory.mktemp("algorithms"), prompts, rollouts, renewed)
    config = rig.config({}, steps=1)
    with judged_by(rollouts, RewardFleet(config.rewards, config.reward_workers)):
        yield rig
    rig.critic.learners().shutdown()


def test_resumed_is_uninterrupted(rig: Rig) -> None:
    """Critic, controller, refreshed reference, data cursor: the same rows and the same weights to the last bit."""
    whole = rig.run(rig.config(RESUMED, steps=4), "whole")
    rig.run(rig.config(RESUMED, steps=2), "parts")
    parts = rig.run(rig.config(RESUMED, steps=4), "parts", resume=True)
    assert rig.rows("parts") == rig.rows("whole")
    assert all(whole[name].equal(parts[name]) for name in whole)
    first, *later = rig.rows("whole")
    assert "policy/loss" not in first
    assert first["critic/loss"] > 0.0
    assert all(row["policy/grad_norm"] > 0.0 for row in later)
    assert len({row["critic/value_mean"] for row in (first, *later)}) == 4


@pytest.mark.parametrize(
    ("algorithm", "keys"),
    [
        ({"advantage": "remax", "loss": "gmpo", "aggregation": "sequence_mean"}, {"samples_per_prompt": 2}),
        ({"preset": "cispo", "off_policy": {"correction": "token_truncate"}}, {"max_staleness": 1}),
        ({"advantage": "lucky.py:advantage", "advantage_args": {"scale": 2}, "loss": "lucky.py:loss"}, {}),
    ],
    ids=["remax-gmpo", "cispo-async", "own"],
)
def test_two_steps(rig: Rig, algorithm: dict[str, Any], keys: dict[str, Any], request: pytest.FixtureRequest) -> None:
    values = {k: str(rig.folder / v) if str(v).startswith("lucky") else v for k, v in algorithm.items()}
    name = request.node.callspec.id
    before, after = load_file(rig.model / "model.safetensors"), rig.run(rig.config(values, steps=2, **keys), name)
    assert all(not before[key].equal(after[key]) for key in before), "every tensor is trained"
    first, second = rig.rows(name)
    assert first["policy/clip_fraction"] == 0.0, "the first step is on-policy"
    assert second["staleness/max"] == keys.get("max_staleness", 0)
    assert max(row["mismatch/probe_gap_mean"] for row in (first, second)) < 1e-5
    if "off_policy" in algorithm:
        assert 0.0 < second["mismatch/effective_sample_size"] < 1.0


def test_a_checkpoint_is_possible_after_a_smaller_batch_was_loaded(
    rollouts: RolloutFleet, renewed: Renewed, prompts: list[PromptTask]
) -> None:
    """What ends a run between a batch's arrival and its first update costs no checkpoint."""
    policy = renewed.learners()
    groups, _ = rollouts.collect(rollouts.submit(prompts[:3], num_samples=4))
    samples = [sample for group in groups for sample in group.samples]
    policy.load(samples)
    policy.set_advantages([0.5] * len(samples))
    counts = policy.settle(is_on_policy=True)
    loss = PolicyLoss(name="reinforce")
    policy.finish_update(policy.submit_batch_update(range(len(samples)), loss, BatchSize.of_counts(counts), step=1))
    policy.load(samples[:2])
    policy.require_finite_output()
