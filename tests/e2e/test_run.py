"""`rlreason run` as a user runs it: a short recipe leaves what the run directory promises, and RL raises a reward."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.engines, pytest.mark.slow]

STEP_KEYS = {
    "step", "time_s", "policy_version", "reward/mean", "reward/std", "reward/math/mean", "reward/error_rate",
    "response/tokens_mean", "response/truncated_rate", "policy/loss", "policy/entropy", "policy/clip_fraction",
    "policy/grad_norm", "policy/lr", "mismatch/logprob_gap_mean", "mismatch/kl", "mismatch/probe_gap_mean",
    "staleness/mean", "staleness/max", "time/rollout_s", "time/reward_s", "time/update_s", "time/sync_s",
    "throughput/rollout_tokens_per_s", "throughput/train_tokens_per_s",
}  # fmt: skip

LUCKY = '''
def reward(response, task):
    """Share of sevens: dense, so that a few steps on a random model raise it."""
    return response.count("7") / max(1, len(response))
'''


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_recipe_leaves_what_it_promises(start: Callable[..., Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    short = ["10-corpus.sources.pydoc.args.limit_bytes=2000000", "20-tokenizer.vocab_size=512"]
    short += ["30-pretrain.steps=8", "30-pretrain.data.chains.args.num=1500", "30-pretrain.held_out.every=4"]
    short += ["40-sft.steps=4", "40-sft.data.chains.args.num=1000", "40-sft.knowledge.questions.args.num=20"]
    short += ["60-rl.steps=2", "60-rl.tasks.chains.args.num=100", "60-rl.checkpoints.every=1"]
    short += ["60-rl.algorithm.kl={estimator: k2, coef: 0.01}", "60-rl.algorithm.minibatches=2"]
    stages = ["10-corpus", "20-tokenizer", "30-pretrain", "40-sft", "60-rl", "70-evaluate"]
    for stage in stages[2:]:
        nums = {"chains": 50, "chains_plain": 10, "known": 10, "known_refused": 10, "unknown": 10, "identity": 5}
        nums |= {"unsafe": 5, "safe": 5}
        short += [f"{stage}.eval.tasks.{name}.args.num={num}" for name, num in nums.items()]
    status, out, err = start("run", "configs/tiny-cpu", "--run-dir", run, *short).finish(1100)
    assert status == 0, err
    assert "report:" in out

    summary = json.loads((run / "summary.json").read_text())
    assert [stage["name"] for stage in summary["stages"]] == stages
    assert [stage["stage"] for stage in summary["stages"]] == [
        "corpus", "tokenizer", "pretrain", "sft", "rl", "evaluate",
    ]  # fmt: skip
    for stage in summary["stages"]:
        assert stage["status"] == "done"
        assert stage["duration_s"] > 0
        if stage["stage"] not in ("corpus", "tokenizer"):
            assert set(stage["eval"]) >= {"chains/greedy_accuracy", "chains/response_tokens_mean"}
        folder = run / stage["dir"]
        assert (folder / "report.html").stat().st_size > 1000
        assert {row["event"] for row in rows(folder / "events.jsonl")} >= {"start", "done"}
        assert yaml.safe_load((folder / "config.yaml").read_text())["stage"] == stage["stage"]
        assert "packages" in json.loads((folder / "manifest.json").read_text())
    assert {"web/bits_per_byte", "chains/bits_per_byte"} <= set(summary["stages"][2]["eval"])
    assert set(summary["stages"][5]["eval"]) >= {"chains/avg@4", "chains/pass@4", "chains/maj@4"}

    check_rl_stage(run / "60-rl", run / "40-sft")


def check_rl_stage(folder: Path, parent: Path) -> None:
    from safetensors.torch import load_file

    steps = [row for row in rows(folder / "metrics.jsonl") if "policy/loss" in row]
    assert [row["step"] for row in steps] == [1, 2]
    for row in steps:
        missing = (STEP_KEYS | {"policy/kl"}) - row.keys()
        assert not missing
        assert sum(value for key, value in row.items() if key.startswith("verdict/")) == 24 * 16
        assert row["mismatch/logprob_gap_mean"] < 1e-5
        assert row["mismatch/probe_gap_mean"] < 1e-4
        assert row["staleness/max"] == 0.0
    assert steps[1]["policy/kl"] > steps[0]["policy/kl"] >= 0.0
    samples = [row for row in rows(folder / "samples.jsonl") if row["split"] == "train"]
    assert len(samples) == 2 * 24 * 16
    assert len({row["task_id"] for row in samples}) == 48, "each prompt is used once an epoch"
    assert {row["policy_version"] for row in samples if row["step"] == 2} == {1}
    assert all(row["prompt"].count("<|begin|>") == 1 for row in samples)
    old, new = (load_file(path / "final" / "model.safetensors") for path in (parent, folder))
    assert old.keys() == new.keys()
    assert all(not old[name].equal(new[name]) for name in old), "every tensor is trained"
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-000001", "step-000002"]
    manifest = json.loads((folder / "manifest.json").read_text())
    parent_hash = json.loads((parent / "manifest.json").read_text())["artifact_hash"]
    assert [made["hash"] for made in manifest["parents"].values()] == [parent_hash]


def test_rl_raises_a_users_reward(start: Callable[..., Any], tiny_model: Path, tmp_path: Path) -> None:
    """From a random model, tasks in a Parquet file, a reward in a Python file; `[1]` in a path is no pattern."""
    import datasets

    questions = [{"question": f"{i % 10}+{i // 10 + 1}=", "gold": str(i), "hint": "x"} for i in range(40)]
    datasets.Dataset.from_list(questions).to_parquet(str(tmp_path / "tasks[1].parquet"))
    model = shutil.copytree(tiny_model, tmp_path / "model[1]*")
    (tmp_path / "lucky.py").write_text(LUCKY)
    config = {
        "stage": "rl",
        "model": str(model),
        "tasks": {"path": str(tmp_path / "tasks[1].parquet"), "prompt_column": "question", "answer_column": "gold"},
        "rewards": [{"name": "lucky", "path": f"{tmp_path / 'lucky.py'}:reward"}],
        "reward_workers": {"cpus": 0.1},
        "rollout": {"cpus": 0.5, "threads": 1, "max_context_tokens": 32, "max_response_tokens": 8},
        "learner": {"cpus": 0.5, "threads": 1, "lr": 1e-2},
        "steps": 15,
        "prompts_per_step": 8,
        "samples_per_prompt": 16,
    }
    (tmp_path / "rl.yaml").write_text(yaml.safe_dump(config))
    status, _, err = start("run", tmp_path / "rl.yaml", "--run-dir", tmp_path / "run[1]").finish(600)
    assert status == 0, err
    steps = rows(tmp_path / "run[1]" / "metrics.jsonl")
    assert steps[-1]["reward/lucky/mean"] > steps[0]["reward/lucky/mean"] + 0.3
    assert max(row["mismatch/logprob_gap_mean"] for row in steps) < 1e-5
