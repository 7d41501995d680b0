"""What `rlreason plan` says, against numbers worked out by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import LlamaConfig

from rlreason.config.schema import EvaluateConfig, LearnerConfig
from rlreason.recipes.plan import GIB, count_parameters, describe, engine_bytes, learner_bytes
from rlreason.workers.cluster import Machine

LARGE = Machine(num_cpus=64, num_gpus=0, memory_bytes=512 * GIB)
SMALL = Machine(num_cpus=2, num_gpus=0, memory_bytes=4 * GIB)


@pytest.mark.parametrize(
    ("config", "keep_reference", "expected"),
    [
        # weights 4, gradients 4, two moments 8, the weights before the first step 4
        ({}, False, 4 + 4 + 8 + 4),
        # and the reference 4
        ({}, True, 4 + 4 + 8 + 4 + 4),
        # over 4 workers: states from stage 1, gradients from 2, weights at 3; the copies are whole
        ({"zero_stage": 1, "workers": 4}, False, 4 + 4 + 8 / 4 + 4),
        ({"zero_stage": 2, "workers": 4}, False, 4 + 4 / 4 + 8 / 4 + 4),
        ({"zero_stage": 3, "workers": 4}, True, (4 + 4 + 8) / 4 + 4),
        # bfloat16: a float32 master copy beside the moments, nothing kept of the first step
        ({"dtype": "bfloat16"}, True, 2 + 2 + 12 + 2),
    ],
)
def test_bytes_of_a_learner_worker(config: dict[str, Any], keep_reference: bool, expected: float) -> None:
    assert learner_bytes(1000, LearnerConfig(lr=1e-3, **config), keep_reference=keep_reference) == 1000 * expected


@pytest.mark.parametrize(
    ("config", "keep_reference", "expected"),
    [
        # the frozen weights 4; the adapter's weights 4, gradients 4, moments 8, and it before the first step 4
        ({}, False, 1000 * 4 + 10 * (4 + 4 + 8 + 4)),
        # a refreshed reference is a whole model
        ({}, True, 1000 * (4 + 4) + 10 * (4 + 4 + 8 + 4)),
        ({"zero_stage": 3, "workers": 2}, False, (1000 * 4 + 10 * (4 + 4 + 8)) / 2),
        ({"dtype": "bfloat16"}, False, 1000 * 2 + 10 * (2 + 2 + 12)),
    ],
)
def test_bytes_with_an_adapter(config: dict[str, Any], keep_reference: bool, expected: float) -> None:
    found = learner_bytes(1000, LearnerConfig(lr=1e-3, **config), keep_reference=keep_reference, num_adapter=10)
    assert found == expected


def test_the_plan_counts_what_lora_trains(tiny_model: Path, tmp_path: Path) -> None:
    architecture = json.loads((tiny_model / "config.json").read_text())
    body = {"stage": "sft", "model": str(tiny_model), "data": {"path": "x.jsonl"}, "steps": 1}
    body |= {"context_tokens": 64, "tokens_per_step": 64, "learner": {"lr": 1e-3, "lora": {"rank": 2}}}
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(body))
    # Each of a layer's seven matrices gets 2 rows of its inputs and 2 columns of its outputs.
    hidden, inner = architecture["hidden_size"], architecture["intermediate_size"]
    kv = hidden // architecture["num_attention_heads"] * architecture["num_key_value_heads"]
    one_layer = 2 * ((hidden + hidden) * 2 + (hidden + kv) * 2 + (hidden + inner) * 3)
    trained = architecture["num_hidden_layers"] * one_layer
    assert f"LoRA of rank 2: {trained:,} parameters are trained" in describe(tmp_path / "sft.yaml", [])


def test_bytes_of_an_engine() -> None:
    body: dict[str, Any] = {"stage": "evaluate", "model": "m", "eval": {"tasks": {"path": "x"}}, "dtype": "bfloat16"}
    body |= {"rewards": [{"name": "a", "path": "m:f"}], "rollout": {"kv_cache_gib": 2}}
    assert engine_bytes(1000, EvaluateConfig(**body)) == 2000 + 2 * GIB


def test_the_rules_of_a_corpus_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "10-corpus.yaml"
    path.write_text("stage: corpus\nsources: {web: {path: x.warc}}\nc4: null\n")
    shown = describe(path, ["decontamination.data={a: {path: x.jsonl}}"])
    rules = "url, language, gopher_repetition, gopher_quality, fineweb, decontamination, mask_pii, dedup"
    assert f"rules: {rules}\n" in shown
    assert "gopher_quality, fineweb\n" in describe(path, ["dedup=null", "mask_pii=false"])


def test_the_plan_of_preferences_names_scorers_and_the_guard() -> None:
    text = describe(Path(__file__).parents[3] / "configs/tiny-preferences", [])
    stages = dict(block.split(":", 1) for block in text.split("\n\n")[:-1])
    assert "scorer: 1 worker(s) x 0.25 CPU" in stages["30-rl"]
    assert "scorer" not in stages["20-reward-model"]
    assert "reward preference: stage:20-reward-model x 1" in stages["40-rl-ppo"]
    assert "guard: rollback, by eval/held/reward@4" in stages["30-rl"]


@pytest.mark.parametrize(("stage", "keep_reference"), [("dpo", True), ("reward_model", False)])
def test_dpo_keeps_a_reference(tmp_path: Path, stage: str, keep_reference: bool) -> None:
    LlamaConfig(hidden_size=1024, num_hidden_layers=8).save_pretrained(tmp_path / "model")
    config = {
        "stage": stage,
        "model": str(tmp_path / "model"),
        "data": {"path": "x.jsonl"},
        "steps": 1,
        "rows_per_step": 2,
    }
    config |= {"context_tokens": 64, "learner": {"lr": 1e-3}}
    (tmp_path / "stage.yaml").write_text(yaml.safe_dump(config))
    num_parameters = count_parameters(LlamaConfig.from_pretrained(tmp_path / "model"))
    expected = learner_bytes(num_parameters, LearnerConfig(lr=1e-3), keep_reference=keep_reference) / GIB
    assert f"about {expected:.2f} GiB" in describe(tmp_path / "stage.yaml", [])


def test_only_a_guard_that_watches_kl_keeps_a_reference_and_scorers_hold_every_reward_model(tmp_path: Path) -> None:
    LlamaConfig(hidden_size=1024, num_hidden_layers=8).save_pretrained(tmp_path / "model")
    num_parameters = count_parameters(LlamaConfig.from_pretrained(tmp_path / "model"))
    model = str(tmp_path / "model")
    body = {"stage": "rl", "model": model, "tasks": {"path": "x.jsonl"}, "steps": 1, "prompts_per_step": 2}
    body |= {"samples_per_prompt": 2, "learner": {"lr": 1e-3}}
    body |= {"rewards": [{"name": "one", "model": model}, {"name": "two", "model": model}]}
    (tmp_path / "rl.yaml").write_text(yaml.safe_dump(body))
    for guard, keep_reference in (("null", False), ("{}", False), ("{max_kl: 1.0}", True)):
        text = describe(tmp_path / "rl.yaml", [f"guard={guard}"], LARGE)
        expected = learner_bytes(num_parameters, LearnerConfig(lr=1e-3), keep_reference=keep_reference) / GIB
        assert f"learner: 1 worker(s) x 1 CPU, about {expected:.2f} GiB" in text
        assert guard == "null" or f"guard: warn, by drift alone, with{'' if keep_reference else 'out'} a ref" in text
        assert f"scorer: 1 worker(s) x 1 CPU, about {2 * 4 * num_parameters / GIB:.2f} GiB" in text
    (tmp_path / "rl.yaml").write_text(yaml.safe_dump(body | {"rewards": [{"name": "one", "model": "on/a-hub"}]}))
    assert "scorer: 1 worker(s) x 1 CPU\n" in describe(tmp_path / "rl.yaml", [], LARGE)


@pytest.fixture
def minimal(tmp_path: Path, tiny_model: Path) -> Path:
    """An RL file with nothing but what it must have; the model has 256 positions."""
    body = {"stage": "rl", "model": str(tiny_model), "tasks": {"path": "x.jsonl"}, "steps": 1}
    path = tmp_path / "rl.yaml"
    path.write_text(yaml.safe_dump(body | {"rewards": [{"name": "math", "path": "rlreason.rewards.math:reward"}]}))
    return path


def test_a_minimal_file_fits_two_cores_and_the_model(minimal: Path) -> None:
    text = describe(minimal, [], SMALL)
    assert "learner: 1 worker(s) x 0.95 CPU" in text and "rollout: 1 worker(s) x 0.95 CPU" in text
    assert "this machine has 2 CPUs, 4.0 GiB of memory, no GPU" in text and "does not fit" not in text


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("learner.workers=3", ""),
        ("rollout={cpus: 4}", "the workers need 5.1 CPUs (learner 1 x 1, rollout 1 x 4, reward_workers 1 x 0.1)"),
        (
            "learner.gpus=1",
            "the workers need 1 GPUs (learner 1 x 1, rollout 1 x 0, reward_workers 1 x 0), this machine",
        ),
        (
            "rollout.kv_cache_gib=9",
            "about 9.0 GiB of memory before activations (learner 0.0, rollout 9.0), this machine",
        ),
        ("rollout.max_context_tokens=512", "rollout.max_context_tokens: 512 is more than the model's max_position"),
        (
            "rollout.max_response_tokens=300",
            "rollout.max_response_tokens: 300 leaves no room for a prompt",
        ),
    ],
)
def test_the_plan_says_what_does_not_fit(minimal: Path, override: str, problem: str) -> None:
    lines = [line for line in describe(minimal, [override], SMALL).splitlines() if "does not fit" in line]
    assert len(lines) == bool(problem) and all(f"does not fit: rl: {problem}" in line for line in lines), lines
