"""The recipe configs/tiny-cpu as its user runs it: figures of three seeds, the control, and where time goes.

Opt-in, a quarter of an hour and more on two idle cores: `pytest -m bench -s tests/bench`.
"""

import json
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

ROOT = Path(__file__).resolve().parents[2]
TASK = "chains"
BITS = "eval/web/bits_per_byte"


def run(*arguments: str) -> float:
    """Runs the CLI to its end. Returns: seconds."""
    start_s = time.time()
    subprocess.run([sys.executable, "-m", "rlreason", "run", *arguments], cwd=ROOT, check=True)
    return time.time() - start_s


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def figures(run_dir: Path) -> dict[str, dict[str, float]]:
    summary = json.loads((run_dir / "summary.json").read_text())
    return {stage["name"]: stage["eval"] for stage in summary["stages"]}


@pytest.fixture(scope="module", params=[0, 1, 2])
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path, float]:
    """A whole run with one seed for everything random: seed, its directory, seconds."""
    seed = request.param
    path = tmp_path_factory.mktemp("recipe") / f"seed-{seed}"
    # The data's seeds change with the run's, the held-out prompts do not.
    overrides = [f"{stage}.seed={seed}" for stage in ("30-pretrain", "40-sft", "60-rl")]
    overrides += [f"30-pretrain.data.{source}.args.seed={10 + seed}" for source in ("chains", "facts")]
    overrides += [
        f"40-sft.data.{source}.args.seed={20 + seed}" for source in ("chains", "identity", "safety", "dialogue")
    ]
    # Facts are replayed as they were pretrained on.
    overrides += [f"40-sft.data.facts.args.seed={10 + seed}", f"60-rl.tasks.chains.args.seed={30 + seed}"]
    return seed, path, run("configs/tiny-cpu", "--run-dir", str(path), *overrides)


def test_reasoning_appears(recipe: tuple[int, Path, float]) -> None:
    """RL at least 30 points above SFT; answers three times longer; parity 1e-5 at every step; bits per byte fall;
    20 minutes at most."""
    seed, path, duration_s = recipe
    found = figures(path)
    steps = [row for row in rows(path / "60-rl" / "metrics.jsonl") if "policy/loss" in row]
    gap = max(row["mismatch/logprob_gap_mean"] for row in steps)
    sft, rl = found["40-sft"], found["60-rl"]
    ratio = rl[f"{TASK}/response_tokens_mean"] / sft[f"{TASK}/response_tokens_mean"]
    base = found["30-pretrain"][f"{TASK}_plain/greedy_accuracy"]
    print(
        f"\nseed {seed}: base in its own format {base:.3f}, SFT {sft[f'{TASK}/greedy_accuracy']:.3f}, "
        f"RL {rl[f'{TASK}/greedy_accuracy']:.3f}, tokens x{ratio:.2f}, "
        f"largest logprob gap {gap:.1e}, {duration_s:.0f} s"
    )
    bits = [row[BITS] for row in rows(path / "30-pretrain" / "metrics.jsonl") if BITS in row]
    print(f"bits per byte of held-out web pages during pretraining: {', '.join(f'{value:.3f}' for value in bits)}")
    assert rl[f"{TASK}/greedy_accuracy"] >= sft[f"{TASK}/greedy_accuracy"] + 0.30
    assert ratio >= 3.0
    assert gap <= 1e-5
    assert bits[-1] < bits[0]
    assert duration_s <= 20 * 60


def test_shuffled_rewards_gain_nothing(recipe: tuple[int, Path, float], tmp_path: Path) -> None:
    """The control: the same steps from the same SFT model, rewards dealt out at random over the batch."""
    seed, path, _ = recipe
    config = "configs/tiny-cpu/controls/60-rl-shuffled.yaml"
    model = f"model={path / '40-sft' / 'final'}"
    run(config, "--run-dir", str(tmp_path / "run"), model, f"seed={seed}", f"tasks.chains.args.seed={30 + seed}")
    evaluations = [
        row[f"eval/{TASK}/greedy_accuracy"]
        for row in rows(tmp_path / "run" / "metrics.jsonl")
        if f"eval/{TASK}/greedy_accuracy" in row
    ]
    print(f"\nseed {seed}: greedy accuracy before {evaluations[0]:.3f}, after {evaluations[-1]:.3f}")
    # Two standard errors of a proportion near 0.2 over 1,000 prompts.
    assert evaluations[-1] <= evaluations[0] + 0.025


def test_where_time_goes(recipe: tuple[int, Path, float]) -> None:
    """Start to first optimizer step, and the share of a step outside generation and update. Printed, not judged."""
    _, path, _ = recipe
    events = {row["event"]: row["time"] for row in rows(path / "60-rl" / "events.jsonl")}
    metrics = rows(path / "60-rl" / "metrics.jsonl")
    steps = [row for row in metrics if "policy/loss" in row]
    print("\nRL stage, seconds after its start:")
    for name in ("learners ready", "rollouts ready"):
        print(f"  {name} {events[name] - events['start']:.1f}")
    print(f"  evaluated at step 0: {metrics[0]['time_s']:.1f}; first optimizer step: {steps[0]['time_s']:.1f}")
    wall_s = [later["time_s"] - earlier["time_s"] for earlier, later in pairwise(steps)]
    busy_s = [row["time/rollout_s"] + row["time/update_s"] for row in steps[1:]]
    share = 1.0 - sum(busy_s) / sum(wall_s)
    means = {k: statistics.fmean(r[k] for r in steps) for k in steps[0] if k.startswith("time/")}
    print(f"  a step {statistics.fmean(wall_s):.2f} s; outside generation and update {share:.1%}; means {means}")
