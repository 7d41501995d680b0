"""LoRA in the learner, on its way to the engine, in checkpoints, and in whole runs."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from rlreason.config.schema import LearnerConfig
from rlreason.data.chat import encode_text
from rlreason.stages.rl import probe_gap
from rlreason.tasks import chains
from rlreason.types import CrossEntropyLoss, PolicyLoss, PromptTask, RunError, TrainSequence, ValueLoss
from rlreason.workers.learner_fleet import LearnerFleet
from rlreason.workers.rollout_fleet import RolloutFleet
from rlreason.workers.watchdog import Watch
from tests.conftest import Command, read_lines
from tests.e2e.conftest import trained_on
from tests.e2e.one_engine.conftest import ROLLOUT, start_engine

pytestmark = pytest.mark.engines

PARITY = 1e-5
COMMON: dict[str, Any] = {"cpus": 0.5, "threads": 1, "lr": 1e-2, "micro_batch_tokens": 500}
PROBE = (1, 13, 7, 14, 9, 11, 5, 13, 7, 14, 5, 17, 6, 3, 17, 4, 2, 1, 10, 8, 19, 5, 12, 18, 16, 15)
PROBES = [TrainSequence(tokens=PROBE, mask=(1,) * len(PROBE))]
POLICY = PolicyLoss(name="ppo_clip", constants={"clip_low": 0.2, "clip_high": 0.28})
CROSS_ENTROPY = CrossEntropyLoss()


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What four updates left behind: losses and the reference's logprobs by update, logprobs and adapter at the end."""

    checkpoint: Path
    losses: list[float]
    references: list[list[float]]
    scores: list[float]
    adapter: dict[str, torch.Tensor]


def learner(model: Path, *, head: Any = "language", lora: dict[str, Any] | None = None, **keys: Any) -> LearnerFleet:
    config = LearnerConfig(**COMMON | keys | {"lora": {"rank": 4} | (lora or {})})
    fleet = LearnerFleet(config, total_steps=9, seed=0, model=str(model), head=head, keep_reference=head == "language")
    fleet.wait_ready()
    return fleet


def step(learners: LearnerFleet, sequences: list[TrainSequence], loss: Any = CROSS_ENTROPY) -> dict[str, float]:
    return learners.finish_update(learners.submit_update(sequences, loss, step=1))


@pytest.fixture(scope="module")
def model(make_model: Callable[..., Path]) -> Path:
    return make_model(family="qwen2", tied=True)


@pytest.fixture(scope="module")
def batches() -> list[list[TrainSequence]]:
    """Four of 24 worked chains, and with what a critic learns: 1 throughout."""
    tokenizer = chains.tokenizer()
    found = [sequence for row in chains.texts(num=96, seed=3) for sequence in encode_text(tokenizer, row["text"], 64)]
    ones = [
        TrainSequence(tokens=s.tokens, mask=s.mask, values=(0.0,) * len(s.tokens), returns=(1.0,) * len(s.tokens))
        for s in found
    ]
    return [ones[at : at + 24] for at in range(0, 96, 24)]


class Rig:
    """A learner and an engine on the same checkpoint."""

    def __init__(self, model: Path, rollouts: RolloutFleet, send: str, targets: Any) -> None:
        self.model, self.rollouts = model, rollouts
        self.learners = learner(model, lora={"send": send, "targets": targets})
        self.rollouts.wait_ready()
        self.learners.connect(self.rollouts, ROLLOUT)
        self.send, self.version = send, 0

    def sync(self) -> None:
        self.version += 1
        self.learners.send_weights(self.version)

    def gap(self) -> float:
        return probe_gap(self.learners.score(PROBES)[0], self.rollouts.prompt_logprobs(PROBE))

    def step(self, prompts: list[PromptTask]) -> dict[str, float]:
        """Samples, then one optimizer step with made-up rewards; nothing is synced."""
        groups, _ = self.rollouts.collect(self.rollouts.submit(prompts, num_samples=4))
        assert {s.policy_version for group in groups for s in group.samples} == {self.version}
        sequences = [
            trained_on(s, advantage)
            for group in groups
            for s, advantage in zip(group.samples, (-0.25, 0.75, -0.25, -0.25), strict=True)
        ]
        return step(self.learners, sequences, POLICY)


# Together in vLLM are q, k and v, and gate and up: of the first only one is adapted, of the others both.
RIGS = [("merged", "all-linear"), ("adapter", ["q_proj", "gate_proj", "up_proj", "down_proj"])]


@pytest.fixture(scope="module", params=RIGS, ids=["merged", "adapter"])
def rig(request: pytest.FixtureRequest, llama: Path, rollouts: RolloutFleet, model: Path) -> Iterator[Rig]:
    """Merged weights go to the shared engine; adapters need one that was started for them."""
    send, _ = request.param
    is_shared = send == "merged"
    rig = Rig(*((llama, rollouts) if is_shared else (model, start_engine(model, adapter_rank=4))), *request.param)
    yield rig
    if not is_shared:
        rig.rollouts.shutdown()
    rig.learners.shutdown()


def test_engine_follows_the_adapter(rig: Rig, prompts: list[PromptTask], tmp_path: Path) -> None:
    """Logprobs agree after each of three updates; nothing but the adapter moved, and the reference not at all."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    at_start = rig.learners.score(PROBES)
    rig.sync()
    for _ in range(3):
        assert rig.gap() < PARITY
        metrics = rig.step(prompts)
        assert metrics["mismatch/logprob_gap_mean"] < PARITY
        assert rig.gap() > 1e-3, "the update must move the learner away from the engine, or the check proves nothing"
        rig.sync()
    assert rig.gap() < PARITY
    assert rig.learners.score(PROBES, "reference") == at_start != rig.learners.score(PROBES)

    rig.learners.save_model(tmp_path)
    base, merged = (load_file(path / "model.safetensors") for path in (rig.model, tmp_path))
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert base.keys() == merged.keys()
    adapted = {name.split(".lora_")[0].removeprefix("base_model.model.") + ".weight" for name in adapter}
    assert len(adapted) == {"merged": 14, "adapter": 8}[rig.send], "two layers of seven, of which four are adapted"
    for name, weight in merged.items():
        if name not in adapted:
            assert weight.equal(base[name])
            continue
        stem = "base_model.model." + name.removesuffix(".weight")
        update = 2 * adapter[f"{stem}.lora_B.weight"] @ adapter[f"{stem}.lora_A.weight"]  # alpha / rank = 8 / 4
        torch.testing.assert_close(weight, base[name] + update, rtol=0.0, atol=1e-6)
    alone = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(rig.model), str(tmp_path / "adapter"))
    whole, tokens_BT = AutoModelForCausalLM.from_pretrained(tmp_path), torch.tensor([PROBE])
    with torch.no_grad():
        torch.testing.assert_close(alone(tokens_BT).logits, whole(tokens_BT).logits, rtol=0.0, atol=1e-4)


def test_requests_under_way_outlive_a_sync(rig: Rig, prompts: list[PromptTask]) -> None:
    rig.sync()
    pending = rig.rollouts.submit(prompts * 2, num_samples=8)
    rig.step(prompts[:4])
    rig.sync()
    groups, _ = rig.rollouts.collect(pending)
    samples = [sample for group in groups for sample in group.samples]
    assert len(samples) == 64 * 8
    assert all(sample.finish_reason == "stop" or sample.num_response_tokens == 16 for sample in samples)
    assert rig.gap() < PARITY


@pytest.mark.parametrize("rig", RIGS[1:], ids=["adapter"], indirect=True)
def test_an_adapter_that_vllm_refuses_is_one_line(rig: Rig) -> None:
    import numpy as np

    config = {"peft_type": "LORA", "r": 32, "lora_alpha": 64, "target_modules": ["q_proj"]}
    first = rig.rollouts.workers[:1]
    call = first[0].load_adapter.remote(np.zeros(8, dtype=np.uint8), config)
    with pytest.raises(RunError, match=r"vLLM cannot load the adapter .*: LoRA rank 32 is greater than") as caught:
        Watch(None).get("an adapter", [call], first)
    assert "\n" not in str(caught.value)
    rig.sync()
    assert rig.gap() < PARITY, "the engine lives on"


# Ranks, ZeRO stage, and what else: recomputed activations must not lose the gradient on the frozen embedding's way.
LAYOUTS: list[dict[str, Any]] = [
    {},
    {"workers": 2, "zero_stage": 2, "gradient_checkpointing": True},
    {"workers": 2, "zero_stage": 3},
    {"zero_stage": 1, "dtype": "bfloat16"},
]


@pytest.fixture(scope="module")
def trained(
    local_ray: None, model: Path, batches: list[list[TrainSequence]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Trained]:
    """Four updates in a layout; after the second the reference is refreshed and a checkpoint is made."""

    @cache
    def train(number: int) -> Trained:
        folder = tmp_path_factory.mktemp(f"layout-{number}")
        fleet = learner(model, **LAYOUTS[number])
        losses, references = [], []
        for at, batch in enumerate(batches):
            references.append(fleet.score(PROBES, "reference")[0])
            losses.append(step(fleet, batch)["policy/loss"])
            if at == 1:
                fleet.refresh_reference()
                (folder / "checkpoint").mkdir()
                fleet.save_checkpoint(folder / "checkpoint")
        scores = fleet.score(PROBES)[0]
        fleet.save_model(folder)
        fleet.shutdown()
        adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
        return Trained(
            checkpoint=folder / "checkpoint", losses=losses, references=references, scores=scores, adapter=adapter
        )

    return train


@pytest.mark.long
@pytest.mark.parametrize("number", [1, 2])
def test_ranks_and_zero_stages_give_one_adapter(trained: Callable[[int], Trained], number: int) -> None:
    """Also when the reference is scored between the updates, as a KL penalty asks."""
    one, other = trained(0), trained(number)
    assert one.losses[-1] < 0.9 * one.losses[0]
    assert other.losses == pytest.approx(one.losses, rel=1e-4)
    assert one.references[0] == one.references[1] != one.references[2] == one.references[3]
    for found, expected in zip(other.references, one.references, strict=True):
        assert found == pytest.approx(expected, abs=1e-4)
    assert other.adapter.keys() == one.adapter.keys()
    for name, factor in other.adapter.items():  # to a tenth of the learning rate, which is what a step moves them by
        torch.testing.assert_close(factor, one.adapter[name], rtol=0.0, atol=1e-3, msg=name)


@pytest.mark.parametrize(
    "number", [0, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)]
)
def test_resume_goes_on_as_if_nothing_had_happened(
    trained: Callable[[int], Trained], model: Path, batches: list[list[TrainSequence]], number: int
) -> None:
    """Bit for bit, with a reference that was refreshed; only what is trained is in the checkpoint."""
    whole = trained(number)
    fleet = learner(model, **LAYOUTS[number])
    fleet.load_checkpoint(whole.checkpoint)
    assert fleet.score(PROBES, "reference")[0] == whole.references[2]
    assert [step(fleet, batch)["policy/loss"] for batch in batches[2:]] == whole.losses[2:]
    assert fleet.score(PROBES)[0] == whole.scores
    assert fleet.score(PROBES, "reference")[0] == whole.references[3]

    states = sorted((whole.checkpoint / "learner").glob("*model_states.pt"))[0]
    saved = torch.load(states, weights_only=False)["module"]  # our own file
    assert len(saved) == 28 and all(".lora_" in name for name in saved), "14 layers with two matrices each"

    layout = whole.checkpoint / "learner.json"
    layout.write_text(layout.read_text().replace('"alpha": null', '"alpha": 4'))
    with pytest.raises(RunError, match="was made with learner lora .*'alpha': 4.*, now .*'alpha': None"):
        fleet.load_checkpoint(whole.checkpoint)
    fleet.shutdown()


def test_critic_trains_its_head_beside_the_adapter(
    local_ray: None, model: Path, batches: list[list[TrainSequence]], tmp_path: Path
) -> None:
    critic = learner(model, head="value")
    critic.save_model(tmp_path / "before")
    losses = [step(critic, batch, ValueLoss(clip=None))["critic/loss"] for batch in batches]
    critic.save_model(tmp_path / "after")
    critic.shutdown()
    assert losses[-1] < 0.7 * losses[0]
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("before", "after"))
    moved = {name for name in before if not before[name].equal(after[name])}
    linear = {name for name in before if name.endswith("_proj.weight")}
    assert (
        {"score.weight"} <= moved - linear <= {"score.weight", "score.bias"} and linear <= moved and len(linear) == 14
    )


def run_config(folder: Path, stage: str, model: Path, lora: dict[str, Any], **keys: Any) -> Path:
    learner = {"cpus": 0.5, "threads": 1, "lr": 1e-2, "lora": lora}
    path = folder / f"{stage}.yaml"
    path.write_text(yaml.safe_dump({"stage": stage, "model": str(model), "learner": learner, **keys}))
    return path


@pytest.mark.long
@pytest.mark.slow
def test_sft_run_leaves_a_merged_model_and_its_adapter(
    start: Callable[..., Command], model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    rows = [{"prompt": f"{a}+{b}=", "completion": str((a + b) % 10)} for a in range(10) for b in range(10)]
    (tmp_path / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"data": {"path": str(tmp_path / "sft.jsonl")}, "steps": 8, "tokens_per_step": 600, "context_tokens": 64}
    config = run_config(tmp_path, "sft", model, {"rank": 4}, **data)
    status, _, errors = start("run", config, "--run-dir", tmp_path / "run").finish(600)
    assert status == 0, errors
    losses = [row["policy/loss"] for row in read_lines(tmp_path / "run" / "metrics.jsonl")]
    assert losses[-1] < 0.7 * losses[0]
    final = tmp_path / "run" / "final"
    alone = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), str(final / "adapter"))
    whole, tokens_BT = AutoModelForCausalLM.from_pretrained(final), torch.tensor([PROBE])
    with torch.no_grad():
        torch.testing.assert_close(alone(tokens_BT).logits, whole(tokens_BT).logits, rtol=0.0, atol=1e-4)
        with alone.disable_adapter():
            assert (alone(tokens_BT).logits - whole(tokens_BT).logits).abs().max() > 0.01


LUCKY = '''
def reward(response, task):
    """Share of sevens: dense, so that a few steps on a random model raise it."""
    return response.count("7") / max(1, len(response))
'''


@pytest.mark.long
@pytest.mark.slow
def test_rl_run_raises_a_reward_by_an_adapter(start: Callable[..., Command], model: Path, tmp_path: Path) -> None:
    (tmp_path / "lucky.py").write_text(LUCKY)
    config = run_config(
        tmp_path,
        "rl",
        model,
        {"rank": 4, "send": "adapter"},
        tasks={"generate": "rlreason.tasks.chains:tasks", "args": {"num": 40, "seed": 1}},
        rewards=[{"name": "lucky", "path": f"{tmp_path / 'lucky.py'}:reward"}],
        reward_workers={"cpus": 0.1},
        rollout={"cpus": 0.5, "threads": 1, "max_context_tokens": 64, "max_response_tokens": 8},
        steps=12,
        prompts_per_step=8,
        samples_per_prompt=16,
        algorithm={"kl": {"estimator": "k2", "coef": 0.001}},
    )
    status, _, errors = start("run", config, "--run-dir", tmp_path / "run").finish(600)
    assert status == 0, errors
    steps = [row for row in read_lines(tmp_path / "run" / "metrics.jsonl") if "policy/loss" in row]
    assert steps[0]["policy/kl"] == 0.0 < steps[-1]["policy/kl"]
    assert steps[-1]["reward/lucky/mean"] > steps[0]["reward/lucky/mean"] + 0.2
    assert max(row["mismatch/logprob_gap_mean"] for row in steps) < PARITY
    assert (tmp_path / "run" / "final" / "adapter" / "adapter_config.json").is_file()
