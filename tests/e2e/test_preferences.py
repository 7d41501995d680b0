"""Reward models, DPO and RL against reward models on real engines: interrupted, resumed, replaced and guarded."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from rlreason.config.rewards import RewardConfig, ScorerConfig
from rlreason.config.schema import RLConfig
from rlreason.data import chains
from rlreason.engines.scorer import RewardModel
from rlreason.rewards.load import Attempt
from rlreason.runlog import RunLog
from rlreason.stages.interrupts import Interrupts
from rlreason.stages.job import Job
from rlreason.stages.rl import train
from rlreason.types import PromptTask, RunError, Task
from rlreason.workers.fleet import LearnerFleet, RewardFleet, RolloutFleet
from rlreason.workers.scorer import ScorerFleet
from tests.conftest import ROOT, Command, read_lines, untimed, wait_for

pytestmark = [pytest.mark.engines, pytest.mark.slow]

GOLD = f"{ROOT / 'configs/tiny-preferences/gold.py'}"
STEPS = 12
STAGES = {
    "reward_model": {"loss": "plackett_luce", "centring": 0.01},
    "dpo": {"beta": 0.1},
    "reward_model lora": {"learner": {"lora": {"rank": 4, "targets": ["q_proj", "v_proj"]}}},
}


def preference_config(folder: Path, model: Path, name: str) -> Path:
    own = dict(STAGES[name])
    learner = {"workers": 2, "cpus": 0.5, "threads": 1, "lr": 3e-3} | dict(own.pop("learner", {}))
    config = own | {
        "stage": name.split()[0],
        "model": str(model),
        "data": {"generate": f"{GOLD}:rankings", "args": {"num": 200, "seed": 2}, "chat": False},
        "context_tokens": 48,
        "rows_per_step": 8,
        "steps": STEPS,
        "held_out": {"every": 4},
        "learner": learner,
        "checkpoints": {"every": 3},
    }
    path = folder / "stage.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize("name", STAGES)
def test_an_interrupted_stage_ends_as_one_that_was_left_in_peace(
    start: Callable[..., Command], make_model: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    config, whole, broken = preference_config(tmp_path, make_model(), name), tmp_path / "whole", tmp_path / "broken"
    status, out, errors = start("run", config, "--run-dir", whole).finish(300)
    assert status == 0, errors + out
    command = start("run", config, "--run-dir", broken)
    wait_for(lambda: len(read_lines(broken / "metrics.jsonl")) > 6 or not command.running, 200, "six lines")
    command.interrupt()
    assert command.finish(60)[0] != 0 and untimed(broken)[-1]["step"] < STEPS
    status, _, errors = start("run", config, "--run-dir", broken, "--resume").finish(300)
    assert status == 0, errors
    assert untimed(broken) == untimed(whole)
    weights = [load_file(run / "final/model.safetensors") for run in (whole, broken)]
    assert weights[0].keys() == weights[1].keys()
    assert all(weights[0][key].equal(weights[1][key]) for key in weights[0])
    accuracy = [row["eval/preference/accuracy"] for row in untimed(whole) if "eval/preference/accuracy" in row]
    assert len(accuracy) == 1 + STEPS // 4 and accuracy[-1] > 0.5
    key = "policy/loss" if name == "dpo" else "reward_model/loss"
    losses = [row[key] for row in untimed(whole) if key in row]
    assert len(losses) == STEPS and losses[-1] < losses[0]
    config_json = json.loads((whole / "final/config.json").read_text())
    is_scored = name.startswith("reward_model")
    assert config_json["architectures"] == [f"LlamaFor{'SequenceClassification' if is_scored else 'CausalLM'}"]
    assert (whole / "final/reward_model.json").is_file() == is_scored


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
    """One engine and two reward models for all tests below."""

    def __init__(self, model: Path, folder: Path, prompts: list[PromptTask]) -> None:
        self.model, self.folder, self.prompts = model, folder, prompts
        self.one, self.two = (make_reward_model(folder / name, seed) for seed, name in enumerate(("one", "two")))
        config = self.config(steps=1)
        rewards = RewardFleet(config.rewards, config.reward_workers, config.scorers)
        self.rollouts = RolloutFleet(str(model), config.rollout, dtype="float32", seed=0, rewards=rewards)
        self.rollouts.wait_ready()

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
            "rollout": {"cpus": 0.5, "threads": 1, "max_context_tokens": 64, "max_response_tokens": 8},
            "learner": {"cpus": 0.5, "threads": 1, "lr": 1e-3},
            "prompts_per_step": 4,
            "samples_per_prompt": 4,
            "algorithm": {"preset": "grpo", "kl": {"estimator": "k1", "coef": 0.02}},
            "guard": {},
        }
        return RLConfig.model_validate(values | keys)

    def run(self, config: RLConfig, name: str, *, resume: bool = False) -> Path | None:
        """Trains; returns the guard's choice of a policy in place of the last one."""
        log = RunLog(self.folder / name, config_yaml="", resume=resume)
        policy = LearnerFleet(config.learner, keep_reference=True, total_steps=100, seed=0, model=str(self.model))
        policy.wait_ready()
        policy.connect(self.rollouts, config.rollout)
        job = Job(name=name, log=log, interrupts=Interrupts())
        _, best = train(config, job, self.prompts, {}, self.rollouts, policy, None)
        policy.save_model(self.folder / name / "weights")
        policy.shutdown()
        log.close()
        return best

    def weights(self, name: str) -> dict[str, Any]:
        return load_file(self.folder / name / "model.safetensors")

    def events(self, name: str, kind: str) -> list[dict[str, Any]]:
        return [row for row in read_lines(self.folder / name / "events.jsonl") if row["event"] == kind]


@pytest.fixture(scope="module")
def rig(
    local_ray: None, make_model: Callable[..., Path], prompts: list[PromptTask],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rig]:  # fmt: skip
    rig = Rig(make_model(), tmp_path_factory.mktemp("preferences"), prompts)
    yield rig
    rig.rollouts.shutdown()


def test_resumed_is_uninterrupted(rig: Rig) -> None:
    """Running mean of scores, baselines of the guard, raised penalty: same rows, same weights to the last bit."""
    guard = {"action": "raise_kl", "kl_factor": 3.0, "max_kl": 1e-9, "baseline_steps": 2}
    rig.run(rig.config(steps=4, guard=guard), "whole")
    rig.run(rig.config(steps=2, guard=guard), "parts")
    rig.run(rig.config(steps=4, guard=guard), "parts", resume=True)
    assert untimed(rig.folder / "parts") == untimed(rig.folder / "whole")
    whole, parts = rig.weights("whole/weights"), rig.weights("parts/weights")
    assert all(whole[name].equal(parts[name]) for name in whole)
    rows = untimed(rig.folder / "whole")
    verdicts = read_lines(rig.folder / "whole/samples.jsonl")[0]["verdicts"]
    assert list(verdicts) == ["one", "gold", "two"], "in the order of the rewards, functions and models alike"
    assert abs(rows[0]["reward/one/mean"]) < 1e-6, "standardised by the batch itself"
    assert rows[0]["reward/one/raw_mean"] != rows[0]["reward/one/mean"] and rows[0]["guard/disagreement"] > 0.0
    assert [row["policy/kl_coef"] for row in rows] == pytest.approx([0.02, 0.02, 0.06, 0.18])
    assert [event["action"] for event in rig.events("whole", "over-optimisation")] == ["raise_kl"] * 3


@pytest.mark.parametrize("action", ["stop", "rollback", "warn"])
def test_the_guard_ends_the_stage(rig: Rig, action: str) -> None:
    """Any drift is too much here; the true score is measured on the training samples."""
    guard = {"action": action, "max_kl": 1e-9, "gold": "reward/gold/mean", "patience": 9}
    best = rig.run(rig.config(steps=3, guard=guard), action)
    rows, found = untimed(rig.folder / action), rig.events(action, "over-optimisation")
    assert found and found[0]["what"] == "kl" and found[0]["step"] == 2
    assert len(rows) == (3 if action == "warn" else 2)
    assert best == (rig.folder / "rollback/best" if action == "rollback" else None)
    if best is not None:
        gold = [row["reward/gold/mean"] for row in rows]
        expected = rig.weights("rollback/weights") if gold[1] > gold[0] else load_file(rig.model / "model.safetensors")
        kept = load_file(best / "model.safetensors")
        assert gold[1] > gold[0] or all(kept[name].equal(expected[name]) for name in expected)


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
        assert fleet.reload() == [] and scores() == first
        for file in ("model.safetensors", "config.json"):
            shutil.copy(rig.two / file, folder / file)
        assert fleet.reload() == ["served"] and fleet.reload() == []
        expected = RewardModel(str(rig.two)).score([("2+2=", one.response) for one in attempts], batch_tokens=64)
        assert scores() == pytest.approx(expected, abs=1e-5) and scores() != pytest.approx(first, abs=1e-3)
    finally:
        fleet.shutdown()
    with pytest.raises(RunError, match="ScorerWorker .* died"):
        scores()
