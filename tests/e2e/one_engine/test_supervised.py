"""Pretraining and SFT as a user runs them: mixtures, shared rows, held-out text, interrupt and resume."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlreason.recipes.recipe import run_path
from rlreason.tasks import chains
from tests.conftest import Command, read_lines, wait_for

pytestmark = [pytest.mark.engines, pytest.mark.slow]

LEARNER = {"workers": 2, "cpus": 0.5, "threads": 1, "lr": 3e-3, "lr_schedule": "wsd", "pack_tokens": 128}
ARCHITECTURE = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 1, "num_key_value_heads": 1, "max_position_embeddings": 128,
}  # fmt: skip
STEPS = 24
PROMPTS = ["3+4=", "1"]


def pretrain_config(folder: Path) -> Path:
    long = [{"text": row["text"] + "=" * 300} for row in chains.texts(num=60, seed=4)]
    (folder / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in long))
    config = {
        "stage": "pretrain",
        "tokenizer": "rlreason.tasks.chains:tokenizer",
        "architecture": ARCHITECTURE,
        "data": {
            "chains": {"generate": "rlreason.tasks.chains:texts", "args": {"num": 500, "seed": 3}, "weight": 3.0},
            "long": {"path": str(folder / "long.jsonl")},
        },
        "held_out": {"share": 0.1, "documents": 20, "every": 8, "prompts": PROMPTS, "continuation_tokens": 6},
        "steps": STEPS,
        "tokens_per_step": 600,
        "context_tokens": 64,
        "learner": LEARNER,
        "checkpoints": {"every": 5},
    }
    (folder / "10-pretrain.yaml").write_text(yaml.safe_dump(config))
    return folder / "10-pretrain.yaml"


def told(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what time is in."""
    timed = ("time_s", "throughput/train_tokens_per_s")
    return [{k: v for k, v in row.items() if k not in timed} for row in read_lines(run / "metrics.jsonl")]


@pytest.fixture(scope="module")
def whole(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a pretraining left in peace; its configuration lies beside it."""
    folder = tmp_path_factory.mktemp("pretraining")
    run_path(pretrain_config(folder), [], folder / "whole")
    return folder / "whole"


def test_pretraining_learns_and_measures(whole: Path) -> None:
    check_pretraining(whole)


@pytest.mark.parametrize("num_signals", [pytest.param(1, marks=pytest.mark.long), 2])
def test_an_interrupted_pretraining_ends_as_one_that_was_left_in_peace(
    start: Callable[..., Command], whole: Path, tmp_path: Path, num_signals: int
) -> None:
    """The second signal may come in the middle of a step, which is then not in a checkpoint."""
    config, broken = whole.parent / "10-pretrain.yaml", tmp_path / "broken"
    break_off(start("run", config, "--run-dir", broken), broken, num_signals)
    run_path(config, [], broken, resume=True)
    assert told(broken) == told(whole)
    weights = [(run / "final" / "model.safetensors").read_bytes() for run in (whole, broken)]
    assert weights[0] == weights[1]
    assert read_lines(broken / "samples.jsonl") == read_lines(whole / "samples.jsonl")


def break_off(command: Command, run: Path, num_signals: int) -> None:
    wait_for(lambda: len(read_lines(run / "metrics.jsonl")) > 12 or not command.running, 200, "twelve lines")
    for _ in range(num_signals):
        command.interrupt()
    assert command.finish(60)[0] != 0
    assert read_lines(run / "metrics.jsonl")[-1]["step"] < STEPS, "the run was over before; raise STEPS"


def check_pretraining(run: Path) -> None:
    steps = [row for row in read_lines(run / "metrics.jsonl") if "policy/loss" in row]
    assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
    assert steps[-1]["policy/loss"] < 0.7 * steps[0]["policy/loss"]
    assert "policy/entropy" not in steps[0] and "mismatch/kl" not in steps[0]
    assert steps[-1]["data/chains/tokens"] == pytest.approx(3 * steps[-1]["data/long/tokens"], abs=3 * 64)
    assert steps[-1]["policy/lr"] == 0.0 and steps[18]["policy/lr"] == 3e-3, "constant, then down over the last fifth"
    measured = [row for row in read_lines(run / "metrics.jsonl") if "eval/chains/bits_per_byte" in row]
    assert [row["step"] for row in measured] == [0, 8, 16, 24]
    for name in ("chains", "long"):
        curve = [row[f"eval/{name}/bits_per_byte"] for row in measured]
        # Fresh weights are nearly uniform over 64 tokens, and here nearly every token is a byte.
        assert 3 < curve[0] < 7 and curve[-1] < 0.8 * curve[0]
    continued = read_lines(run / "samples.jsonl")
    assert [(row["step"], row["prompt"]) for row in continued] == [(at, p) for at in (0, 8, 16, 24) for p in PROMPTS]
    assert all(row["split"] == "continuation" and row["num_tokens"] <= 6 for row in continued)
    config = json.loads((run / "final" / "config.json").read_text())
    assert (config["vocab_size"], config["bos_token_id"], config["eos_token_id"]) == (64, 1, 2)


@pytest.mark.long
def test_a_checkpoint_is_continued_and_made_to_chat(
    start: Callable[..., Command], tiny_model: Path, tmp_path: Path
) -> None:
    """Continued pretraining and SFT start from its weights; too long conversations are dropped and counted; what the
    model does not know, which is everything, is a source of its own.
    """
    answers = ["2", "3" * 90, "4"]
    rows = [{"prompt": "1+1=", "completion": answer} for answer in answers]
    (tmp_path / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = {"model": str(tiny_model), "steps": 3, "tokens_per_step": 64, "context_tokens": 64, "learner": LEARNER}
    texts = {"generate": "rlreason.tasks.chains:texts", "args": {"num": 50, "seed": 1}}
    questions = {"generate": "rlreason.tasks.chains:tasks", "args": {"num": 8, "seed": 3}}
    asking = {
        "knowledge": {"questions": questions, "samples": 2, "refusals": ["0"]},
        "rewards": [{"name": "math", "path": "rlreason.rewards.math:reward"}],
        "rollout": {"cpus": 0.5, "threads": 1, "max_context_tokens": 64, "max_response_tokens": 8},
    }
    for config in (
        {"stage": "pretrain", "data": texts, **common},
        {"stage": "sft", "data": {"mine": {"path": str(tmp_path / "sft.jsonl")}}, **common, **asking},
    ):
        path, run = tmp_path / f"{config['stage']}.yaml", tmp_path / str(config["stage"])
        path.write_text(yaml.safe_dump(config))
        status, out, errors = start("run", path, "--run-dir", run).finish(600)
        assert status == 0, errors + out
        steps = read_lines(run / "metrics.jsonl")
        assert len(steps) == 3 and steps[0]["policy/loss"] > 1.0
        assert (run / "final" / "config.json").is_file() and (run / "final" / "chat_template.jinja").is_file()
    assert steps[-1]["data/dropped_too_long"] > 0 and steps[-1]["data/epochs"] > 3
    assert steps[-1]["data/knowledge/tokens"] == pytest.approx(steps[-1]["data/mine/tokens"], abs=2)
