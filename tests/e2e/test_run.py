"""`rlreason run` as a user runs it: a short recipe leaves what the run directory promises."""

import json
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


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "evaluated", [["60-rl"], pytest.param(["30-pretrain", "40-sft", "60-rl"], marks=pytest.mark.long)]
)
def test_a_recipe_leaves_what_it_promises(start: Callable[..., Any], tmp_path: Path, evaluated: list[str]) -> None:
    """`evaluated`: the training stages that end with an evaluation, each of which starts an engine."""
    run = tmp_path / "run"
    short = ["10-corpus.sources.pydoc.args.limit_bytes=2000000", "20-tokenizer.vocab_size=512"]
    short += [f"20-tokenizer.data.{name}.args.num=500" for name in ("chains", "facts", "dialogue")]
    short += ["30-pretrain.steps=8", "30-pretrain.data.chains.args.num=1500", "30-pretrain.held_out.every=4"]
    short += ["30-pretrain.data.facts.args.num=500", "40-sft.steps=4", "40-sft.knowledge.questions.args.num=20"]
    short += [f"40-sft.data.{name}.args.num=500" for name in ("chains", "identity", "safety", "dialogue", "facts")]
    short += ["60-rl.steps=2", "60-rl.tasks.chains.args.num=100", "60-rl.checkpoints.every=1"]
    short += ["60-rl.algorithm.kl={estimator: k2, coef: 0.01}", "60-rl.algorithm.minibatches=2"]
    stages = ["10-corpus", "20-tokenizer", "30-pretrain", "40-sft", "60-rl", "70-evaluate"]
    short += [f"{stage}.eval=null" for stage in stages[2:4] if stage not in evaluated]
    for stage in [*evaluated, stages[5]]:
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
        if stage["dir"] in [*evaluated, "70-evaluate"]:
            assert set(stage["eval"]) >= {"chains/greedy_accuracy", "chains/response_tokens_mean"}
        folder = run / stage["dir"]
        assert (folder / "report.html").stat().st_size > 1000
        assert {row["event"] for row in rows(folder / "events.jsonl")} >= {"start", "done"}
        assert yaml.safe_load((folder / "config.yaml").read_text())["stage"] == stage["stage"]
        assert "packages" in json.loads((folder / "manifest.json").read_text())
    assert {"web/bits_per_byte", "chains/bits_per_byte"} <= set(summary["stages"][2]["eval"])
    assert set(summary["stages"][5]["eval"]) >= {"chains/avg@4", "chains/pass@4", "chains/maj@4"}

    records = rows(run / "40-sft" / "knowledge.jsonl")
    assert len(records) == len({record["question"] for record in records}) == 20
    found = {(record["right"], record["class"], len(record["answers"])) for record in records}
    assert found == {(0.0, "unknown", 4)}, "a model of eight steps knows nothing"
    assert len({answer for record in records for answer in record["answers"]}) > 20, "samples of a question differ"
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
