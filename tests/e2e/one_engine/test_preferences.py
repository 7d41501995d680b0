"""RL against reward models on real engines: resumed, replaced and guarded."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlreason.config.rewards import RewardConfig, ScorerConfig
from rlreason.config.schema import RLConfig
from rlreason.engines.scorer import RewardModel
from rlreason.rewards.runtime.load import Attempt
from rlreason.rl.guard import Watch
from rlreason.runlog import RunLog
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.running.lineage import artifact_hash
from rlreason.stages.rl import train
from rlreason.tasks import chains
from rlreason.types import PromptTask, RunError, Task
from rlreason.workers.reward_fleet import RewardFleet
from rlreason.workers.rollout_fleet import RolloutFleet
from rlreason.workers.scorer_fleet import ScorerFleet
from tests.conftest import ROOT, read_lines, untimed
from tests.e2e.one_engine.conftest import LEARNER, ROLLOUT, Renewed, judged_by, start_learner

pytestmark = [pytest.mark.engines, pytest.mark.slow]

GOLD = f"{ROOT / 'configs/tiny-preferences/gold.py'}"


def make_reward_model(folder: Path, seed: int) -> Path:
    """With random weights."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = chains.tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=128, num_labels=1,
        pad_token_id=tokenizer.pad_token_id, initializer_range=0.3,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


class Rig:
    """Runs of the loop over the shared engine and learner, and two reward models."""

    def __init__(
        self, model: Path, folder: Path, prompts: list[PromptTask], rollouts: RolloutFleet, policy: Renewed
    ) -> None:
        self.model, self.folder, self.prompts, self.rollouts, self.policy = model, folder, prompts, rollouts, policy
        self.one, self.two = (make_reward_model(folder / name, seed) for seed, name in enumerate(("one", "two")))

    def config(self, **keys: Any) -> RLConfig:
        values = {
            "stage": "rl",
            "model": str(self.model),
            "tasks": {"path": "none.jsonl"},
            "rewards": [
                {"name": "one", "model": str(self.one), "normalise": {"clip": 3.0}},
                {"name": "gold", "path": f"{GOLD}:gold", "weight": 0.0},
                {"name": "two", "model": str(self.two), "weight": 0.5},
            ],
            "scorers": {"cpus": 0.5, "threads": 1},
            "rollout": ROLLOUT.model_dump(),
            "learner": LEARNER.model_dump(),
            "prompts_per_step": 4,
            "samples_per_prompt": 4,
            "algorithm": {"preset": "grpo", "kl": {"estimator": "k1", "coef": 0.02}},
            "guard": {},
        }
        return RLConfig.model_validate(values | keys)

    def run(self, config: RLConfig, name: str, *, resume: bool = False, alone: bool = False) -> tuple[int, Path | None]:
        """Trains; returns the step whose policy the stage ends with, and its folder where it is not the last one.

        alone: in processes of its own.
        """
        log = RunLog(self.folder / name, config_yaml="", resume=resume)
        policy = start_learner(self.model) if alone else self.policy.learners()
        policy.connect(self.rollouts, config.rollout)
        parents = {"one": self.one}
        inputs = {"parents": {"one": artifact_hash(self.one)}}
        job = Job(name=name, log=log, interrupts=Interrupts(), parents=parents, inputs=inputs, kind="rl")
        job.begin()
        ended = train(config, job, self.prompts, {}, self.rollouts, policy, None)
        policy.save_model(self.folder / name / "weights")
        if alone:
            policy.shutdown()
        log.close()
        return ended

    def weights(self, name: str) -> dict[str, Any]:
        return load_file(self.folder / name / "model.safetensors")

    def events(self, name: str, kind: str) -> list[dict[str, Any]]:
        return [row for row in read_lines(self.folder / name / "events.jsonl") if row["event"] == kind]


@pytest.fixture(scope="module")
def rig(
    llama: Path, prompts: list[PromptTask], rollouts: RolloutFleet, renewed: Renewed,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rig]:  # fmt: skip
    rig = Rig(llama, tmp_path_factory.mktemp("preferences"), prompts, rollouts, renewed)
    config = rig.config(steps=1)
    with judged_by(rollouts, RewardFleet(config.rewards, config.reward_workers, config.scorers)):
        yield rig


def test_resumed_is_uninterrupted(rig: Rig) -> None:
    """Running mean of scores, baselines of the guard, raised penalty: same rows, same weights to the last bit."""
    guard = {"action": "raise_kl", "kl_factor": 3.0, "max_kl": 1e-9, "baseline_steps": 2, "patience": 1}
    rig.run(rig.config(steps=4, guard=guard), "whole")
    rig.run(rig.config(steps=2, guard=guard), "parts")
    rig.run(rig.config(steps=4, guard=guard), "parts", resume=True, alone=True)
    assert untimed(rig.folder / "parts") == untimed(rig.folder / "whole")
    whole, parts = rig.weights("whole/weights"), rig.weights("parts/weights")
    assert all(whole[name].equal(parts[name]) for name in whole)
    rows = untimed(rig.folder / "whole")
    verdicts = read_lines(rig.folder / "whole/samples.jsonl")[0]["verdicts"]
    assert list(verdicts) == ["one", "gold", "two"], "in the order of the rewards, functions and models alike"
    assert abs(rows[0]["reward/one/mean"]) < 1e-6, "standardised by the batch itself"
    assert rows[0]["reward/one/raw_mean"] != rows[0]["reward/one/mean"] and rows[0]["guard/disagreement"] > 0.0
    assert [row["policy/kl_coef"] for row in rows] == pytest.approx([0.02, 0.02, 0.06, 0.18])
    (found,) = rig.events("whole", "over-optimisation")
    assert (found["action"], found["step"]) == ("raise_kl", 2), "told once, not at every step that it goes on"


def test_the_penalty_is_raised_slowly_and_not_for_ever(rig: Rig) -> None:
    guard = {"action": "raise_kl", "kl_factor": 50.0, "max_kl": 1e-9, "patience": 2}
    rig.run(rig.config(steps=7, guard=guard), "raised")
    coefs = [row["policy/kl_coef"] for row in untimed(rig.folder / "raised")]
    assert coefs == pytest.approx([0.02, 0.02, 1.0, 1.0, 2.0, 2.0, 2.0])


@pytest.mark.parametrize("action", ["stop", "rollback", pytest.param("warn", marks=pytest.mark.long)])
def test_the_guard_ends_the_stage(rig: Rig, action: str) -> None:
    """Any drift is too much here; the true score is measured on the training samples. What has ended stays so."""
    guard = {"action": action, "max_kl": 1e-9, "gold": "reward/gold/mean", "patience": 9}
    config = rig.config(steps=3, guard=guard)
    ended = rig.run(config, action)
    rows, found = untimed(rig.folder / action), rig.events(action, "over-optimisation")
    assert found and found[0]["what"] == "kl" and found[0]["step"] == 2
    assert len(rows) == (3 if action == "warn" else 2)
    gold = [row["reward/gold/mean"] for row in rows]
    best = max(range(2), key=gold.__getitem__)
    folder = rig.folder / f"rollback/best/step-{best:06d}"
    assert ended == {"warn": (3, None), "stop": (2, None), "rollback": (best, folder)}[action]
    if action == "rollback":
        kept, start = load_file(folder / "model.safetensors"), load_file(rig.model / "model.safetensors")
        assert (best == 0) == all(kept[name].equal(start[name]) for name in start)
        (event,) = rig.events(action, "rolled back")
        assert (event["step"], event["to"]) == (2, best)
    weights = rig.weights(f"{action}/weights")
    assert rig.run(config, action, resume=True) == ended and untimed(rig.folder / action) == rows
    again = rig.weights(f"{action}/weights")
    assert all(weights[name].equal(again[name]) for name in weights), "not a step more"


def test_a_fall_within_the_patience_is_rolled_back_at_the_end(rig: Rig) -> None:
    """The true score of a random policy goes up and down; the last one is hardly ever the best."""
    guard = {"action": "rollback", "gold": "reward/gold/mean", "gold_tolerance": 1e-6, "patience": 9}
    step, folder = rig.run(rig.config(steps=4, guard=guard, seed=7), "late")
    gold = [row["reward/gold/mean"] for row in untimed(rig.folder / "late")]
    best = max(range(4), key=gold.__getitem__)
    assert best < 3, "else this shows nothing: choose another seed"
    assert (step, folder) == (best, rig.folder / f"late/best/step-{best:06d}")
    assert [path.name for path in (rig.folder / "late/best").iterdir()] == [f"step-{best:06d}"], "others are gone"


def test_a_best_policy_that_a_checkpoint_names_stays(rig: Rig) -> None:
    """A run killed after a better policy was found goes back to its checkpoint, and needs the one before."""
    guard = {"action": "rollback", "gold": "reward/gold/mean"}
    config = rig.config(steps=2, guard=guard)
    job = Job(name="kept", log=RunLog(rig.folder / "kept", config_yaml=""), interrupts=Interrupts())
    policy = rig.policy.learners()
    no_rollouts: Any = None
    watch = Watch(config, job, no_rollouts, policy, None)
    best = rig.folder / "kept/best"

    def kept() -> list[str]:
        return sorted(path.name for path in best.iterdir())

    watch.observe(0, {"reward/gold/mean": 0.1})
    folder, begun = (job.log.checkpoints / f"step-{step:06d}" for step in (1, 0))
    folder.mkdir(parents=True)
    begun.mkdir()
    (begun / "state.json").write_text(json.dumps({"step": 0, "watch": None}))  # Ctrl-C before the first step's end
    (folder / "state.json").write_text(json.dumps({"step": 1, "watch": watch.state(1)}))
    watch.observe(1, {"reward/gold/mean": 0.2})
    assert kept() == ["step-000000", "step-000001"]
    watch.state(2)
    watch.observe(2, {"reward/gold/mean": 0.3})
    assert kept() == ["step-000000", "step-000001", "step-000002"]
    (folder / "state.json").write_text(json.dumps({"step": 2, "watch": watch.state(2)}))
    watch.observe(3, {"reward/gold/mean": 0.4})
    assert kept() == ["step-000002", "step-000003"]
    watch.observe(4, {"reward/gold/mean": float("nan")})
    assert watch.end(4) == (4, None), "not below: it ends with the present one"
    job.log.close()


def test_a_guard_that_never_saw_the_true_score_goes_back_to_nothing(rig: Rig) -> None:
    guard = {"action": "rollback", "max_kl": 1e-9, "gold": "reward/elsewhere/mean"}
    elsewhere = {"name": "elsewhere", "path": f"{GOLD}:gold", "weight": 0.0, "sources": "elsewhere"}
    rewards = [*rig.config(steps=1).model_dump(mode="json")["rewards"], elsewhere]
    assert rig.run(rig.config(steps=3, rewards=rewards, guard=guard), "unseen") == (2, None)


def test_a_reward_model_replaced_between_two_runs_begins_anew(rig: Rig) -> None:
    """What was learned of the old one's scores does not apply to the new one, and the lineage names the new one."""
    rig.run(rig.config(steps=1), "swapped")
    before, old = (rig.one / "model.safetensors").read_bytes(), artifact_hash(rig.one)
    try:
        shutil.copy(rig.two / "model.safetensors", rig.one / "model.safetensors")
        assert rig.rollouts.reload_scorers() == {} and rig.rollouts.reload_scorers() == {"one": None}
        rig.run(rig.config(steps=2), "swapped", resume=True)
        (event,) = rig.events("swapped", "reward model replaced")
        new = artifact_hash(rig.one)
        assert (event["reward"], event["step"], event["hash"]) == ("one", 1, new) and new != old
        manifest = json.loads((rig.folder / "swapped/manifest.json").read_text())
        assert manifest["inputs"]["parents"] == {"one": new}
        row = untimed(rig.folder / "swapped")[-1]
        assert abs(row["reward/one/mean"]) < 1e-6, "standardised by the batch itself, as the first one was"
    finally:
        (rig.one / "model.safetensors").write_bytes(before)
        rig.rollouts.reload_scorers()
        rig.rollouts.reload_scorers()


def test_a_replaced_reward_model_is_loaded_and_a_killed_one_is_untimed(rig: Rig) -> None:
    folder = shutil.copytree(rig.one, rig.folder / "served")
    reward = RewardConfig(name="served", model=str(folder))
    fleet = ScorerFleet([reward], ScorerConfig(cpus=0.5, threads=1))
    attempts = [Attempt(response=text, task=Task(id=text, prompt="2+2="), num_tokens=1) for text in ("4", "5", "77")]

    def scores() -> list[float]:
        return [found["served"].value for found in asyncio.run(fleet.score(attempts))]

    try:
        fleet.wait_ready()
        first = scores()
        assert fleet.reload() == {} and scores() == first
        whole = (rig.two / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        assert fleet.reload() == {}, "it changed since the last look: it may not be all there"
        (fault,) = fleet.reload().values()
        assert fault is not None and "cannot be loaded" in fault and scores() == first and fleet.reload() == {}
        shutil.rmtree(folder)
        assert fleet.reload() == fleet.reload() == {} and scores() == first, "nothing to load yet"
        shutil.copytree(rig.two, folder)
        assert [fleet.reload() for _ in range(3)] == [{}, {"served": None}, {}]
        expected = RewardModel(str(rig.two)).score([("2+2=", one.response) for one in attempts], batch_tokens=64)
        assert scores() == pytest.approx(expected, abs=1e-5) and scores() != pytest.approx(first, abs=1e-3)
    finally:
        fleet.shutdown()
    with pytest.raises(RunError, match="ScorerWorker .* died"):
        scores()
